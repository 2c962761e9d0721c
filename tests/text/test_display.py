"""Symbols and file names as they are shown to people."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.display import (
    as_strings,
    characters,
    count,
    describe,
    display_list,
    display_name,
    display_path,
    duration,
    printable,
    printable_name,
    quoted,
    undecodable_note,
)

BIDI = ["LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"]


def test_only_controls_surrogates_and_bidirectional_marks_are_escaped():
    for code in range(sys.maxunicode + 1):
        c = chr(code)
        harmful = unicodedata.category(c) in ("Cc", "Cs") or unicodedata.bidirectional(c) in BIDI
        escape = c.encode("unicode_escape").decode()
        assert printable_name(c) == (escape if harmful else c), escape
        assert printable(c) == (escape if harmful and c not in "\n\t" else c), escape


def test_cr_before_lf_is_a_newline_but_not_in_a_name():
    assert printable("a\r\n\r\r\nb\rc\r") == "a\r\n\\r\r\nb\\rc\\r"
    assert printable_name("a\r\n\tb") == "a\\r\\n\\tb"


def test_a_name_stays_on_one_line():
    evil = "a\n\t\x1b\udcff\u202e.txt"
    shown = "a\\n\\t\\x1b\\udcff\\u202e.txt"
    assert printable_name(Path(evil)) == shown
    assert display_path(evil) == display_name([f"folder\n/{evil}"]) == shown
    assert display_list([evil, "-"]) == f"{shown}, standard input"
    assert display_name([evil, "b"]) == f"{shown} and 1 more"
    assert display_name(["-"]) == "standard input"
    assert display_name(["./-"]) == "-"


@given(st.text(st.characters(max_codepoint=0x7F) | st.sampled_from("'\"\\äß中\U0001f600")))
def test_a_passage_is_quoted_as_python_does(text):
    assert quoted(text) == repr(text)


def test_a_quoted_passage_shows_harmless_characters_as_they_are():
    assert quoted("\u200c\u3000\u00a0\ue000\n") == "'\u200c\u3000\u00a0\ue000\\n'"


@pytest.mark.parametrize(
    ("character", "shown"),
    [("e", "'e' (U+0065)"), ("\u00a0", "NO-BREAK SPACE (U+00A0)"), ("\0", "U+0000"),
     ("\U0001f600", "'\U0001f600' (U+1F600)"), ("\ufeff", "ZERO WIDTH NO-BREAK SPACE (U+FEFF)")],
)
def test_a_character_is_described_by_itself_or_its_name(character, shown):
    assert describe(ord(character)) == shown


@pytest.mark.parametrize(("number", "shown"), [
    (0, "0 characters"), (1, "1 character"), (2, "2 characters"), (1234, "1,234 characters")])
def test_one_thing_is_singular_and_any_other_number_plural(number, shown):
    assert count(number, "character") == shown


def test_undecodable_bytes_are_noted_if_there_are_any():
    assert undecodable_note(0, "replace") == []
    assert undecodable_note(1, "replace") == ["1 undecodable byte sequence was replaced by U+FFFD"]
    assert undecodable_note(1200, "skip") == ["1,200 undecodable byte sequences were skipped"]


def test_of_many_files_the_first_five_are_named():
    assert display_list(["a", "-"]) == "a, standard input"
    assert display_list([*"abcdefg"]) == "a, b, c, d, e and 2 more"


def test_bytes_are_shown_as_ascii_or_by_their_number():
    assert characters("aé\n".encode()) == ["a", "\\xc3", "\\xa9", "\n"]


def test_every_symbol_is_a_string_of_one_character():
    assert as_strings("aé€") == ["a", "é", "€"]
    assert as_strings(b"a\xe9\n") == ["a", "\xe9", "\n"], "a byte as the character of its number"


@pytest.mark.parametrize(("seconds", "words"), [
    (None, "?"), (0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"),
    (3599.7, "1 h 0 min"), (9000, "2 h 30 min"), (90_000, "1 d 1 h"), (1e9, "11,574 d 1 h"),
])
def test_a_duration_has_its_two_largest_units(seconds, words):
    assert duration(seconds) == words
