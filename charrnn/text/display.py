"""Texts, symbols and names as they are shown to people. Imports no NumPy.

Characters that could control a terminal or disguise the contents of a line are escaped: C0 and C1
controls, lone surrogates, bidirectional embeddings, overrides and isolates. No others are: some
texts need joiners, no-break spaces and characters without a name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

HARMFUL = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069"
IN_TEXT = re.compile(rf"[{HARMFUL}]|\r(?!\n)")  # CR before LF is a newline
IN_NAMES = re.compile(rf"[{HARMFUL}\t\n\r]")


def printable(text: str) -> str:
    """Text that cannot control a terminal; newlines and tabs are kept."""
    return IN_TEXT.sub(_escaped, text)


def printable_name(name: str | os.PathLike[str]) -> str:
    """A name, or anything else that must stay on one line: newlines and tabs are escaped, too."""
    return IN_NAMES.sub(_escaped, os.fspath(name))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def quoted(text: str) -> str:
    """A passage of text on one line: in quotes, as Python writes it, but escaped like names."""
    quote = '"' if "'" in text and '"' not in text else "'"
    return quote + printable_name(text.replace("\\", "\\\\")).replace(quote, "\\" + quote) + quote


def describe(code: int) -> str:
    """A code point in a form that people recognize: 'e' (U+0065), or its name."""
    import unicodedata  # only where a character is named

    character = chr(code)
    shown = repr(character) if character.isprintable() else unicodedata.name(character, "")
    return f"{shown} (U+{code:04X})" if shown else f"U+{code:04X}"


def count(number: int, noun: str) -> str:
    """A count with its noun: "1 character", "1,234 characters"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def symbol(level: str) -> str:
    """What people call a symbol of a model that reads at this level: a character or a byte."""
    return "byte" if level == "byte" else "character"


def duration(seconds: float | None) -> str:
    """A time in its two largest units, such as 3 min 20 s; ? if it is not known yet."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest} s"
    days, hours = divmod(hours, 24)
    return f"{days:,} d {hours} h" if days else f"{hours} h {minutes} min"


def undecodable_note(number: int, errors: str) -> list[str]:
    """The note on byte sequences that were replaced or skipped; empty if there were none."""
    if not number:
        return []
    what = "replaced by U+FFFD" if errors == "replace" else "skipped"
    return [f"{count(number, 'undecodable byte sequence')} {'was' if number == 1 else 'were'} "
            f"{what}"]


def characters(text: str | bytes) -> list[str]:
    """Each symbol of a text as it is shown; bytes that are not ASCII are escaped."""
    if isinstance(text, bytes):
        return [chr(i) if i == 10 or 32 <= i < 127 else f"\\x{i:02x}" for i in text]
    return [printable(symbol) for symbol in text]


def as_strings(text: str | bytes) -> list[str]:
    """Each symbol of a text as a string of one character; a byte is the character of its number."""
    return list(text if isinstance(text, str) else text.decode("latin-1"))


def display_path(path: str) -> str:
    """A file's name in a message."""
    return "standard input" if path == "-" else printable_name(path)


def display_name(paths: Sequence[str]) -> str:
    """The name of the texts in messages."""
    first = display_path(paths[0])
    if paths[0] != "-":
        first = printable_name(Path(os.path.abspath(paths[0])).name)
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def display_list(files: Sequence[str]) -> str:
    """Up to five files, and the number of the others."""
    more = f" and {len(files) - 5:,} more" if len(files) > 5 else ""
    return ", ".join(map(display_path, files[:5])) + more
