"""Warnings about a text: newlines, byte order marks, control characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy import ndarray

from charrnn.text.display import count, describe
from charrnn.text.vocabulary import REPLACEMENT, Vocabulary

CR, LF, MARK = 0x0D, 0x0A, 0xFEFF


def text_warnings(
    chunks: Callable[[], Iterable[ndarray]], vocabulary: Vocabulary, replaced: int = 0,
    utf8: bool = False,
) -> list[str]:
    """Notes on anything unusual in a text: newlines, marks and control characters.

    ``chunks`` gives the symbols. They are read only if the vocabulary contains something unusual.
    Decoding has inserted ``replaced`` characters U+FFFD, which are reported elsewhere. ``utf8`` is
    whether the text was decoded as UTF-8.
    """
    if vocabulary.level == "byte":
        return []
    ids = {int(code): i for i, code in enumerate(vocabulary.codes)}
    controls = [c for c in ids if (c < 32 and c not in (9, 10, 13)) or 127 <= c < 160]
    odd = [code for code in (CR, REPLACEMENT, MARK, *controls) if code in ids]
    counts, pairs = Counter(dict.fromkeys([*odd, LF], 0)), 0
    first = before = -1
    for chunk in chunks() if odd else ():
        for code in counts:
            counts[code] += int(np.count_nonzero(chunk == ids.get(code, -1)))
        if CR in ids and LF in ids:
            pairs += int(np.count_nonzero((chunk[:-1] == ids[CR]) & (chunk[1:] == ids[LF])))
            pairs += before == ids[CR] and int(chunk[0]) == ids[LF]
        first, before = int(chunk[0]) if first < 0 else first, int(chunk[-1])

    notes = []
    returns, newlines = counts[CR], counts[LF]
    if pairs and pairs == returns == newlines:
        notes.append("CRLF newlines")
    elif returns and not newlines:
        notes.append(f"{count(returns, 'CR newline')} and no LF: most programs see only one line")
    elif returns:
        notes.append(
            f"mixed newlines: {newlines - pairs:,} LF, {pairs:,} CRLF, {returns - pairs:,} CR"
        )
    elif LF not in ids:
        notes.append("no newlines")
    if counts[MARK]:
        drop = ", which --encoding utf-8-sig drops" if utf8 else ""
        notes.append(f"a byte order mark at the beginning{drop}" if first == ids[MARK] else
                     "a byte order mark (U+FEFF) inside the text")
    genuine = counts[REPLACEMENT] - replaced
    if genuine > 0 and not vocabulary.replaces:
        notes.append(f"{count(genuine, 'replacement character')} (U+FFFD): was the text decoded "
                     "with the wrong encoding before?")
    if any(counts[code] for code in controls):
        number = sum(counts[code] for code in controls)
        notes.append(f"{count(number, 'control character')}, such as {describe(controls[0])}")
    return notes
