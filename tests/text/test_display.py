"""Symbols and file names as they are shown to people."""

from __future__ import annotations

import pytest

from charrnn.text.display import as_strings, characters, describe, display_list


@pytest.mark.parametrize(
    ("character", "shown"),
    [("e", "'e' (U+0065)"), ("\u00a0", "NO-BREAK SPACE (U+00A0)"), ("\0", "U+0000"),
     ("\U0001f600", "'\U0001f600' (U+1F600)"), ("\ufeff", "ZERO WIDTH NO-BREAK SPACE (U+FEFF)")],
)
def test_a_character_is_described_so_that_a_person_knows_it(character, shown):
    assert describe(ord(character)) == shown


def test_many_files_are_named_as_far_as_they_fit():
    assert display_list(["a", "-"]) == "a, standard input"
    assert display_list([*"abcdefg"]) == "a, b, c, d, e and 2 more"


def test_bytes_are_shown_as_ascii_or_by_their_number():
    assert characters("aé\n".encode()) == ["a", "\\xc3", "\\xa9", "\n"]


def test_a_string_of_one_character_stands_for_every_symbol():
    assert as_strings("aé€") == ["a", "é", "€"]
    assert as_strings(b"a\xe9\n") == ["a", "\xe9", "\n"], "a byte as the character of its number"
