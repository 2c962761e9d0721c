"""Scores made visible on a terminal: a table, a coloured text, a small curve."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from charrnn.console import printable
from charrnn.vocabulary import Vocabulary

Array = NDArray[Any]

LN2 = math.log(2)

# Backgrounds for up to so many bits, from the 256 colours of terminals: white to dark blue, which
# differ in brightness and so for every eye; and the text on them.
SHADES = ((0.5, 231, 16), (1.5, 195, 16), (3.0, 117, 16), (5.0, 33, 231), (math.inf, 18, 231))
BARS = "▁▂▃▄▅▆▇█"
ESCAPES = {"\n": "\\n", "\t": "\\t", "\\": "\\\\"}  # others are shown as printable text already


def baseline_table(rows: Iterable[tuple[str, float]], model: str, nats: float) -> Iterator[str]:
    """The lines of a table, as the rows come: the baselines, and the model below them."""
    yield f"{'':<10}  nats/char  bits/char"
    best = math.inf
    for name, each in rows:
        best = min(best, each)
        yield f"{name:<10}  {each:9.4f}  {each / LN2:9.4f}"
    yield f"{model:<10}  {nats:9.4f}  {nats / LN2:9.4f}"
    difference = f"{abs(nats - best):.4f} nats/char"
    which = "below" if nats < best else "above"
    yield "as good as the best of them" if difference == "0.0000 nats/char" else (
        f"{difference} {which} the best of them")


def coloured(environment: Any = os.environ) -> bool:
    """Whether a terminal is to get colours: see no-color.org."""
    return not environment.get("NO_COLOR") and environment.get("TERM", "dumb") != "dumb"


def legend() -> str:
    """What the colours mean."""
    marks, low = [], 0.0
    for high, background, text in SHADES:
        label = f" {low:g} to {high:g} " if math.isfinite(high) else f" more than {low:g} "
        marks.append(f"\x1b[38;5;{text};48;5;{background}m{label}\x1b[0m")
        low = high
    return "bits: " + " ".join(marks)


def coloured_text(ids: Array, nats: Array, vocabulary: Vocabulary) -> str:
    """The text, every symbol on the background of its bits."""
    pieces, current = [], None
    for symbol, bits in zip(characters(ids, vocabulary), (nats / LN2).tolist(), strict=True):
        shade = next((b, t) for high, b, t in SHADES if bits <= high)
        if symbol == "\n":  # a coloured line end would colour the rest of the line
            pieces.append(f"\x1b[38;5;{shade[1]};48;5;{shade[0]}m⏎\x1b[0m\n")
            current = None
            continue
        if shade != current:
            pieces.append(f"\x1b[38;5;{shade[1]};48;5;{shade[0]}m")
            current = shade
        pieces.append(symbol)
    return "".join(pieces) + ("\x1b[0m" if current else "")


def surprisal_rows(ids: Array, nats: Array, right: Array, vocabulary: Vocabulary) -> str:
    """A line for every symbol: bits, 1 where it was the likeliest, and the symbol itself.

    Tabs stand between; a symbol that would break the table is escaped, as is a backslash.
    """
    rows = zip(characters(ids, vocabulary), (nats / LN2).tolist(), right.tolist(), strict=True)
    return "".join(
        f"{bits:.4f}\t{int(hit)}\t{ESCAPES.get(symbol, symbol)}\n" for symbol, bits, hit in rows
    )


def characters(ids: Array, vocabulary: Vocabulary) -> list[str]:
    """Each symbol as it may be shown; at byte level those that are no ASCII as escapes."""
    if vocabulary.level == "byte":
        return [chr(i) if i == 10 or 32 <= i < 127 else f"\\x{i:02x}" for i in ids.tolist()]
    text = vocabulary.decode(ids)
    assert isinstance(text, str)
    return [printable(symbol) for symbol in text]


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """The curve of ``values`` in one line; of many, each bar is the last of its stretch."""
    if len(values) > width:
        values = [values[(i + 1) * len(values) // width - 1] for i in range(width)]
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)
