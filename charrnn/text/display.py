"""Symbols as they are shown to people. Imports no NumPy."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Text with its control characters, which could steer a terminal, made visible."""
    return "".join(
        c if c in "\n\t" or c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def describe(code: int) -> str:
    """A code point as a person may recognise it: 'e' (U+0065), or its name."""
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
