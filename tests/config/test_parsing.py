"""Settings parsed from text: what is a value, what is refused, and which source decides."""

from __future__ import annotations

import itertools
import math
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.parsing import NUMBER, nearest, parse, resolve, whole_number
from charrnn.config.settings import BUDGETS, FIELDS, Config, option_name
from charrnn.errors import UsageError

NUMBERS = [key for key in FIELDS if str(FIELDS[key].type).startswith(("int", "float"))]
WHOLE = [key for key in NUMBERS if "int" in str(FIELDS[key].type)]


@pytest.mark.parametrize(("text", "value"), [
    ("10_000", 10_000), ("1e6", 10**6), ("1E6", 10**6), ("1.5e3", 1500), ("+2e0", 2),
    ("20e-1", 2), ("9223372036854775807e0", 2**63 - 1), ("1_0e2", 1000),
])
def test_a_whole_number_may_be_spelled_with_underscores_or_an_exponent(text, value):
    found = parse("steps", text)
    assert found == value
    assert type(found) is int


@pytest.mark.parametrize("text", ["1.5e0", "1e-1", "15e-1", "0e0", "10000000000000000001e-1",
                                  "1e-400", "1e-9999999999999999999999"])
def test_an_exponent_that_leaves_a_fraction_is_not_a_whole_number(text):
    with pytest.raises(UsageError, match="is not a whole number"):
        parse("steps", text)


@pytest.mark.parametrize("text", ["1e19", "9223372036854775808e0", "1e400",
                                  "1e9999999999999999999999"])
def test_an_exponent_that_gives_too_large_a_number_is_out_of_range(text):
    with pytest.raises(UsageError, match="out of range: at most 9223372036854775807"):
        parse("steps", text)


def test_a_whole_number_is_checked_against_its_limits():
    assert whole_number("-3", -5, 5) == -3
    assert whole_number("-5e0") == -5
    with pytest.raises(UsageError, match=r"^6 is out of range: at least -5 and at most 5$"):
        whole_number("6", -5, 5)
    with pytest.raises(UsageError, match=r"^-1 is out of range: at least 0$"):
        whole_number("-1", 0)
    with pytest.raises(UsageError, match=r"^-1e99 is out of range: at least 0$"):
        whole_number("-1e99", 0)


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize(
    "text", ["", " ", "true", "no", "nan", ".nan", "inf", "-.inf", "0x10", "1:30", "1,5", "1 2",
             "1e", "e5", "_1", "1__", "--1", "1\n", "١", "null", "[1]"]
)
def test_a_text_that_is_not_a_number_is_refused(key, text):
    with pytest.raises(UsageError):
        parse(key, text)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False)])
def test_yes_or_no_is_true_or_false(text, value):
    assert parse("deterministic", text) is value


@pytest.mark.parametrize("text", ["", "yes", "on", "1", "0", "tru", "null"])
def test_a_text_that_is_neither_true_nor_false_is_refused(text):
    with pytest.raises(UsageError, match="neither true nor false"):
        parse("deterministic", text)


@pytest.mark.parametrize("key", WHOLE)
@pytest.mark.parametrize("text", ["2.0", "1.5e0", "010"])
def test_a_whole_number_has_no_fraction_and_no_leading_zero(key, text):
    with pytest.raises(UsageError, match="whole number"):
        parse(key, text)


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_of_hundreds_of_digits_is_a_number_or_out_of_range(key, digits):
    try:
        value = parse(key, "9" * digits)
    except UsageError:
        return
    assert value == 10**digits - 1


HOSTILE = ["1" * 10**6 + "x", "1_" * 10**6, "1" + "_1" * 10**6 + "x", "." + "1" * 10**6 + "x",
           "1e" + "1" * 10**6 + "x", "-" * 10**6, "learning_rat" * 10**5, "ad am\n" * 10**5,
           "\x1b" * 10**6, "\ud800" * 10**6, "utf-" * 10**5, "a." * 10**6]  # fmt: skip


