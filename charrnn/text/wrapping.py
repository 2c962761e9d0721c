"""Lines broken between words to fit a terminal. Imports no NumPy."""

from __future__ import annotations

import re
import unicodedata

# What is never broken: a command at the end of a line, which users copy; a word.
WORD = r"(?<=: )charrnn [a-z].*$|\S+"
# What is broken only if it is longer than a line: a name in quotes; a number and its unit, such as
# 273 steps or 64 x 32 characters; a setting and its number, such as dropout 0.02.
PIECE = rf"""'[^']*'\S*|"[^"]*"\S*|\(?[-+]?\d(?:[\d.,]*\d)? (?:x \d\S* )?\S+""" \
    rf"""|[a-z_]+ [-+]?\d\S*(?:(?<=[,;:)])(?=\s)|$)|{WORD}"""


def columns(text: str) -> int:
    """The columns that a line takes on a terminal: two for each Chinese character, for example."""
    text = text.expandtabs()
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me", "Cf")
        else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1
        for c in text
    )


def wrapped(text: str, width: int) -> str:
    """The text with its lines broken between words, to at most ``width`` columns if possible.

    The rest of a broken line is indented by two columns more than its beginning.
    """
    return "\n".join(_wrapped_line(line, width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    if columns(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())] + "  "
    rows, row = [], ""
    for word in _words(line, width - columns(indent)):
        if row.strip() and columns(row + word) > width:
            rows.append(row)
            row, word = indent, word.lstrip()
        row += word
    return "\n".join([*rows, row])


def _words(line: str, width: int) -> list[str]:
    """The pieces of a line, each with the spaces before it; wider ones are split into words."""
    words, at = [], 0
    piece, word = (re.compile(rf"\s*(?:{pattern})") for pattern in (PIECE, WORD))
    while match := piece.match(line, at):
        if columns(match[0].lstrip()) > width:
            match = word.match(line, at) or match
        words.append(match[0])
        at = match.end()
    return words
