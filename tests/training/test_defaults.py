"""Defaults that follow from the text: computed for a new run, stored, and kept by it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from training_runs import TEXT, killed_after, prepared, train

from charrnn.config.settings import DERIVED, ONCE_NULL, Config
from charrnn.errors import UsageError
from charrnn.storage import checkpoint
from charrnn.text import split
from charrnn.text.batches import Batches
from charrnn.text.split import Split
from charrnn.training import defaults

UNSET = dict.fromkeys(ONCE_NULL)  # the network stays small


def divided(chars, validation=0):
    """Parts of so many characters, and batches of the training part; they take no memory."""
    def part(size):
        return Split(np.broadcast_to(np.uint8(1), size), np.zeros(1, np.uint8))

    return part(chars), part(validation), Batches(part(chars).ids, 32, 64), 65


@pytest.mark.parametrize(("chars", "expected"), [
    (1000, 0.3), (66_666, 0.3), (200_000, 0.1), (1_003_854, 0.02), (10**8, 0.0),
])
def test_the_default_dropout_is_higher_for_less_text(chars, expected):
    assert defaults.after_split(Config(cell="rnn"), *divided(chars)).dropout == expected
    assert defaults.after_split(Config(dropout=0.0), *divided(chars)).dropout == 0


@pytest.mark.parametrize(("settings", "chars", "expected"), [
    ({}, 76_163, 0.3), ({}, 1_003_854, 0.01), ({"epochs": 15.0}, 1_003_854, 0.08),
    ({"max_minutes": 10.0}, 1_003_854, 0.06), ({"steps": 7000}, 1_003_854, 0.08),
    ({"epochs": 100.0}, 1_003_854, 0.3), ({}, 10**8, 0.0),
])
def test_with_gates_it_is_higher_for_more_epochs_too(settings, chars, expected):
    assert defaults.after_split(Config(**settings), *divided(chars)).dropout == expected


@pytest.mark.parametrize(("validation", "expected"), [(0, 50), (20_480, 50), (20_481, 51),
                                                      (111_540, 273)])
def test_validation_reads_at_most_a_fifth_of_what_training_reads(validation, expected):
    made = defaults.after_split(Config(), *divided(100_000, validation))
    assert made.eval_every == expected
    assert defaults.after_split(Config(eval_every=3), *divided(100_000, validation)).eval_every == 3


@pytest.mark.parametrize(("settings", "chars", "expected"), [
    ({}, 1000, 30), ({}, 10_000, 150), ({}, 10**7, 1300), ({"cell": "rnn"}, 10**7, 4000),
    ({"hidden_size": 16}, 10**7, 6000), ({"layers": 4, "hidden_size": 384}, 10**7, 900),
])
def test_a_run_has_6000_steps_or_30_epochs_or_takes_two_minutes(settings, chars, expected):
    assert defaults.after_split(Config(**settings), *divided(chars)).steps == expected


def test_a_run_with_a_large_vocabulary_has_fewer_steps():
    *parts, _ = divided(10**7)
    assert defaults.after_split(Config(), *parts, 5000).steps == 290
    assert defaults.after_split(Config(), *parts, 10**6).steps == 1


@pytest.mark.parametrize(("settings", "chars", "expected"), [
    ({}, 10**6, ("gru", 2, 256, 8e-3)), ({}, 10**9, ("gru", 2, 256, 8e-3)),
    ({}, 76_000, ("gru", 2, 96, 8e-3)), ({}, 1000, ("gru", 2, 32, 8e-3)),
    ({"cell": "lstm"}, 10**6, ("lstm", 2, 256, 1.5e-2)),
    ({"cell": "rnn"}, 1000, ("rnn", 2, 256, 4e-3)),
    ({"layers": 3}, 10**6, ("rnn", 3, 256, 4e-3)), ({"hidden_size": 8}, 10**6, ("rnn", 2, 8, 4e-3)),
    ({"activation": "relu"}, 10**6, ("rnn", 2, 256, 4e-3)),
    ({"cell": "gru", "hidden_size": 384}, 1000, ("gru", 2, 384, 5.3e-3)),
    ({"learning_rate": 1e-3}, 10**6, ("gru", 2, 256, 1e-3)),
])
def test_the_network_and_its_learning_rate_follow_from_the_text(settings, chars, expected):
    made = defaults.after_split(Config(**settings), *divided(chars))
    assert (made.cell, made.layers, made.hidden_size, made.learning_rate) == expected


def test_a_weight_decay_that_erases_the_weights_is_refused_with_a_default_rate():
    with pytest.raises(UsageError, match=r"0\.008 times weight_decay 250 is 1 or more"):
        defaults.after_split(Config(weight_decay=250.0), *divided(1000))


@pytest.mark.parametrize("budget", [{"epochs": 2.0}, {"max_minutes": 1.0}])
def test_another_budget_leaves_the_steps_open(budget):
    assert defaults.after_split(Config(**budget), *divided(1000)).steps is None


@pytest.mark.parametrize("chars", [1, 2, 3, 19, 20, 1620, 9_999_999, 10**7, 10**7 + 1, 123_456_789])
def test_the_stored_fraction_splits_a_text_as_its_default_does(chars):
    fraction = defaults.before_split(Config(), chars, False).val_fraction
    assert split.training_size(chars, fraction) == split.training_size(chars, None)
    assert split.training_size(chars, float(repr(fraction))) == split.training_size(chars, None)


@pytest.mark.parametrize(("chars", "expected"), [(1000, 0.3), (125_000, 0.2), (10**7, 0.1)])
def test_the_default_weight_decay_is_for_adam_and_higher_for_less_text(chars, expected):
    assert defaults.after_split(Config(), *divided(chars)).weight_decay == expected
    assert defaults.after_split(Config(optimizer="sgd"), *divided(chars)).weight_decay == 0
    assert defaults.after_split(Config(weight_decay=0.0), *divided(chars)).weight_decay == 0


def test_a_validation_file_leaves_no_fraction(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", val=corpus, **UNSET, epochs=1.0)
    stored = checkpoint.load(tmp_path / "a.npz")
    assert stored.settings["val_fraction"] is None
    assert all(stored.settings[key] is not None for key in DERIVED if key != "val_fraction")


def test_a_checkpoint_has_the_values_that_were_used_and_the_names_of_those_set(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", **UNSET, epochs=2.0)
    stored = checkpoint.load(tmp_path / "a.npz")
    windows = prepared(corpus, tmp_path / "new.npz", **UNSET).batches.windows
    assert {key: stored.settings[key] for key in DERIVED} == {
        "cell": "rnn", "hidden_size": 8, "layers": 2, "learning_rate": 0.01,
        "val_fraction": 0.1, "dropout": 0.3, "weight_decay": 0.3, "eval_every": 50,
        "steps": 2 * windows,
    }
    assert stored.progress.steps == 2 * windows
    assert not set(stored.explicit) & set(ONCE_NULL)
    assert {"epochs", "hidden_size", "learning_rate"} <= set(stored.explicit)


def test_minutes_are_stored_with_the_steps_that_they_gave(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("charrnn.training.budget.seconds_per_step", lambda run, step: 0.25)
    train(corpus, tmp_path / "a.npz", steps=None, max_minutes=0.1)
    stored = checkpoint.load(tmp_path / "a.npz")
    assert (stored.settings["max_minutes"], stored.settings["steps"]) == (0.1, 24)


def as_written_before(path):
    """Make a checkpoint one of when defaults were stored as null and what was set was not."""
    stored = checkpoint.load(path)
    stored.settings |= {key: None for key in ONCE_NULL if key not in stored.explicit}
    stored.explicit = stored.changed
    stored.explicit_recorded = False
    checkpoint.save(path, stored)
    assert b'"explicit"' not in path.read_bytes()
    assert checkpoint.load(path).explicit == stored.explicit


LONG = {"save_every": 5, "batch_size": 2, "seq_length": 4}


@pytest.mark.parametrize("extra", [{}, {"optimizer": "sgd"}, {"epochs": 1.0}, {"dropout": 0.1},
                                   {"val_fraction": 0.3}])
def test_a_run_from_when_defaults_were_null_resumes_to_the_same_weights(
    corpus, tmp_path, monkeypatch, extra
):
    corpus.write_text(TEXT[:300])
    options = UNSET | LONG | extra
    with monkeypatch.context() as earlier:
        earlier.setattr(defaults, "weight_decay",
                        lambda chars, optimizer: 0.1 if optimizer == "adam" else 0.0)
        train(corpus, tmp_path / "whole.npz", **options)
        killed_after(12, corpus, tmp_path / "parts.npz", **options)
    as_written_before(tmp_path / "parts.npz")
    train(corpus, tmp_path / "parts.npz", **options)
    whole, parts = (checkpoint.load(tmp_path / f"{name}.npz") for name in ("whole", "parts"))
    np.testing.assert_array_equal(parts.last.flat, whole.last.flat)
    np.testing.assert_array_equal(parts.best.flat, whole.best.flat)
    assert (parts.settings, parts.progress) == (whole.settings, whole.progress)
    assert not parts.explicit_recorded, "what was set is still not known"


OTHER_RULES = {"dropout": lambda arch, chars, epochs: 0.77, "steps": lambda arch, batches: 777,
               "weight_decay": lambda chars, optimizer: 7.0, "cell": lambda config: "lstm",
               "eval_every": lambda validation, batches: 77}


@pytest.fixture
def other_rules(monkeypatch):
    """Have the defaults follow other rules, as in a later version."""
    def change():
        for name, rule in OTHER_RULES.items():
            monkeypatch.setattr(defaults, name, rule)
        monkeypatch.setattr(defaults, "default_fraction", lambda size: 0.7)

    return change


def test_a_run_keeps_its_defaults_when_the_rules_change(corpus, tmp_path, other_rules):
    corpus.write_text(TEXT[:300])
    options = UNSET | LONG
    train(corpus, tmp_path / "whole.npz", **options)
    killed_after(12, corpus, tmp_path / "parts.npz", **options)
    other_rules()
    train(corpus, tmp_path / "parts.npz", **options)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    new = prepared(corpus, tmp_path / "new.npz", **options).config
    assert (new.dropout, new.steps, new.eval_every) == (0.77, 777, 77)
    assert (new.val_fraction, new.weight_decay, new.cell) == (0.7, 7.0, "lstm")


def test_a_default_that_is_named_now_is_the_same_run(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", **UNSET)
    stored = checkpoint.load(tmp_path / "a.npz")
    same = {key: stored.settings[key] for key in DERIVED}
    assert train(corpus, tmp_path / "a.npz", **same)[-1].reason == "already trained"
    as_written_before(tmp_path / "a.npz")
    same["weight_decay"] = 0.1  # the default at that time
    assert train(corpus, tmp_path / "a.npz", **same)[-1].reason == "already trained"
    with pytest.raises(UsageError, match=r"eval_every 50 \(default\) there, 10 now"):
        prepared(corpus, tmp_path / "a.npz", **same | {"eval_every": 10})


def test_a_setting_that_has_its_default_value_is_the_same_run_without_it(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", **UNSET | {"dropout": 0.3, "eval_every": 10})
    with pytest.raises(UsageError) as error:
        prepared(corpus, tmp_path / "a.npz", **UNSET)
    assert "(eval_every 10 there, 50 (default) now)" in str(error.value)
    assert prepared(corpus, tmp_path / "a.npz", **UNSET | {"eval_every": 10}).resumed


def test_settings_that_may_change_are_the_current_or_the_stored_ones(corpus, tmp_path, monkeypatch):
    train(corpus, tmp_path / "a.npz", steps=10, save_every=None, patience=3)
    stored = checkpoint.load(tmp_path / "a.npz")
    stored.settings["save_every"] = 999  # the default of the version that wrote it
    checkpoint.save(tmp_path / "a.npz", stored)
    run = prepared(corpus, tmp_path / "a.npz", steps=20, save_every=None)
    assert (run.config.save_every, run.config.patience) == (999, None)
    run = prepared(corpus, tmp_path / "a.npz", steps=20, save_every=7)
    assert run.config.save_every == 7


def test_a_budget_that_is_no_longer_set_is_replaced_by_the_default(corpus, tmp_path):
    for budget in ({"steps": 10}, {"epochs": 0.2}):
        name = tmp_path / f"{min(budget)}.npz"
        train(corpus, name, **{"steps": None} | budget)
        run = prepared(corpus, name, steps=None)
        assert run.config.steps == defaults.steps(run.checkpoint.last.arch, run.batches)
        assert dataclasses.replace(run.config, steps=None).epochs is None


def test_an_inherited_setting_is_changed_but_not_explicit(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", activation="relu")
    train(corpus, tmp_path / "b.npz", init_from=tmp_path / "a.npz", activation=None)
    stored = checkpoint.load(tmp_path / "b.npz")
    assert "activation" in stored.changed
    assert "activation" not in stored.explicit


def test_the_file_names_for_older_readers_what_differs_from_the_defaults(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", clip_norm=1.0, seed=1, dropout=None)
    with np.load(tmp_path / "a.npz") as file:
        meta = json.loads(file["meta"].tobytes())
    assert {"clip_norm", "seed"} <= set(meta["explicit"]) and "dropout" not in meta["explicit"]
    assert not {"clip_norm", "seed", "dropout"} & set(meta["changed"])
    assert "hidden_size" in meta["changed"]