@pytest.mark.parametrize("key", FIELDS)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_any_wrong_value_is_refused_at_once_in_a_short_message(key, text):
    begin = time.process_time()
    with pytest.raises(UsageError) as error:
        parse(key, text)
    assert time.process_time() - begin < 0.1
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("text", ["1" * 100, "1_000.5", "10_000", "1_0.", "0_1e-1_0", "1._0"])
def test_the_unambiguous_patterns_match_the_same_numbers(text):
    before = r"[-+]?([0-9]+(_[0-9]+)*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
    assert bool(NUMBER.fullmatch(text)) == bool(re.fullmatch(before, text))


OPTIONS = [*map(option_name, FIELDS), "--out", "--val", "--init-from", "--overwrite", "--quiet"]


@pytest.mark.parametrize(("word", "meant"), [
    ("--lr", "--learning-rate"), ("--LR", "--learning-rate"), ("--rnn-size", "--hidden-size"),
    ("--rnn_size", "--hidden-size"), ("--hidden_size", "--hidden-size"), ("--epoch", "--epochs"),
    ("--max-epochs", "--epochs"), ("--num-layers", "--layers"), ("--batch", "--batch-size"),
    ("--hidden", "--hidden-size"), ("--dropout-rate", "--dropout"), ("--lr-decay", "--schedule"),
    ("--grad-clip", "--clip-norm"), ("--wd", "--weight-decay"), ("--output", "--out"),
    ("--lerning-rate", "--learning-rate"), ("--force", "--overwrite"),
])
def test_synonyms_and_misspellings_get_a_hint(word, meant):
    assert nearest(word, OPTIONS) == f"; did you mean {meant}?"


def test_a_hint_names_the_meaning_that_the_command_knows():
    assert nearest("--checkpoint", ["--out", "--seed"]) == "; did you mean --out?"
    assert nearest("--model", ["--checkpoint", "--seed"]) == "; did you mean --checkpoint?"
    assert nearest("--model", ["--out", "--seed"]) == "", "it is a kind of model elsewhere"


@pytest.mark.parametrize("word", ["--flavor", "", "--", "x" * 10**6, "--verbose", "--temp"])
def test_a_name_unlike_any_other_gets_no_hint(word):
    assert nearest(word, [*OPTIONS, "--errors"]) == ""


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "0", "0.0", "-0.0", "-1", "-2e-3",
                                  "1e-400", "1e999"])
def test_a_learning_rate_is_positive_and_finite(text):
    with pytest.raises(UsageError):
        parse("learning_rate", text)


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("val_fraction", "0", "-0.1"), ("val_fraction", "0.999", "1"),
        ("hidden_size", "1", "0"), ("layers", "64", "65"), ("layers", "1", "0"),
        ("dropout", "0", "-0.5"), ("dropout", "0.99", "1.0"),
        ("batch_size", "1", "0"), ("seq_length", "1", "0"), ("warmup", "0", "-1"),
        ("clip_norm", "0", "-1"), ("clip_value", "0", "-1e-9"),
        ("weight_decay", "0", "-1e-9"),
        ("steps", "1", "0"), ("epochs", "0.5", "0"), ("max_minutes", "0.1", "0"),
        ("patience", "1", "0"), ("eval_every", "1", "0"), ("save_every", "1", "0"),
        ("sample_every", "0", "-1"), ("seed", "0", "-1"),
        ("seed", "9223372036854775807", "9223372036854775808"), ("threads", "0", "-1"),
    ],
)
def test_ranges_hold_at_their_ends(key, good, bad):
    assert parse(key, good) == float(good) or parse(key, good) == int(good)
    with pytest.raises(UsageError, match=f"{bad} is out of range"):
        parse(key, bad)


@pytest.mark.parametrize("name", ["utf-8", "latin-1", "cp1252", "utf-16"])
def test_encodings_of_text_are_known(name):
    assert parse("encoding", name) == name


