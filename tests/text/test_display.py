"""Symbols as they are shown: a person knows them."""

from __future__ import annotations

import pytest

from charrnn.text.display import describe


@pytest.mark.parametrize(
    ("character", "shown"),
    [("e", "'e' (U+0065)"), ("\u00a0", "NO-BREAK SPACE (U+00A0)"), ("\0", "U+0000"),
     ("\U0001f600", "'\U0001f600' (U+1F600)"), ("\ufeff", "ZERO WIDTH NO-BREAK SPACE (U+FEFF)")],
)
def test_a_character_is_described_so_that_a_person_knows_it(character, shown):
    assert describe(ord(character)) == shown
