"""Settings: every one is complete, has a default that it allows, and can be told from it."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from charrnn.config.parsing import parse
from charrnn.config.settings import (
    DERIVED,
    FIELDS,
    MAY_CHANGE,
    Config,
    as_option,
    changed,
    option_name,
    shown,
)


def test_every_setting_exists():
    named = """level encoding val_fraction hidden_size layers activation dropout dtype batch_size
        seq_length optimizer learning_rate schedule warmup clip_norm clip_value steps epochs
        max_minutes patience eval_every save_every sample_every seed threads
        weight_decay"""
    assert set(named.split()) <= set(FIELDS)


@pytest.mark.parametrize("key", FIELDS)
def test_every_default_passes_its_own_parse(key):
    default = FIELDS[key].default
    if default is None:
        assert "None" in str(FIELDS[key].type)
        return
    value = parse(key, str(default))
    assert value == default
    assert type(value) is type(default)


@pytest.mark.parametrize("key", FIELDS)
def test_every_setting_has_a_group_and_a_help_text(key):
    assert FIELDS[key].metadata["group"]
    assert FIELDS[key].metadata["help"].endswith((".", "..."))


def test_only_budgets_threads_and_what_shows_or_saves_may_change_in_a_run():
    assert {"steps", "epochs", "max_minutes", "patience"} <= MAY_CHANGE
    assert "eval_every" not in MAY_CHANGE
    assert set(FIELDS) >= MAY_CHANGE


def test_an_option_is_spelled_with_hyphens():
    assert option_name("learning_rate") == "--learning-rate"


def test_the_changed_settings_are_those_that_differ_from_the_defaults():
    assert changed(asdict(Config()), []) == []
    assert changed(asdict(Config(activation="relu")), []) == ["activation"], "inherited"
    settings = asdict(Config(layers=5, level="char", steps=7))
    assert changed(settings, ["layers", "level", "steps"]) == ["layers", "steps"]


def test_a_default_that_follows_from_the_text_is_not_a_change_unless_it_was_set():
    settings = asdict(Config(dropout=0.3, steps=6000))
    assert changed(settings, []) == []
    assert changed(settings, ["dropout"]) == ["dropout"]


def test_the_derived_settings_have_no_built_in_default():
    assert {FIELDS[key].default for key in DERIVED} == {None}


@pytest.mark.parametrize("value", [0.089011, 0.1 + 0.2, 1e-7, 0.004, 2.0, 5e-324, 123456.789])
def test_a_number_is_shown_exactly(value):
    assert float(shown(value)) == value
    assert len(shown(value)) <= len(repr(value))


def test_truth_values_are_shown_as_in_a_config_file():
    assert [shown(value) for value in (True, False, 1, "adam")] == ["true", "false", "1", "adam"]


def test_a_setting_becomes_the_option_that_sets_it():
    assert as_option("deterministic", "true") == "--deterministic"
    assert as_option("deterministic", "false") == "--no-deterministic"
    assert as_option("batch_size", "3") == "--batch-size 3"
