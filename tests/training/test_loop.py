"""The training loop: runs learn, repeat to the last bit, save, and end as they should."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import math
import os

import numpy as np
import pytest
from training_runs import (
    SHARED_TINY,
    TEXT,
    in_processes,
    interrupt,
    of,
    prepared,
    prepared_in,
    raised,
    train,
    train_in,
)

from charrnn.cli.progress import start_lines
from charrnn.errors import CharrnnError, DivergedError, UsageError
from charrnn.nn.loss import cross_entropy
from charrnn.nn.network import Activations, backward, forward
from charrnn.nn.rng import Purpose, generator
from charrnn.storage import archive, checkpoint
from charrnn.system.signals import Signals
from charrnn.training import loop
from charrnn.training.events import End, Eval, Sample, Save, Start, Step
from charrnn.training.step import Gradient, TrainingStep, Update


def test_training_lowers_the_loss(corpus, tmp_path):
    events = train(corpus, tmp_path / "a.npz", steps=300, eval_every=50, hidden_size=32)
    losses = [event.nats_per_char for event in of(Step, events)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert of(End, events)[0].best_nats_per_char < 1.0


def test_a_run_computes_the_same_as_a_naive_loop_over_the_text(corpus, tmp_path):
    options = {"batch_size": 3, "seq_length": 7, "layers": 1, "dtype": "float64",
               "optimizer": "adam", "clip_norm": 0.5, "dropout": 0, "warmup": 5}
    run = prepared(corpus, tmp_path / "a.npz", steps=300, eval_every=50, **options)
    params = run.checkpoint.last.copy()
    events = list(loop.train(run, Signals()))
    steps = of(Step, events)

    symbols = sorted(set(TEXT))
    ids = [symbols.index(c) for c in TEXT]
    ids = ids[: int(len(ids) * 0.9)]
    length = (len(ids) - 1 - 6) // 3  # an epoch may start up to a window's end later
    assert 2 * -(-length // 7) < 300, "more than two epochs, with a shorter last window"
    grad, activations = params.copy(), Activations(params.arch, 7, 3)
    m, v = np.zeros(params.flat.size), np.zeros(params.flat.size)
    position, state, epoch = 0, np.zeros((3, 8)), 0
    losses, norms = [], []
    for t in range(1, 301):
        if position == length:
            position, state, epoch = 0, np.zeros((3, 8)), epoch + 1
        offset = generator(run.config.seed, Purpose.WINDOW_OFFSET, epoch).integers(7)
        stop = min(position + 7, length)
        sequences = [ids[offset + sequence * length :] for sequence in range(3)]
        window = np.array([sequence[position : stop + 1] for sequence in sequences]).T
        logits, state = forward(params, window[:-1], state, activations)
        losses.append(cross_entropy(logits, window[1:]))
        backward(params, window[:-1], logits, activations, grad)
        norms.append(np.sqrt((grad.flat**2).sum()))
        g = grad.flat * min(1, 0.5 / norms[-1])
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g * g
        done = (t - 1 - 5) / 295
        rate = 0.01 * (t / 5 if t <= 5 else (1 + math.cos(math.pi * done)) / 2)
        for name in ("W_xh0", "W_hh0", "W_hy"):
            params.named[name] -= rate * 0.3 * params.named[name]  # the default weight decay
        params.flat -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-8)
        assert steps[t - 1].learning_rate == pytest.approx(rate, rel=1e-12)
        position = stop
    assert [event.nats_per_char for event in steps] == pytest.approx(losses, rel=1e-6)
    assert [event.grad_norm for event in steps] == pytest.approx(norms, rel=1e-5)
    np.testing.assert_allclose(run.checkpoint.last.flat, params.flat, rtol=1e-5, atol=1e-8)
    for row, last in zip(run.checkpoint.history, range(50, 301, 50), strict=True):
        mean_loss, mean_norm = np.mean(losses[last - 50 : last]), np.mean(norms[last - 50 : last])
        assert row[0] == last
        assert row[1] == pytest.approx(mean_loss, rel=1e-6)
        assert row[3] == pytest.approx(mean_norm, rel=1e-5)
        assert row[4] == steps[last - 1].learning_rate


def test_events_come_in_order_and_once(corpus, tmp_path):
    events = train(corpus, tmp_path / "a.npz", sample_every=10)
    assert isinstance(events[0], Start)
    assert isinstance(events[-1], End)
    assert [event.step for event in of(Step, events)] == list(range(1, 21))
    assert [event.step for event in of(Eval, events)] == [7, 14, 20]
    assert [event.step for event in of(Save, events)] == [5, 7, 10, 14, 15, 20]
    assert [event.step for event in of(Sample, events)] == [10, 20]
    assert events[-1].reason == "done"


@pytest.mark.parametrize(("every", "steps"), [(None, [7, 14, 20]), (0, [])])
def test_samples_come_with_the_validations_unless_there_are_none(corpus, tmp_path, every, steps):
    events = train(corpus, tmp_path / "a.npz", sample_every=every)
    assert [event.step for event in of(Sample, events)] == steps


def test_the_same_seed_gives_the_same_bytes_and_another_seed_different_ones(corpus, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(corpus, tmp_path / f"{name}.npz", seed=seed, dropout=0.3)
    a, b, c = ((tmp_path / f"{name}.npz").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_usr1_saves_and_the_run_continues(corpus, tmp_path):
    signals, events = Signals(), []
    for event in loop.train(prepared(corpus, tmp_path / "a.npz", save_every=1000), signals):
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            signals.save = True
    assert [event.step for event in of(Save, events)] == [4, 7, 14, 20]


def test_a_signal_to_save_that_reaches_one_process_makes_all_of_them_save(shared_corpus, tmp_path):
    def ask(signals):
        signals.save = True

    every = train_in(3, shared_corpus, tmp_path / "a.npz", 2, ask, save_every=1000)
    assert [[event.step for event in of(Save, events)] for events in every] == [[3, 7, 14, 20]] * 3


def test_a_signal_after_the_last_step_changes_nothing(shared_corpus, tmp_path):
    every = train_in(2, shared_corpus, tmp_path / "a.npz", SHARED_TINY["steps"], interrupt)
    assert [events[-1].reason for events in every] == ["done", "done"]


def test_without_validation_the_last_weights_are_the_best(corpus, tmp_path):
    events = train(corpus, tmp_path / "a.npz", val_fraction=0.0)
    stored = checkpoint.load(tmp_path / "a.npz")
    assert not of(Eval, events)
    np.testing.assert_array_equal(stored.best.flat, stored.last.flat)
    assert any("there is no validation text" in note for note in events[0].notes)


def test_patience_ends_a_run_that_does_not_improve(corpus, tmp_path):
    options = {"steps": 500, "eval_every": 2, "patience": 3, "learning_rate": 3.0,
               "optimizer": "sgd", "schedule": "constant"}
    events = train(corpus, tmp_path / "a.npz", **options)
    assert events[-1].reason == "patience"
    assert [event.improved for event in of(Eval, events)][-3:] == [False] * 3
    assert train(corpus, tmp_path / "a.npz", **options)[-1].reason == "already trained"


def test_every_process_ends_with_the_same_last_event(shared_corpus, tmp_path):
    ends = [events[-1] for events in train_in(4, shared_corpus, tmp_path / "a.npz", patience=1)]
    assert all(isinstance(end, End) for end in ends) and len(set(ends)) == 1


@pytest.mark.parametrize(("left_over", "mentioned"), [(3, False), (15, False), (16, True)])
def test_characters_that_an_epoch_leaves_out_are_mentioned_if_they_are_many(
    corpus, tmp_path, left_over, mentioned
):
    start = loop.start(prepared(corpus, tmp_path / "a.npz"))
    assert start.left_over == start.train_chars - 1 - 4 * ((start.train_chars - 1 - 7) // 4)
    start = dataclasses.replace(start, train_chars=1500, left_over=left_over)
    assert ("each epoch omits 16" in start_lines(start)[0]) == mentioned


def test_one_distinct_character_trains(tmp_path):
    (tmp_path / "a.txt").write_text("a" * 100)
    events = train(tmp_path / "a.txt", tmp_path / "a.npz")
    assert events[-1].best_nats_per_char == 0


def test_the_history_holds_the_curves_and_stays_short(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_HISTORY", 10)
    events = train(corpus, tmp_path / "a.npz", steps=40, eval_every=1)
    history = checkpoint.load(tmp_path / "a.npz").history
    assert 5 <= len(history) <= 10
    validations = {event.step: event.nats_per_char for event in of(Eval, events)}
    losses = {event.step: event.nats_per_char for event in of(Step, events)}
    for step, loss, validation, _norm, _rate in history:
        assert validation == validations[step]
        assert loss == pytest.approx(losses[step])
    assert history[-1][0] == 40
    assert all(a[0] < b[0] for a, b in itertools.pairwise(history))


def test_only_the_first_process_writes(shared_corpus, tmp_path, monkeypatch):
    written, write = [], archive.write

    def counted(path, members):
        written.append(path)
        write(path, members)

    monkeypatch.setattr(archive, "write", counted)
    every = train_in(4, shared_corpus, tmp_path / "a.npz")
    assert len(written) == len(of(Save, every[0])) == 6


def test_the_carried_states_of_all_sequences_are_in_the_checkpoint(shared_corpus, tmp_path):
    train_in(1, shared_corpus, tmp_path / "1.npz", deterministic=True, dropout=0)
    train_in(4, shared_corpus, tmp_path / "4.npz", deterministic=True, dropout=0)
    one, four = (checkpoint.load(tmp_path / f"{size}.npz").state for size in (1, 4))
    np.testing.assert_array_equal(one, four)
    assert len(np.unique(four, axis=0)) == 12


def test_a_full_disk_of_the_first_process_ends_all(shared_corpus, tmp_path, monkeypatch):
    out = tmp_path / "a.npz"
    train_in(2, shared_corpus, out, steps=5)
    before = out.read_bytes()

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive.os, "fsync", full)
    outcomes = in_processes(3, lambda group: list(
        loop.train(prepared_in(group, shared_corpus, out), Signals())))
    assert "No space left" in raised(CharrnnError, outcomes)
    assert out.read_bytes() == before


def test_weights_that_differ_between_processes_are_never_saved(shared_corpus, tmp_path):
    def work(group):
        run = prepared_in(group, shared_corpus, tmp_path / "a.npz")
        run.checkpoint.last.flat[3] += 1e-6 * group.rank
        for _ in loop.train(run, Signals()):
            pass

    assert "weights" in raised(UsageError, in_processes(2, work))
    assert not (tmp_path / "a.npz").exists()


DIVERGING = {"optimizer": "sgd", "activation": "relu", "learning_rate": 1.0, "steps": 200,
        "schedule": "constant", "warmup": 0, "hidden_size": 32, "layers": 1, "dropout": 0}


@pytest.mark.parametrize("save_every", [1, 1000])
@pytest.mark.parametrize("eval_every", [1, 1000])
def test_a_loss_that_explodes_ends_the_run_with_advice(corpus, tmp_path, save_every, eval_every):
    every = {"save_every": save_every, "eval_every": eval_every}
    with pytest.raises(DivergedError, match="diverged at step") as error:
        train(corpus, tmp_path / "a.npz", clip_norm=0.0, **DIVERGING, **every)
    assert "--clip-norm" in str(error.value)
    assert "--learning-rate" in str(error.value)
    assert (tmp_path / "a.npz").exists() == (1 in (save_every, eval_every))
    if (tmp_path / "a.npz").exists():
        assert np.isfinite(checkpoint.load(tmp_path / "a.npz").last.flat).all()


@pytest.mark.parametrize("seed", range(1, 7))
def test_the_same_run_is_stable_with_its_gradient_clipped(corpus, tmp_path, seed):
    events = train(corpus, tmp_path / "a.npz", clip_norm=1.0, seed=seed, **DIVERGING)
    assert events[-1].reason == "done"
    assert all(math.isfinite(event.nats_per_char) for event in of(Step, events))


def test_a_run_that_diverges_does_so_in_all_processes(shared_corpus, tmp_path):
    diverging = {"optimizer": "sgd", "activation": "relu", "learning_rate": 50.0, "clip_norm": 0.0,
            "schedule": "constant", "warmup": 0, "steps": 300}
    outcomes = in_processes(3, lambda group: list(
        loop.train(prepared_in(group, shared_corpus, tmp_path / "a.npz", **diverging), Signals())))
    assert "training diverged at step" in raised(DivergedError, outcomes)


def test_a_hundred_losses_far_above_guessing_are_divergence(corpus, tmp_path):
    run = prepared(corpus, tmp_path / "a.npz", steps=300)
    run.checkpoint.last.W_hy[:] = 0
    run.checkpoint.last.b_y[:] = 0
    run.checkpoint.last.b_y[0] = 1000  # as sure as can be of a rare character
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, learning_rate=1e-9))
    events = []
    with pytest.raises(DivergedError, match="100 steps with a loss above twice that of guessing"):
        events.extend(loop.train(run, Signals()))


LOG_V = math.log(len(set(TEXT)))


@pytest.mark.parametrize(("losses", "ends"), [
    ([2.1 * LOG_V] * 99 + [LOG_V] + [2.1 * LOG_V] * 99 + [LOG_V], None),
    ([1.9 * LOG_V] * 200, None),
    ([LOG_V] * 7 + [2.1 * LOG_V] * 193, 107),
])
def test_only_losses_in_a_row_above_twice_guessing_count(
    corpus, tmp_path, monkeypatch, losses, ends
):
    given = iter(losses)

    def update(self, params, moments, state, step, steps):
        gradient = Gradient(params.flat, next(given), state, chars=0, stop=None, save=False)
        return Update(gradient, grad_norm=1.0, learning_rate=0.1)

    monkeypatch.setattr(TrainingStep, "update", update)
    run = prepared(corpus, tmp_path / "a.npz", steps=200, save_every=1)
    events = []
    if ends is None:
        events.extend(loop.train(run, Signals()))
        assert events[-1].reason == "done"
        return
    with pytest.raises(DivergedError, match=f"at step {ends} .100 steps with a loss above"):
        events.extend(loop.train(run, Signals()))
    # Nothing is saved on the way down.
    assert checkpoint.load(tmp_path / "a.npz").progress.step == 7
