"""Warnings about a text: newlines, byte order marks, control characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy import ndarray

from charrnn.text.display import describe
from charrnn.text.vocabulary import REPLACEMENT, Vocabulary

CR, LF, MARK = 0x0D, 0x0A, 0xFEFF


def text_warnings(pieces: Callable[[], Iterable[ndarray]], vocabulary: Vocabulary) -> list[str]:
    """What a user may not expect in a text: its newlines, marks and control characters.

    ``pieces`` gives the symbols. They are looked at only where the vocabulary raises a question.
    """
    if vocabulary.level == "byte":
        return []
    ids = {int(code): i for i, code in enumerate(vocabulary.codes)}
    controls = [c for c in ids if (c < 32 and c not in (9, 10, 13)) or 127 <= c < 160]
    odd = [code for code in (CR, REPLACEMENT, MARK, *controls) if code in ids]
    counts, pairs = Counter(dict.fromkeys([*odd, LF], 0)), 0
    first = before = -1
    for piece in pieces() if odd else ():
        for code in counts:
            counts[code] += int(np.count_nonzero(piece == ids.get(code, -1)))
        if CR in ids and LF in ids:
            pairs += int(np.count_nonzero((piece[:-1] == ids[CR]) & (piece[1:] == ids[LF])))
            pairs += before == ids[CR] and int(piece[0]) == ids[LF]
        first, before = int(piece[0]) if first < 0 else first, int(piece[-1])

    notes = []
    returns, newlines = counts[CR], counts[LF]
    if pairs and pairs == returns == newlines:
        notes.append("CRLF line ends")
    elif returns and not newlines:
        notes.append(f"{returns:,} CR line ends and no LF: most programs see one line")
    elif returns:
        notes.append(
            f"mixed line ends: {newlines - pairs:,} LF, {pairs:,} CRLF, {returns - pairs:,} CR"
        )
    elif LF not in ids:
        notes.append("no line ends")
    if counts[MARK]:
        notes.append("a byte order mark" if first == ids[MARK] else "U+FEFF inside")
    if counts[REPLACEMENT] and not vocabulary.replaces:
        notes.append(f"{counts[REPLACEMENT]:,} replacement characters (U+FFFD): "
                     "decoded badly before?")
    if any(counts[code] for code in controls):
        notes.append(f"control characters: {sum(counts[code] for code in controls):,}, "
                     f"such as {describe(controls[0])}")
    return notes
