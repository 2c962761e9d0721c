"""Wrapping: lines fit the terminal, and what is to be copied stays in one piece."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.wrapping import columns, wrapped


@pytest.mark.parametrize(("text", "expected"), [
    ("", 0), ("abc", 3), ("é", 1), ("e\u0301", 1), ("模型", 4), ("ﾓ", 1), ("模e\u0301\u200d", 3),
    ("a\tb", 9), ("▁█", 2),
])
def test_columns_are_those_of_a_terminal(text, expected):
    assert columns(text) == expected


def test_a_line_that_fits_stays_as_it_is():
    assert wrapped("  two   spaces  ", 16) == "  two   spaces  "
    assert wrapped("", 5) == ""


def test_a_long_line_is_broken_between_words_and_continued_with_an_indent():
    text = "one two three\n  four five six\n\nseven"
    assert wrapped(text, 11) == "one two\n  three\n  four five\n    six\n\nseven"


def test_wide_characters_count_two_columns():
    assert wrapped("一二 三四 五六", 9) == "一二 三四\n  五六"


@pytest.mark.parametrize("text", [
    "generate text: charrnn sample -m 'my model.npz'",
    "a-long-name/without-spaces/model.npz",
])
def test_a_command_or_a_word_is_never_broken(text):
    lines = wrapped(text, 20).split("\n")
    assert lines[-1].strip() == text.partition("text: ")[2] or lines == [text]


def test_a_name_in_quotes_is_broken_only_if_it_is_longer_than_a_line():
    assert wrapped("there is no file 'my model.npz', is there", 24) == (
        "there is no file\n  'my model.npz', is\n  there")
    assert wrapped("the longest passage: 'one two three four'", 16) == (
        "the longest\n  passage: 'one\n  two three\n  four'")
    assert wrapped("it's one of the users' files", 12) == "it's one of\n  the users'\n  files"


def test_a_number_stays_with_its_unit():
    assert wrapped("validation 2.1755 bits/char (1.5080 nats/char), new", 36) == (
        "validation 2.1755 bits/char\n  (1.5080 nats/char), new")
    assert wrapped("change -0.0124 bits", 12) == "change\n  -0.0124\n  bits", "unless too long"


@pytest.mark.parametrize(("text", "width", "expected"), [
    ("6,000 steps of 64 x 32 characters", 30, "6,000 steps of\n  64 x 32 characters"),
    ("settings: eval_every 100, steps 4,000", 24, "settings:\n  eval_every 100,\n  steps 4,000"),
    ("dropout 0.02, weight decay 0.1; and", 30, "dropout 0.02, weight\n  decay 0.1; and"),
    ("validation 2.1755 bits/char, new", 20, "validation\n  2.1755 bits/char,\n  new"),
])
def test_a_name_stays_with_its_number_and_a_product_in_one_piece(text, width, expected):
    assert wrapped(text, width) == expected


WORDS = st.text(st.sampled_from("abé模'\"1,(: "), max_size=80)


@given(WORDS, st.integers(1, 40))
def test_wrapping_loses_nothing_and_exceeds_the_width_only_for_single_words(text, width):
    lines = wrapped(text, width).split("\n")
    assert [word for line in lines for word in line.split()] == text.split()
    for line in lines:
        assert columns(line) <= width or len(line.split()) == 1
