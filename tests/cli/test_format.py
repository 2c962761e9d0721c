"""Scores and numbers as tables, JSON, colors and words."""

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


def test_the_table_compares_the_model_with_the_best_baseline():
    lines = list(format.baseline_table(iter([("uniform", 2.0), ("2-gram", 1.0)]), "mine", 0.75))
    assert len({len(line) for line in lines[:-1]}) == 1, "the columns are aligned"
    assert lines[0].split() == ["bits/char", "nats/char"]
    assert lines[2].split() == ["2-gram", f"{1 / LN2:.4f}", "1.0000"]
    assert lines[3].split() == ["mine", f"{0.75 / LN2:.4f}", "0.7500"]
    assert lines[-1] == f"{0.25 / LN2:.4f} bits/char better than the best baseline"
    worse = list(format.baseline_table([("uniform", 2.0)], "mine", 3.0))
    assert worse[-1] == f"{1 / LN2:.4f} bits/char worse than the best baseline"
    same = list(format.baseline_table([("uniform", 2.0)], "mine", 2.00001))
    assert same[-1] == "as good as the best baseline"


@pytest.mark.parametrize(("environment", "expected"), [
    ({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({}, False),
    ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "xterm", "NO_COLOR": ""}, True),
])
def test_colors_are_used_if_the_terminal_has_them_and_no_color_is_not_set(environment, expected):
    assert format.colored(environment) is expected


def test_without_its_colors_the_output_is_the_text():
    ids, vocabulary = symbols("ab\nc\x1b[2Jé")
    nats = np.array([0.1, 0.2, 9.0, 2.0, 0.1, 0.1, 4.0, 0.1, 0.1]) * LN2
    shown = format.colored_text(ids, nats, vocabulary)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == "ab⏎\nc\\x1b[2Jé"
    assert shown.endswith("\x1b[0m")
    first = format.SHADES[0]
    assert shown.startswith(f"\x1b[38;5;{first[2]};48;5;{first[1]}mab\x1b"), "one mark for both"
    for line in shown.split("\n"):
        assert not line or line.endswith("\x1b[0m"), "no color continues at the end of a line"


@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_cr_before_a_newline_is_not_shown_and_adds_its_bits_to_the_newline(level, size):
    text = "a\r\nb\r\r\n\rc\t\r\n\r"
    ids, vocabulary = symbols(text)
    if level == "byte":
        ids, vocabulary = np.frombuffer(text.encode(), np.uint8), Vocabulary.of_bytes()
    nats = np.where(ids == vocabulary.lookup(np.array([13]))[0], 4.0, 0.1) * LN2
    blocks = [Scored(nats[i : i + size], nats[i : i + size] > 0) for i in range(0, len(ids), size)]
    shown = "".join(format.colored_blocks(ids, blocks, vocabulary))
    lone = "\\r" if level == "char" else "\\x0d"
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == f"a⏎\nb{lone}⏎\n{lone}c\t⏎\n{lone}"
    dark = "\x1b[38;5;{2};48;5;{1}m".format(*format.SHADES[3])
    assert shown.count(f"{dark}⏎") == 3, "4.1 bits, not 0.1"


def test_json_has_no_control_characters():
    line = format.json_line({"text": "a\x7f\x1b\x9b\u202e\ud800"})
    assert line.isascii() and line.decode().rstrip("\n").isprintable()
    assert json.loads(line) == {"text": "a\x7f\x1b\x9b\u202e\ud800"}


def test_each_shade_is_in_the_legend_and_begins_where_the_previous_one_ends():
    legend = format.legend()
    for high, background, text in format.SHADES:
        assert f"\x1b[38;5;{text};48;5;{background}m" in legend
        ids, vocabulary = symbols("a")
        at_the_end = min(high, 100.0)
        assert f"48;5;{background}m" in format.colored_text(
            ids, np.array([at_the_end * LN2 * (1 - 1e-9)]), vocabulary)


def test_each_symbol_is_one_row_of_the_table():
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


def test_numbers_that_json_does_not_have_are_null():
    numbers = [format.json_number(number) for number in (1.5, math.inf, math.nan)]
    assert numbers == [1.5, None, None]
    row = json.loads(format.line_row("", Score(0, 0.0, 0), 0, True))
    assert row["bits_per_char"] is None


def test_scores_are_printed_in_bits_first():
    assert format.in_bits(1.508) == "2.1756 bits/char (1.5080 nats/char)"
    line = str(Score(1234, 1234 * 1.508, 617))
    assert line == ("2.1756 bits/char (1.5080 nats/char), perplexity 4.518, accuracy 50.00 %, "
                    "1,234 characters")
    assert str(Score(1, 1.0, 0)).endswith(", 1 character")


@pytest.mark.parametrize(("count", "words"), [(0, "0 steps"), (1, "1 step"), (6000, "6,000 steps")])
def test_one_thing_is_singular(count, words):
    assert format.counted(count, "step") == words
