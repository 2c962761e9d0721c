"""Validation: which text, the best weights, the mean training loss, and overflows."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from training_runs import TEXT, in_processes, killed_after, of, prepared, train

from charrnn.api import loaded as api
from charrnn.cli.progress import TrainingDisplay, validation_text
from charrnn.errors import DivergedError
from charrnn.inference import dynamic, scoring
from charrnn.inference.scoring import Score, check_finite, score, score_blocks, total
from charrnn.nn.parameters import Architecture, initialize
from charrnn.storage import checkpoint
from charrnn.system.signals import Signals
from charrnn.text.split import Split
from charrnn.training import loop, validation
from charrnn.training.events import Eval, Step


def test_the_best_weights_are_those_of_the_best_validation(corpus, tmp_path):
    events = train(corpus, tmp_path / "a.npz", learning_rate=0.2, schedule="constant", steps=60,
                   optimizer="sgd", eval_every=3, clip_norm=5.0)
    scores = {event.step: event.nats_per_char for event in of(Eval, events)}
    end, stored = events[-1], checkpoint.load(tmp_path / "a.npz")
    assert end.best_nats_per_char == min(scores.values()) == scores[end.best_step]
    text = corpus.read_text()
    ids = stored.vocabulary.encode_text(text[int(len(text) * 0.9) :])
    context = stored.vocabulary.encode_text(text[: int(len(text) * 0.9)][-128:])
    again = score(stored.best, Split(ids, context)).nats_per_char
    assert again == end.best_nats_per_char


def test_validation_does_not_change_training(corpus, tmp_path):
    few = of(Step, train(corpus, tmp_path / "a.npz", eval_every=1000, dropout=0.2))
    many = of(Step, train(corpus, tmp_path / "b.npz", eval_every=1, sample_every=1, dropout=0.2))
    assert [e.nats_per_char for e in few] == [e.nats_per_char for e in many]


def test_a_separate_file_can_be_used_for_validation(corpus, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the lazy fox; ÄÖ\n")
    events = train(corpus, tmp_path / "a.npz", val=other)
    start = events[0]
    assert (start.train_chars, start.val_chars) == (len(TEXT), 17)
    assert start.distinct == len(set(TEXT))
    stored = checkpoint.load(tmp_path / "a.npz")
    ids = stored.vocabulary.encode_text(other.read_text())
    newline = np.array([stored.vocabulary.start])
    again = score(stored.best, Split(ids, newline)).nats_per_char
    assert again == events[-1].best_nats_per_char


def test_the_training_loss_of_a_validation_is_the_mean_since_the_last_one(corpus, tmp_path):
    events = train(corpus, tmp_path / "a.npz")
    losses = [event.nats_per_char for event in of(Step, events)]
    means = [event.training_nats_per_char for event in of(Eval, events)]
    assert means == pytest.approx([np.mean(losses[a:b]) for a, b in ((0, 7), (7, 14), (14, 20))])
    assert means == [row[1] for row in checkpoint.load(tmp_path / "a.npz").history]
    killed_after(11, corpus, tmp_path / "b.npz")  # saved after step 10, between two validations
    resumed = of(Eval, train(corpus, tmp_path / "b.npz"))
    assert [event.training_nats_per_char for event in resumed] == means[1:]


@pytest.mark.parametrize("val", ["x", "th", "the"])
def test_a_very_short_text_can_be_used_for_validation(corpus, tmp_path, val):
    (tmp_path / "val.txt").write_text(val)
    events = train(corpus, tmp_path / "a.npz", val=tmp_path / "val.txt")
    assert len(of(Eval, events)) == 3


@pytest.mark.parametrize("borders", ["ignore", "reset"])
def test_the_score_of_validation_is_that_of_the_part_with_borders_too(library, tmp_path, borders):
    options = {"borders": borders, "val_fraction": 0.5, "min_count": 2}
    events = train(library, tmp_path / "a.npz", steps=60, **options)
    model = api.load(tmp_path / "a.npz")
    part = model.part(model.read([str(library)]), "val")
    assert score(model.parameters, part).nats_per_char == events[-1].best_nats_per_char
    resets = part.resets
    assert resets is None or resets.positions.tolist() == [at - 794 for at in (556, 954)]
    assert (resets is None) == (borders == "ignore")


@pytest.mark.parametrize("length", [1, 1024, 5000, 70_000])
def test_a_score_is_the_same_to_the_last_bit_however_the_work_is_shared(length, monkeypatch):
    monkeypatch.setattr(scoring, "SEGMENTS_AT_ONCE", 2)  # many sums, whose order matters
    params = initialize(Architecture(5, 6, 1, "tanh", "float32"), np.random.default_rng(1))
    part = Split(np.random.default_rng(2).integers(0, 5, length), np.zeros(1, int))
    alone = score(params, part)
    assert alone.chars == length
    for size in (1, 2, 3, 5):
        for threads in (1, 2):
            own = SimpleNamespace(threads=threads)
            every = in_processes(size, lambda group, own=own: validation.score_together(
                SimpleNamespace(processes=group, checkpoint=own), params, part))
            assert every == [alone] * size


def test_a_validation_that_overflows_is_reported_and_is_never_the_best(
    corpus, tmp_path, monkeypatch
):
    found = iter([2.0, math.nan, math.inf])
    monkeypatch.setattr(validation, "score_together", lambda *args: Score(1, next(found), 0))
    events = train(corpus, tmp_path / "a.npz", steps=21)
    assert [event.nats_per_char for event in of(Eval, events)] == [2.0, None, None]
    assert [event.improved for event in of(Eval, events)] == [True, False, False]
    text = validation_text(of(Eval, events)[1])
    assert text.startswith("validation overflowed (lower --learning-rate), training ")
    assert text.endswith(" bits/char, best 2.8854 bits/char")
    stored = checkpoint.load(tmp_path / "a.npz")
    assert (stored.progress.best_nats, stored.progress.best_step) == (2.0, 7)
    assert [row[2] for row in stored.history] == [2.0, None, None]


def test_a_first_validation_that_overflows_leaves_no_best(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(validation, "score_together", lambda *args: Score(1, math.nan, 0))
    events = train(corpus, tmp_path / "a.npz")
    assert (events[-1].best_nats_per_char, events[-1].best_step) == (None, None)
    text = validation_text(of(Eval, events)[0])
    assert text.startswith("validation overflowed (lower --learning-rate), training ")
    assert "best" not in text
    stored = checkpoint.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(stored.best.flat, stored.last.flat)
    assert stored.progress.best_step == 20
    display = TrainingDisplay(quiet=False)
    for event in events:
        display.show(event)
    assert "done: 20 steps; no validation score was finite, so the last" in capsys.readouterr().err


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("threads", [1, 2])
def test_states_that_overflow_are_detected_and_cause_no_warnings(corpus, tmp_path, threads):
    long = tmp_path / "long.txt"
    long.write_text(TEXT * 40)  # more than a thread's share
    run = prepared(corpus, tmp_path / "a.npz", val=long, activation="relu", threads=threads)
    for W in run.checkpoint.last.W_hh:
        W[:] = 1.2 * np.eye(len(W))  # too slow a growth to be seen in a window
    events = list(loop.train(run, Signals()))
    assert of(Eval, events)
    assert all(event.nats_per_char is None for event in of(Eval, events))
    assert events[-1].reason == "done"
    saved = checkpoint.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(saved.best.flat, saved.last.flat)
    for dynamically in (False, True):
        blocks = (dynamic.evaluate(saved.best, run.validation) if dynamically
                  else score_blocks(saved.best, run.validation, threads))
        with pytest.raises(DivergedError, match=r"model overflows in long.txt, at symbol [\d,]+ "):
            total(check_finite(blocks, "long.txt"))
    for W in run.checkpoint.last.W_hh:
        W[:] = 3 * np.eye(len(W))
    assert "overflow" in loop.sample(run)


def test_the_end_of_a_run_has_no_best_step_before_the_first_validation(corpus, tmp_path, capsys):
    path = tmp_path / "a.npz"
    killed_after(6, corpus, path, steps=20, save_every=5, eval_every=20)
    display = TrainingDisplay(quiet=False)
    events = train(corpus, path, steps=5, eval_every=20)
    for event in events:
        display.show(event)
    end = events[-1]
    assert (end.reason, end.best_nats_per_char, end.best_step) == ("already trained", None, None)
    shown = capsys.readouterr().err
    assert "already trained: 5 steps are done; not validated yet\n" in shown
    assert "finite" not in shown
    end = train(corpus, tmp_path / "b.npz", steps=5, val_fraction=0.0)[-1]
    assert (end.best_nats_per_char, end.best_step) == (None, 5)