@pytest.mark.parametrize(("name", "canonical"), [
    ("utf8", "utf-8"), ("UTF-8", "utf-8"), ("latin1", "latin-1"), ("ISO-8859-1", "latin-1"),
    ("windows-1252", "cp1252"), ("UTF-8-SIG", "utf-8-sig")])
def test_every_spelling_of_an_encoding_is_the_same_setting(name, canonical):
    assert parse("encoding", name) == canonical


def test_settings_about_characters_are_refused_at_byte_level():
    assert resolve({"errors": "skip"}, {}).errors == "skip"
    for settings in ({"errors": "replace"}, {"errors": "skip"}, {"min_count": 2}):
        with pytest.raises(UsageError, match=r"no effect at byte level.*leave it out"):
            resolve({"level": "byte"}, settings)


@pytest.mark.parametrize("name", ["", "utf-9", "base64", "rot13", "zlib", "\0", "a" * 1000,
                                  "../utf_8", "aliases", "\ud800"])
def test_an_encoding_that_is_not_for_text_is_refused(name):
    with pytest.raises(UsageError):
        parse("encoding", name)


@given(st.sampled_from(sorted(FIELDS)), st.one_of(
    st.text(), st.integers().map(str), st.floats().map(repr),
    st.text("0123456789_.eE+-", max_size=8),
))
def test_a_parsed_value_is_in_range_and_survives_printing(key, text):
    try:
        value = parse(key, text)
    except UsageError:
        return
    limits = FIELDS[key].metadata
    if isinstance(value, str):
        assert value == text
        assert not limits["choices"] or value in limits["choices"]
    else:
        assert math.isfinite(value)
        assert limits["low"] <= value <= limits["high"]
        assert limits["above"] < value < limits["below"]
        assert parse(key, str(value)) == value


def test_option_beats_file_beats_default():
    settings = resolve({"layers": 3, "seed": 4}, {"seed": 5, "warmup": 6})
    assert settings == Config(layers=3, seed=5, warmup=6)
    assert resolve({}, {}) == Config()


@pytest.mark.parametrize("pair", list(itertools.combinations(BUDGETS, 2)))
def test_two_budgets_on_one_level_conflict(pair):
    both = dict.fromkeys(pair, 2)
    for file, options, spelled in ((both, {}, str), ({}, both, option_name)):
        with pytest.raises(UsageError) as caught:
            resolve(file, options)
        for key in pair:
            assert f" {spelled(key)} " in f" {caught.value} "


@pytest.mark.parametrize(("below", "above"), list(itertools.permutations(BUDGETS, 2)))
def test_a_budget_on_a_higher_level_replaces_the_one_below(below, above):
    settings = resolve({below: 2, "patience": 3}, {above: 5})
    assert settings == Config(patience=3, **{above: 5})


def test_other_options_leave_the_budget_of_the_file():
    assert resolve({"epochs": 2.0}, {"patience": 3}) == Config(epochs=2.0, patience=3)


def test_an_unset_budget_conflicts_with_nothing():
    assert resolve({"steps": None, "epochs": 2.0}, {}) == Config(epochs=2.0)
    assert resolve({"epochs": 2.0}, {"steps": None}) == Config(epochs=2.0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gated_cells_have_no_choice_of_activation(cell):
    assert resolve({}, {"cell": cell, "activation": "tanh"}).cell == cell
    with pytest.raises(UsageError, match=f"activation relu is for cell rnn: .* {cell} have"):
        resolve({"activation": "relu"}, {"cell": cell})


def test_a_decay_that_erases_the_weights_is_refused_with_the_numbers():
    resolve({}, {"learning_rate": 0.5, "weight_decay": 1.5})
    with pytest.raises(UsageError, match=r"learning_rate 0\.5 times weight_decay 2 is 1 or more"):
        resolve({}, {"learning_rate": 0.5, "weight_decay": 2.0})
