"""The length of a run: steps, epochs, or minutes that become steps once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from training_runs import in_processes, killed_after, of, prepared, prepared_in, train, train_in

from charrnn.storage import checkpoint
from charrnn.training import budget
from charrnn.training.events import Step
from charrnn.training.step import Gradient, TrainingStep, Update


def test_a_larger_budget_extends_a_run_with_a_note(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", steps=10)
    events = train(corpus, tmp_path / "a.npz", steps=20)
    start = events[0]
    assert start.continued
    assert start.step == 10
    assert any("budget was 10 steps and is now 20" in note for note in start.notes)
    assert [event.step for event in of(Step, events)] == list(range(11, 21))


def test_a_budget_below_the_steps_made_trains_nothing(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", steps=20)
    events = train(corpus, tmp_path / "a.npz", steps=10)
    assert (events[-1].reason, events[-1].step, events[-1].steps) == ("already trained", 20, 10)
    assert not any("schedule" in note for note in events[0].notes)


def test_epochs_are_passes_over_the_batches(corpus, tmp_path):
    run = prepared(corpus, tmp_path / "a.npz", steps=None, epochs=2.5)
    budget.set_budget(run)
    assert run.checkpoint.progress.steps == math.ceil(2.5 * run.batches.windows)


def test_the_default_budget_is_thirty_epochs_of_a_small_text(corpus, tmp_path):
    run = prepared(corpus, tmp_path / "a.npz", steps=None)
    budget.set_budget(run)
    assert run.checkpoint.progress.steps == 30 * run.batches.windows < 6000


def test_minutes_become_steps_once(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(budget, "seconds_per_step", lambda run, step: 0.25)
    options = {"steps": None, "max_minutes": 0.1}
    train(corpus, tmp_path / "whole.npz", **options)
    assert checkpoint.load(tmp_path / "whole.npz").progress.steps == 24
    killed_after(6, corpus, tmp_path / "parts.npz", **options)
    monkeypatch.setattr(budget, "seconds_per_step", lambda run, step: 99)
    train(corpus, tmp_path / "parts.npz", **options)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_minutes_become_the_steps_that_the_first_process_measured(
    shared_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(budget, "seconds_per_step",
                        lambda run, step: 0.25 * (1 + run.processes.rank))
    every = train_in(3, shared_corpus, tmp_path / "a.npz", steps=None, max_minutes=0.05)
    assert [events[-1].step for events in every] == [12, 12, 12]


def test_the_time_of_a_step_is_measured_with_its_share_of_validation(corpus, tmp_path, monkeypatch):
    run = prepared(corpus, tmp_path / "a.npz")
    now = [0.0]
    monkeypatch.setattr(budget.time, "perf_counter", lambda: now[0])

    def update(self, params, moments, state, step, steps):
        now[0] += 0.2
        gradient = Gradient(params.flat, 0.0, state, chars=0, stop=None, save=False)
        return Update(gradient, grad_norm=0.0, learning_rate=0.0)

    def score_together(run, params, part):
        now[0] += 0.7

    monkeypatch.setattr(TrainingStep, "update", update)
    monkeypatch.setattr(budget, "score_together", score_together)
    # A validation of 0.7 seconds every 7 steps of 0.2.
    expected = 0.2 + 0.7 / 7
    assert budget.seconds_per_step(run, TrainingStep(run)) == pytest.approx(expected)


def test_measuring_the_speed_changes_nothing(corpus, tmp_path):
    run = prepared(corpus, tmp_path / "a.npz", dropout=0.1)
    saved = run.checkpoint
    before = saved.last.flat.copy(), saved.moments.copy(), saved.state.copy()
    assert budget.seconds_per_step(run, TrainingStep(run)) > 0
    for array, kept in zip((saved.last.flat, saved.moments, saved.state), before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_the_speed_is_measured_by_all_processes_together(shared_corpus, tmp_path):
    def work(group):
        run = prepared_in(group, shared_corpus, tmp_path / "a.npz")
        return budget.seconds_per_step(run, TrainingStep(run)) > 0

    assert in_processes(2, work) == [True, True]
