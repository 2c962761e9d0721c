"""Symbols and file names as they are shown to people. Imports no NumPy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def printable(text: str) -> str:
    """Text with its control characters, which could steer a terminal, made visible."""
    return "".join(
        c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def describe(code: int) -> str:
    """A code point as a person may recognise it: 'e' (U+0065), or its name."""
    import unicodedata  # only where a character is named: --help needs this module

    character = chr(code)
    shown = repr(character) if character.isprintable() else unicodedata.name(character, "")
    return f"{shown} (U+{code:04X})" if shown else f"U+{code:04X}"


def characters(text: str | bytes) -> list[str]:
    """Each symbol of a text as it may be shown; of bytes those that are not ASCII as escapes."""
    if isinstance(text, bytes):
        return [chr(i) if i == 10 or 32 <= i < 127 else f"\\x{i:02x}" for i in text]
    return [printable(symbol) for symbol in text]


def as_strings(text: str | bytes) -> list[str]:
    """Each symbol of a text as a string of one character; a byte as that of its number."""
    return list(text if isinstance(text, str) else text.decode("latin-1"))


def display_path(path: str) -> str:
    """A file's name in a message."""
    return "standard input" if path == "-" else path


def display_name(paths: Sequence[str]) -> str:
    """What to call the texts in a line for people."""
    first = display_path(paths[0]) if paths[0] == "-" else Path(os.path.abspath(paths[0])).name
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def display_list(files: Sequence[str]) -> str:
    """Files in their order, as far as they fit in a line."""
    more = f" and {len(files) - 5:,} more" if len(files) > 5 else ""
    return ", ".join(map(display_path, files[:5])) + more
