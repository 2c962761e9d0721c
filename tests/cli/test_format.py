"""Scores as tables, JSON and colours: right where they are numbers, harmless on a terminal."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from charrnn.cli import format
from charrnn.inference.scoring import Score, Scored
from charrnn.text.vocabulary import Vocabulary

LN2 = np.log(2)


def symbols(text):
    codes = np.array([ord(c) for c in text], np.uint32)
    vocabulary = Vocabulary(np.unique(codes), "char")
    return vocabulary.encode(codes), vocabulary


def test_the_table_names_every_baseline_and_says_how_far_the_model_is_from_the_best():
    lines = list(format.baseline_table(iter([("uniform", 2.0), ("2-gram", 1.0)]), "mine", 0.75))
    assert len({len(line) for line in lines[:-1]}) == 1, "the columns are aligned"
    assert lines[2].split() == ["2-gram", "1.0000", f"{1 / LN2:.4f}"]
    assert lines[3].split() == ["mine", "0.7500", f"{0.75 / LN2:.4f}"]
    assert lines[-1] == "0.2500 nats/char below the best of them"
    worse = list(format.baseline_table([("uniform", 2.0)], "mine", 3.0))
    assert worse[-1].startswith("1.0000 nats/char above")


@pytest.mark.parametrize(("environment", "expected"), [
    ({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({}, False),
    ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "xterm", "NO_COLOR": ""}, True),
])
def test_colours_are_for_terminals_that_have_them_and_people_who_want_them(environment, expected):
    assert format.coloured(environment) is expected


def test_under_its_colours_the_text_is_the_text():
    ids, vocabulary = symbols("ab\nc\x1b[2Jé")
    nats = np.array([0.1, 0.2, 9.0, 2.0, 0.1, 0.1, 4.0, 0.1, 0.1]) * LN2
    shown = format.coloured_text(ids, nats, vocabulary)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "ab⏎\nc\\x1b[2Jé"
    assert shown.endswith("\x1b[0m")
    first = format.SHADES[0]
    assert shown.startswith(f"\x1b[38;5;{first[2]};48;5;{first[1]}mab\x1b"), "one mark for both"
    for line in shown.split("\n"):
        assert not line or line.endswith("\x1b[0m"), "no colour continues at the end of a line"


@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_return_has_no_cell_before_a_newline_whose_bits_it_shares(level, size):
    text = "a\r\nb\r\r\n\rc\t\r\n\r"
    ids, vocabulary = symbols(text)
    if level == "byte":
        ids, vocabulary = np.frombuffer(text.encode(), np.uint8), Vocabulary.of_bytes()
    nats = np.where(ids == vocabulary.lookup(np.array([13]))[0], 4.0, 0.1) * LN2
    blocks = [Scored(nats[i : i + size], nats[i : i + size] > 0) for i in range(0, len(ids), size)]
    shown = "".join(format.coloured_blocks(ids, blocks, vocabulary))
    lone = "\\r" if level == "char" else "\\x0d"
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == f"a⏎\nb{lone}⏎\n{lone}c\t⏎\n{lone}"
    dark = "\x1b[38;5;{2};48;5;{1}m".format(*format.SHADES[3])
    assert shown.count(f"{dark}⏎") == 3, "4.1 bits, not 0.1"


def test_json_has_no_control_characters():
    line = format.json_line({"text": "a\x7f\x1b\x9b\u202e\ud800"})
    assert line.isascii() and line.decode().rstrip("\n").isprintable()
    assert json.loads(line) == {"text": "a\x7f\x1b\x9b\u202e\ud800"}


def test_each_shade_stands_in_the_legend_and_begins_where_the_one_before_ends():
    legend = format.legend()
    for high, background, text in format.SHADES:
        assert f"\x1b[38;5;{text};48;5;{background}m" in legend
        ids, vocabulary = symbols("a")
        at_the_end = min(high, 100.0)
        assert f"48;5;{background}m" in format.coloured_text(
            ids, np.array([at_the_end * LN2 * (1 - 1e-9)]), vocabulary)


def test_a_row_of_the_table_is_a_symbol_and_nothing_breaks_it():
    ids, vocabulary = symbols("a\t\n\\\r\x00é")
    nats = np.arange(len(ids)) * LN2
    rows = format.surprisal_rows(ids, nats, nats > 2, vocabulary).split("\n")
    assert rows.pop() == ""
    assert [row.split("\t") for row in rows] == [
        ["0.0000", "0", "a"], ["1.0000", "0", "\\t"], ["2.0000", "0", "\\n"],
        ["3.0000", "1", "\\\\"], ["4.0000", "1", "\\r"], ["5.0000", "1", "\\x00"],
        ["6.0000", "1", "é"],
    ]


def test_a_sparkline_goes_from_the_lowest_to_the_highest_and_ends_with_the_last():
    assert format.sparkline([3.0, 2.0, 1.0]) == "█▅▁"
    assert format.sparkline([1.0]) == "▁"
    assert format.sparkline([2.0, 2.0]) == "▁▁"
    many = format.sparkline([*range(100), 1000.0], width=10)
    assert len(many) == 10
    assert many[-1] == "█"


def test_json_has_no_numbers_that_are_none():
    numbers = [format.json_number(number) for number in (1.5, math.inf, math.nan)]
    assert numbers == [1.5, None, None]
    row = json.loads(format.line_row("", Score(0, 0.0, 0), 0, True))
    assert row["bits_per_char"] is None
