"""Runs: that they learn, stop, continue and repeat to the last bit."""

from __future__ import annotations

import dataclasses
import itertools
import math
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from charrnn import (
    checkpoint,
    config,
    dynamic,
    encoded,
    evaluation,
    lanes,
    preparation,
    report,
    trainer,
    training,
)
from charrnn import corpus as corpora
from charrnn.errors import CorpusError, DivergedError, UsageError
from charrnn.events import End, Eval, Sample, Save, Start, Step
from charrnn.model import Tape, backward, cross_entropy, forward
from charrnn.randomness import Purpose, generator
from charrnn.request import Request
from charrnn.runtime import Signals

TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen jugs.\n" * 20
TINY = {
    "hidden_size": 8, "layers": 2, "batch_size": 4, "seq_length": 8, "steps": 20,
    "eval_every": 7, "save_every": 5, "warmup": 2, "learning_rate": 0.01, "dropout": 0.05,
}


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


def prepared(corpus, out, *, val=None, init_from=None, overwrite=False, **settings):
    settings = {key: value for key, value in (TINY | settings).items() if value is not None}
    request = Request(
        [str(corpus)], Path(out), config.resolve({}, settings), frozenset(settings),
        val and str(val), init_from, overwrite, None, 1,
    )
    return preparation.prepare(request)


def train(corpus, out, signals=None, **options):
    return list(training.train(prepared(corpus, out, **options), signals or Signals()))


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def killed_after(step, corpus, out, **options):
    """Train as a process that is killed right after the events of ``step`` were shown."""
    for event in training.train(prepared(corpus, out, **options), Signals()):
        if isinstance(event, Step) and event.step == step:
            return


def test_training_learns(corpus, tmp_path):
    events = train(corpus, tmp_path / "a.npz", steps=300, eval_every=50, hidden_size=32)
    losses = [event.nats_per_char for event in of(Step, events)]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert of(End, events)[0].best_nats_per_char < 1.0


def test_a_run_is_what_a_plain_loop_over_the_text_computes(corpus, tmp_path):
    options = {"batch_size": 3, "seq_length": 7, "layers": 1, "dtype": "float64",
               "optimizer": "adam", "clip_norm": 0.5, "dropout": 0, "warmup": 5}
    run = prepared(corpus, tmp_path / "a.npz", steps=300, eval_every=50, **options)
    params = run.checkpoint.last.copy()
    events = list(training.train(run, Signals()))
    steps = of(Step, events)

    symbols = sorted(set(TEXT))
    ids = [symbols.index(c) for c in TEXT]
    ids = ids[: int(len(ids) * 0.9)]
    length = (len(ids) - 1 - 6) // 3  # an epoch may begin up to a window's end later
    assert 2 * -(-length // 7) < 300, "more than two epochs, with a shorter last window"
    grad, tape = params.copy(), Tape(params.arch, 7, 3)
    m, v = np.zeros(params.flat.size), np.zeros(params.flat.size)
    position, h, epoch = 0, np.zeros((3, 8)), 0
    losses, norms = [], []
    for t in range(1, 301):
        if position == length:
            position, h, epoch = 0, np.zeros((3, 8)), epoch + 1
        begin = generator(run.config.seed, Purpose.CUTS, epoch).integers(7)
        stop = min(position + 7, length)
        lanes = [ids[begin + lane * length :] for lane in range(3)]
        cut = [lane[position : stop + 1] for lane in lanes]
        window = np.array(cut).T
        logits, h = forward(params, window[:-1], h, tape)
        losses.append(cross_entropy(logits, window[1:]))
        backward(params, window[:-1], logits, tape, grad)
        norms.append(np.sqrt((grad.flat**2).sum()))
        g = grad.flat * min(1, 0.5 / norms[-1])
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g * g
        done = (t - 1 - 5) / 295
        rate = 0.01 * (t / 5 if t <= 5 else (1 + math.cos(math.pi * done)) / 2)
        for name in ("W_xh0", "W_hh0", "W_hy"):
            params.named[name] -= rate * 0.1 * params.named[name]  # the default weight decay
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


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_share_the_lanes_and_learn_the_same(corpus, tmp_path, monkeypatch, threads):
    monkeypatch.setattr(lanes, "LANES_PER_SHARD", 2)
    options = {"batch_size": 10, "dtype": "float64", "dropout": 0.2}
    train(corpus, tmp_path / "one.npz", threads=1, **options)
    train(corpus, tmp_path / "more.npz", threads=threads, **options)
    stepper = trainer.Trainer(prepared(corpus, tmp_path / "more.npz", threads=threads, **options))
    assert len(stepper.shards) == min(threads, 5)
    one, more = (checkpoint.load(tmp_path / f"{name}.npz") for name in ("one", "more"))
    np.testing.assert_allclose(more.last.flat, one.last.flat, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(more.state, one.state, rtol=1e-8, atol=1e-10)
    assert more.progress.best_nats == pytest.approx(one.progress.best_nats, rel=1e-10)


def test_few_lanes_are_not_shared_out(corpus, tmp_path):
    for B, shards in ((1, 1), (15, 1), (16, 2), (64, 3)):
        run = prepared(corpus, tmp_path / "a.npz", threads=3, batch_size=B, seq_length=4)
        assert len(trainer.Trainer(run).shards) == shards


@pytest.mark.parametrize("epoch", range(6))
def test_an_epoch_begins_where_its_number_says_whichever_was_the_last_one(corpus, tmp_path, epoch):
    run = prepared(corpus, tmp_path / "a.npz", batch_size=2, seq_length=64)
    expected = generator(run.config.seed, Purpose.CUTS, epoch).integers(run.lanes.slack + 1)
    assert run.lanes.slack == 63
    fresh, used = trainer.Trainer(run), trainer.Trainer(run)
    used.start(epoch + 1)
    assert fresh.start(epoch) == used.start(epoch) == fresh.start(epoch) == expected


def test_events_come_in_order_and_once(corpus, tmp_path):
    events = train(corpus, tmp_path / "a.npz", sample_every=10)
    assert isinstance(events[0], Start)
    assert isinstance(events[-1], End)
    assert [event.step for event in of(Step, events)] == list(range(1, 21))
    assert [event.step for event in of(Eval, events)] == [7, 14, 20]
    assert [event.step for event in of(Save, events)] == [5, 7, 10, 14, 15, 20]
    assert [event.step for event in of(Sample, events)] == [10, 20]
    assert events[-1].reason == "done"


def test_same_seed_same_bytes_and_another_seed_others(corpus, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(corpus, tmp_path / f"{name}.npz", seed=seed, dropout=0.3)
    a, b, c = ((tmp_path / f"{name}.npz").read_bytes() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize(("optimizer", "dropout", "schedule", "extra"), [
    ("adam", 0.3, "cosine", {}),
    ("rmsprop", 0.0, "constant", {"activation": "relu"}),
    ("adagrad", 0.2, "exponential", {"layers": 1}),
    ("sgd", 0.0, "cosine", {"val_fraction": 0.0}),
    ("adam", 0.5, "constant", {"patience": 1, "dtype": "float64"}),
    ("adam", 0.1, "cosine", {"weight_decay": 0.3}),
    ("adam", 0.1, "cosine", {"threads": 2, "batch_size": 16}),
    ("adam", 0.1, "cosine", {"threads": 3, "batch_size": 16, "deterministic": True}),
    ("adam", 0.1, "cosine", {"min_count": 25}),
])
@pytest.mark.parametrize("at", [3, 5, 10, 19])
def test_killed_and_continued_equals_never_killed_byte_for_byte(
    corpus, tmp_path, optimizer, dropout, schedule, extra, at
):
    options = {"optimizer": optimizer, "dropout": dropout, "schedule": schedule} | extra
    train(corpus, tmp_path / "whole.npz", **options)
    killed_after(at, corpus, tmp_path / "parts.npz", **options)
    train(corpus, tmp_path / "parts.npz", **options)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("at", range(1, 10))
def test_a_run_goes_on_where_it_was_killed_in_any_window_of_an_epoch(corpus, tmp_path, at):
    options = {"batch_size": 64, "seq_length": 8, "save_every": 1, "steps": 10}
    assert prepared(corpus, tmp_path / "whole.npz", **options).lanes.windows == 3
    train(corpus, tmp_path / "whole.npz", **options)
    killed_after(at + 1, corpus, tmp_path / "parts.npz", **options)
    assert checkpoint.load(tmp_path / "parts.npz").progress.step == at
    train(corpus, tmp_path / "parts.npz", **options)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.mark.parametrize("at", range(1, 19, 3))
def test_stopped_at_any_step_and_continued_equals_never_stopped(corpus, tmp_path, at):
    train(corpus, tmp_path / "whole.npz", dropout=0.2)
    signals = Signals()
    for event in training.train(prepared(corpus, tmp_path / "parts.npz", dropout=0.2), signals):
        if isinstance(event, Step) and event.step == at:
            signals.stop = 2
    assert isinstance(event, End)
    # Whoever is asked says so in the next step, to all the processes there are.
    assert (event.reason, event.step, event.signal) == ("stopped", at + 1, 2)
    train(corpus, tmp_path / "parts.npz", dropout=0.2)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_the_budget_says_where_a_run_was_cut_not_what_it_was(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", steps=10)
    events = train(corpus, tmp_path / "a.npz", steps=20)
    start = events[0]
    assert start.continued
    assert start.step == 10
    assert any("budget was 10 steps and is 20" in note for note in start.notes)
    assert [event.step for event in of(Step, events)] == list(range(11, 21))


def test_a_finished_run_is_already_trained_and_its_file_untouched(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz")
    before = (tmp_path / "a.npz").read_bytes()
    events = train(corpus, tmp_path / "a.npz")
    assert [type(event) for event in events] == [Start, End]
    assert events[-1].reason == "already trained"
    assert (tmp_path / "a.npz").read_bytes() == before


def test_usr1_saves_and_the_run_goes_on(corpus, tmp_path):
    signals, events = Signals(), []
    for event in training.train(prepared(corpus, tmp_path / "a.npz", save_every=1000), signals):
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            signals.save = True
    assert [event.step for event in of(Save, events)] == [4, 7, 14, 20]


@pytest.mark.parametrize(("change", "named"), [
    ({"hidden_size": 9}, "hidden_size 8 there, 9 now"),
    ({"seed": 5}, "seed"),
    ({"eval_every": 8}, "eval_every"),
    ({"hidden_size": None}, "hidden_size 8 there, 256 now"),
])
def test_another_run_is_never_overwritten(corpus, tmp_path, change, named):
    train(corpus, tmp_path / "a.npz")
    before = (tmp_path / "a.npz").read_bytes()
    with pytest.raises(UsageError, match=named) as error:
        train(corpus, tmp_path / "a.npz", **change)
    assert "--overwrite" in str(error.value)
    assert "-o" in str(error.value)
    assert (tmp_path / "a.npz").read_bytes() == before


def test_another_text_is_another_run(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz")
    corpus.write_text(TEXT[:-2] + "!\n")
    with pytest.raises(UsageError, match="the text is not the same"):
        train(corpus, tmp_path / "a.npz")


def test_overwrite_begins_anew(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz")
    start = train(corpus, tmp_path / "a.npz", hidden_size=9, overwrite=True)[0]
    assert (start.step, start.continued) == (0, False)


def test_a_default_that_changed_between_versions_does_not_end_a_run(corpus, tmp_path, monkeypatch):
    train(corpus, tmp_path / "a.npz", steps=10)
    stored = checkpoint.load(tmp_path / "a.npz")
    stored.settings["clip_norm"] = 0.5  # what this file's version had as its default
    assert "clip_norm" not in stored.changed
    checkpoint.save(tmp_path / "a.npz", stored)
    run = prepared(corpus, tmp_path / "a.npz", steps=20)
    assert run.config.clip_norm == 0.5
    with pytest.raises(UsageError, match=r"clip_norm 0\.5 there, 1\.0 now"):
        prepared(corpus, tmp_path / "a.npz", steps=20, clip_norm=1.0)


def test_the_best_weights_are_those_of_the_best_validation(corpus, tmp_path):
    events = train(corpus, tmp_path / "a.npz", learning_rate=0.2, schedule="constant", steps=60,
                   optimizer="sgd", eval_every=3, clip_norm=5.0)
    scores = {event.step: event.nats_per_char for event in of(Eval, events)}
    end, stored = events[-1], checkpoint.load(tmp_path / "a.npz")
    assert end.best_nats_per_char == min(scores.values()) == scores[end.best_step]
    text = corpus.read_text()
    val = stored.vocabulary.encode_text(text[int(len(text) * 0.9) :])
    before = stored.vocabulary.encode_text(text[: int(len(text) * 0.9)][-128:])
    again = evaluation.score(stored.best, val, before).nats_per_char
    assert again == end.best_nats_per_char


def test_without_validation_the_last_weights_are_the_best(corpus, tmp_path):
    events = train(corpus, tmp_path / "a.npz", val_fraction=0.0)
    stored = checkpoint.load(tmp_path / "a.npz")
    assert not of(Eval, events)
    np.testing.assert_array_equal(stored.best.flat, stored.last.flat)
    assert any("nothing is held out" in note for note in events[0].notes)


def test_validation_leaves_training_alone(corpus, tmp_path):
    few = of(Step, train(corpus, tmp_path / "a.npz", eval_every=1000, dropout=0.2))
    many = of(Step, train(corpus, tmp_path / "b.npz", eval_every=1, sample_every=1, dropout=0.2))
    assert [e.nats_per_char for e in few] == [e.nats_per_char for e in many]


def test_a_file_can_be_validated_on(corpus, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("the lazy fox; ÄÖ\n")
    events = train(corpus, tmp_path / "a.npz", val=other)
    start = events[0]
    assert (start.train_chars, start.val_chars) == (len(TEXT), 17)
    assert start.distinct == len(set(TEXT))
    stored = checkpoint.load(tmp_path / "a.npz")
    ids = stored.vocabulary.encode_text(other.read_text())
    newline = np.array([stored.vocabulary.start])
    again = evaluation.score(stored.best, ids, newline).nats_per_char
    assert again == events[-1].best_nats_per_char


def test_patience_ends_a_run_that_does_not_get_better(corpus, tmp_path):
    options = {"steps": 500, "eval_every": 2, "patience": 3, "learning_rate": 3.0,
               "optimizer": "sgd", "schedule": "constant"}
    events = train(corpus, tmp_path / "a.npz", **options)
    assert events[-1].reason == "patience"
    assert [event.improved for event in of(Eval, events)][-3:] == [False] * 3
    assert train(corpus, tmp_path / "a.npz", **options)[-1].reason == "already trained"


def test_epochs_are_passes_over_the_lanes(corpus, tmp_path):
    start = prepared(corpus, tmp_path / "a.npz", steps=None, epochs=2.5)
    training.budget(start)
    assert start.checkpoint.progress.steps == math.ceil(2.5 * start.lanes.windows)


@pytest.mark.parametrize(("chars", "expected"), [(1000, 0.3), (200_000, 0.1), (10**8, 0.0)])
def test_the_default_dropout_is_the_higher_the_less_text_there_is(
    corpus, tmp_path, chars, expected
):
    run = prepared(corpus, tmp_path / "a.npz", dropout=None)
    assert dataclasses.replace(run, train_chars=chars).dropout == pytest.approx(expected, abs=1e-3)
    run = prepared(corpus, tmp_path / "a.npz", dropout=0.0)
    assert dataclasses.replace(run, train_chars=chars).dropout == 0


def test_the_default_budget_is_thirty_epochs_of_a_small_text(corpus, tmp_path):
    run = prepared(corpus, tmp_path / "a.npz", steps=None)
    training.budget(run)
    assert run.checkpoint.progress.steps == 30 * run.lanes.windows < 6000


def test_minutes_become_steps_once(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "seconds_per_step", lambda run, stepper: 0.25)
    options = {"steps": None, "max_minutes": 0.1}
    train(corpus, tmp_path / "whole.npz", **options)
    assert checkpoint.load(tmp_path / "whole.npz").progress.steps == 24
    killed_after(6, corpus, tmp_path / "parts.npz", **options)
    monkeypatch.setattr(training, "seconds_per_step", lambda run, stepper: 99)
    train(corpus, tmp_path / "parts.npz", **options)
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_the_time_of_a_step_is_measured_with_its_share_of_validation(corpus, tmp_path, monkeypatch):
    run = prepared(corpus, tmp_path / "a.npz")
    now = [0.0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])

    def step(self, params, moments, h, step, steps):
        now[0] += 0.2
        return h, 0.0, 0.0, 0.0

    def score(params, text, before, threads, resets, ranks):
        now[0] += 0.7

    monkeypatch.setattr(trainer.Trainer, "step", step)
    monkeypatch.setattr(training, "score", score)
    # A validation of 0.7 seconds every 7 steps of 0.2.
    expected = 0.2 + 0.7 / 7
    stepper = trainer.Trainer(run)
    assert training.seconds_per_step(run, stepper) == pytest.approx(expected)


def test_measuring_the_speed_changes_nothing(corpus, tmp_path):
    run = prepared(corpus, tmp_path / "a.npz", dropout=0.1)
    saved = run.checkpoint
    before = saved.last.flat.copy(), saved.moments.copy(), saved.state.copy()
    assert training.seconds_per_step(run, trainer.Trainer(run)) > 0
    for array, kept in zip((saved.last.flat, saved.moments, saved.state), before, strict=True):
        np.testing.assert_array_equal(array, kept)


WILD = {"optimizer": "sgd", "activation": "relu", "learning_rate": 1.0, "steps": 200,
        "schedule": "constant", "warmup": 0, "hidden_size": 32, "layers": 1, "dropout": 0}


@pytest.mark.parametrize("save_every", [1, 1000])
@pytest.mark.parametrize("eval_every", [1, 1000])
def test_a_loss_that_explodes_ends_the_run_with_advice(corpus, tmp_path, save_every, eval_every):
    every = {"save_every": save_every, "eval_every": eval_every}
    with pytest.raises(DivergedError, match="diverged at step") as error:
        train(corpus, tmp_path / "a.npz", clip_norm=0.0, **WILD, **every)
    assert "--clip-norm" in str(error.value)
    assert "--learning-rate" in str(error.value)
    assert (tmp_path / "a.npz").exists() == (1 in (save_every, eval_every))
    if (tmp_path / "a.npz").exists():
        assert np.isfinite(checkpoint.load(tmp_path / "a.npz").last.flat).all()


@pytest.mark.parametrize("seed", range(1, 7))
def test_the_same_run_survives_with_its_gradient_clipped(corpus, tmp_path, seed):
    events = train(corpus, tmp_path / "a.npz", clip_norm=1.0, seed=seed, **WILD)
    assert events[-1].reason == "done"
    assert all(math.isfinite(event.nats_per_char) for event in of(Step, events))


def test_a_validation_that_overflows_is_said_and_is_never_the_best(corpus, tmp_path, monkeypatch):
    found = iter([2.0, math.nan, math.inf])
    monkeypatch.setattr(training, "score", lambda *args: evaluation.Score(1, next(found), 0))
    events = train(corpus, tmp_path / "a.npz", steps=21)
    assert [event.nats_per_char for event in of(Eval, events)] == [2.0, None, None]
    assert [event.improved for event in of(Eval, events)] == [True, False, False]
    assert "validation overflows" in report.validation(of(Eval, events)[1])
    stored = checkpoint.load(tmp_path / "a.npz")
    assert (stored.progress.best_nats, stored.progress.best_step) == (2.0, 7)
    assert [row[2] for row in stored.history] == [2.0, None, None]


def test_a_first_validation_that_overflows_leaves_no_best(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "score", lambda *args: evaluation.Score(1, math.nan, 0))
    events = train(corpus, tmp_path / "a.npz")
    assert events[-1].best_nats_per_char is None
    assert report.validation(of(Eval, events)[0]) == (
        "validation overflows: lower --learning-rate")
    stored = checkpoint.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(stored.best.flat, stored.last.flat)
    assert stored.progress.best_step == 20
    terminal = report.Terminal(quiet=False)
    for event in events:
        terminal.show(event)
    assert "done: 20 steps; no validation was finite, so the last" in capsys.readouterr().err


@pytest.mark.parametrize(("left_over", "said"), [(3, False), (15, False), (16, True)])
def test_what_an_epoch_leaves_out_is_said_where_it_is_a_share(corpus, tmp_path, left_over, said):
    start = training.start(prepared(corpus, tmp_path / "a.npz"))
    assert start.left_over == start.train_chars - 1 - 4 * ((start.train_chars - 1 - 7) // 4)
    start = dataclasses.replace(start, train_chars=1500, left_over=left_over)
    assert ("an epoch leaves out 16" in report.found(start)[0]) == said


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("threads", [1, 2])
def test_states_that_overflow_bring_no_warnings_and_are_found_out(corpus, tmp_path, threads):
    held_out = tmp_path / "long.txt"
    held_out.write_text(TEXT * 40)  # more than a thread's share
    run = prepared(corpus, tmp_path / "a.npz", val=held_out, activation="relu", threads=threads)
    for W in run.checkpoint.last.W_hh:
        W[:] = 1.2 * np.eye(len(W))  # too slow a growth to be seen in a window
    events = list(training.train(run, Signals()))
    assert of(Eval, events)
    assert all(event.nats_per_char is None for event in of(Eval, events))
    assert events[-1].reason == "done"
    saved = checkpoint.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(saved.best.flat, saved.last.flat)
    for dynamically in (False, True):
        blocks = (dynamic.surprisals(saved.best, run.val, run.before_val) if dynamically
                  else evaluation.surprisals(saved.best, run.val, run.before_val, threads))
        with pytest.raises(DivergedError, match=r"overflow in long.txt, at symbol [\d,]+ of"):
            evaluation.total(evaluation.finite(blocks, "long.txt"))
    for W in run.checkpoint.last.W_hh:
        W[:] = 3 * np.eye(len(W))
    assert "overflow" in training.sample(run)


def test_a_hundred_losses_far_above_guessing_are_divergence(corpus, tmp_path):
    run = prepared(corpus, tmp_path / "a.npz", steps=300)
    run.checkpoint.last.W_hy[:] = 0
    run.checkpoint.last.b_y[:] = 0
    run.checkpoint.last.b_y[0] = 1000  # as sure as can be of a rare character
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, learning_rate=1e-9))
    events = []
    with pytest.raises(DivergedError, match="100 steps above twice the loss of guessing"):
        events.extend(training.train(run, Signals()))


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
    monkeypatch.setattr(
        training.Trainer, "step", lambda self, params, moments, h, *_: (h, next(given), 1.0, 0.1)
    )
    run = prepared(corpus, tmp_path / "a.npz", steps=200, save_every=1)
    events = []
    if ends is None:
        events.extend(training.train(run, Signals()))
        assert events[-1].reason == "done"
        return
    with pytest.raises(DivergedError, match=f"at step {ends} .100 steps above"):
        events.extend(training.train(run, Signals()))
    # Nothing is saved on the way down.
    assert checkpoint.load(tmp_path / "a.npz").progress.step == 7


def test_text_of_five_characters_trains(tmp_path):
    (tmp_path / "hello.txt").write_text("hello")
    events = train(tmp_path / "hello.txt", tmp_path / "a.npz")
    start = events[0]
    assert (start.batch_size, start.seq_length, start.val_chars) == (1, 4, 0)
    assert any("batch_size shrinks from 4 to 1" in note for note in start.notes)
    assert of(Step, events)[-1].nats_per_char < of(Step, events)[0].nats_per_char


@pytest.mark.parametrize("val", ["x", "th", "the"])
def test_a_very_short_text_can_be_validated_on(corpus, tmp_path, val):
    (tmp_path / "val.txt").write_text(val)
    events = train(corpus, tmp_path / "a.npz", val=tmp_path / "val.txt")
    assert len(of(Eval, events)) == 3


def test_one_distinct_character_trains(tmp_path):
    (tmp_path / "a.txt").write_text("a" * 100)
    events = train(tmp_path / "a.txt", tmp_path / "a.npz")
    assert events[-1].best_nats_per_char == 0


@pytest.mark.parametrize("text", ["", "x"])
def test_too_little_text_is_refused_with_the_number(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(CorpusError, match=f"{len(text)} characters"):
        prepared(tmp_path / "a.txt", tmp_path / "a.npz")


def test_settings_that_need_more_memory_than_there_is_are_refused_before_it_is_taken(
    corpus, tmp_path
):
    with pytest.raises(UsageError, match="need about"):
        prepared(corpus, tmp_path / "a.npz", hidden_size=10_000_000)


def test_begin_from_another_run_keeps_old_characters_and_adds_new_ones(corpus, tmp_path):
    train(corpus, tmp_path / "old.npz", steps=50)
    other = tmp_path / "other.txt"
    other.write_text("Das Äpfelchen fiel.\n" * 30)
    run = prepared(other, tmp_path / "new.npz", init_from=tmp_path / "old.npz",
                   hidden_size=None, layers=None)
    old, new = checkpoint.load(tmp_path / "old.npz"), run.checkpoint
    characters = set(TEXT) | set(other.read_text())
    assert new.vocabulary.decode(np.arange(len(new.vocabulary))) == "".join(sorted(characters))
    kept = new.vocabulary.lookup(old.vocabulary.codes)
    np.testing.assert_array_equal(new.last.W_xh[0][kept], old.best.W_xh[0])
    np.testing.assert_array_equal(new.last.W_hy[:, kept], old.best.W_hy)
    np.testing.assert_array_equal(new.last.b_y[kept], old.best.b_y)
    np.testing.assert_array_equal(new.last.W_hh[1], old.best.W_hh[1])
    added = np.setdiff1d(np.arange(len(new.vocabulary)), kept)
    assert len(added) > 0
    assert np.abs(new.last.W_xh[0][added]).min() > 0
    assert (new.progress.step, np.abs(new.moments).max()) == (0, 0)


def test_begin_from_a_model_of_bytes_reads_bytes(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "b.txt").write_text("é中\n" * 50, encoding="utf-8")
    train(tmp_path / "a.bin", tmp_path / "a.npz", level="byte", steps=5)
    start = train(tmp_path / "b.txt", tmp_path / "b.npz", init_from=tmp_path / "a.npz")[0]
    assert (start.level, start.chars, start.distinct) == ("byte", 300, 6)
    assert len(checkpoint.load(tmp_path / "b.npz").vocabulary) == 256


def test_a_continuation_is_told_and_stored_with_the_settings_of_now(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", steps=10)
    start = train(corpus, tmp_path / "a.npz", steps=20, save_every=7)[0]
    assert (start.settings["steps"], start.settings["save_every"]) == (20, 7)
    stored = checkpoint.load(tmp_path / "a.npz")
    assert (stored.settings["steps"], stored.progress.steps) == (20, 20)
    train(corpus, tmp_path / "b.npz", steps=20, save_every=7)
    again = checkpoint.load(tmp_path / "b.npz")
    assert (stored.settings, stored.changed) == (again.settings, again.changed)


def test_a_budget_below_what_is_done_trains_nothing_and_says_so(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", steps=20)
    events = train(corpus, tmp_path / "a.npz", steps=10)
    assert (events[-1].reason, events[-1].step, events[-1].steps) == ("already trained", 20, 10)
    assert not any("schedule" in note for note in events[0].notes)


def test_the_output_is_never_one_of_the_inputs(corpus, tmp_path):
    before = corpus.read_text()
    with pytest.raises(UsageError, match="would be replaced"):
        prepared(corpus, corpus, overwrite=True)
    assert corpus.read_text() == before


def test_the_output_is_never_the_config_file(corpus, tmp_path):
    settings = tmp_path / "my.yaml"
    settings.write_text("steps: 3\n")
    request = Request([str(corpus)], settings, config.Config(), overwrite=True,
                                  config_file=str(settings))
    with pytest.raises(UsageError, match="would be replaced"):
        preparation.prepare(request)


def test_begin_from_another_run_refuses_another_architecture(corpus, tmp_path):
    train(corpus, tmp_path / "old.npz")
    with pytest.raises(UsageError, match="hidden_size 8, not 9"):
        prepared(corpus, tmp_path / "new.npz", init_from=tmp_path / "old.npz", hidden_size=9)


def test_bytes_of_any_file_can_be_learned(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 4)
    start = train(tmp_path / "a.bin", tmp_path / "a.npz", level="byte", steps=5)[0]
    assert (start.distinct, start.level) == (256, "byte")


def test_a_continuation_with_other_threads_is_said(corpus, tmp_path):
    train(corpus, tmp_path / "a.npz", steps=10)
    run = prepared(corpus, tmp_path / "a.npz", threads=3)
    assert any("used 1 thread and now uses 3 threads" in note for note in run.notes)


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


def test_weight_decay_shrinks_matrices_by_rate_times_decay_and_leaves_biases(corpus, tmp_path):
    options = {"schedule": "constant", "warmup": 0, "learning_rate": 0.01}
    runs = [prepared(corpus, tmp_path / f"{decay}.npz", weight_decay=decay, **options)
            for decay in (0.0, 0.5)]
    before = runs[0].checkpoint.last.copy()
    before.flat[:] += 0.1  # biases, too, have something to lose
    for run in runs:
        saved = run.checkpoint
        saved.last.flat[:] = before.flat
        trainer.Trainer(run).step(saved.last, saved.moments, saved.state, 1, 20)
    free, decayed = (run.checkpoint.last for run in runs)
    for name, theta in free.named.items():
        shrunk = 0.01 * 0.5 * before.named[name] if theta.ndim == 2 else 0
        np.testing.assert_allclose(decayed.named[name], theta - shrunk, rtol=1e-5, atol=1e-7)


def test_dropout_masks_depend_on_the_step_alone_and_keep_the_mean(corpus, tmp_path):
    stepper = trainer.Trainer(prepared(corpus, tmp_path / "a.npz", dropout=0.25))
    np.testing.assert_array_equal(stepper.dropout_mask(7), stepper.dropout_mask(7))
    assert not np.array_equal(stepper.dropout_mask(7), stepper.dropout_mask(8))
    values = np.concatenate([stepper.dropout_mask(step).ravel() for step in range(1, 200)])
    assert set(np.unique(values)) == {0.0, np.float32(1 / 0.75)}
    assert values.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_a_deterministic_run_is_the_same_for_any_number_of_threads(corpus, tmp_path, threads):
    options = {"batch_size": 40, "dropout": 0.2, "deterministic": True}
    train(corpus, tmp_path / "one.npz", threads=1, **options)
    train(corpus, tmp_path / "more.npz", threads=threads, **options)
    one, more = (checkpoint.load(tmp_path / f"{name}.npz") for name in ("one", "more"))
    for array in ("last.flat", "best.flat", "moments", "state"):
        get = attrgetter(array)
        np.testing.assert_array_equal(get(more), get(one))
    assert more.history == one.history
    assert (more.threads, more.processes) == (one.threads, one.processes) == (1, 1)


@pytest.fixture
def library(tmp_path):
    """Three files, of which the last is held out in part."""
    (tmp_path / "library").mkdir()
    for name, lines in (("a", 7), ("b", 5), ("c", 8)):
        (tmp_path / "library" / name).write_text(TEXT[: 79 * lines + 3])
    return tmp_path / "library"


def test_borders_reset_the_state_where_a_file_begins(library, tmp_path):
    run = prepared(library, tmp_path / "a.npz", borders="reset")
    assert run.lanes.resets.at.tolist() == [79 * 7 + 3, 79 * 12 + 6]
    assert run.lanes.resets.symbol == run.checkpoint.vocabulary.start
    assert run.resets.at.tolist() == [at - run.train_chars for at in run.lanes.resets.at]
    kept = train(library, tmp_path / "kept.npz", steps=60)
    reset = train(library, tmp_path / "reset.npz", steps=60, borders="reset")
    losses = [[event.nats_per_char for event in of(Step, events)] for events in (kept, reset)]
    first = next(i for i, (a, b) in enumerate(zip(*losses, strict=True)) if a != b)
    found = (run.lanes.fresh(i, trainer.Trainer(run).start(0)) for i in range(run.lanes.windows))
    assert first == next(i for i, fresh in enumerate(found) if fresh is not None)
    assert any("3 files are read as one text: " in note for note in kept[0].notes)


def test_the_state_after_a_border_depends_on_nothing_before_it(library, tmp_path):
    run = prepared(library, tmp_path / "a.npz", borders="reset", batch_size=1, seq_length=600)
    stepper, saved = trainer.Trainer(run), run.checkpoint
    after = []
    for value in (0.0, 0.7):
        h, _, _ = stepper.gradient(saved.last, np.full_like(saved.state, value), 2)
        after.append(h)
    assert run.lanes.fresh(1, stepper.start(0)) is not None
    np.testing.assert_array_equal(*after)
    text = prepared(library, tmp_path / "b.npz", borders="reset").text
    np.testing.assert_array_equal(run.text.ids, text.ids)


@pytest.mark.parametrize("borders", ["ignore", "reset"])
def test_the_score_of_validation_is_that_of_the_part_with_borders_too(library, tmp_path, borders):
    options = {"borders": borders, "val_fraction": 0.5, "min_count": 2}
    events = train(library, tmp_path / "a.npz", steps=60, **options)
    run = checkpoint.load(tmp_path / "a.npz")
    text = corpora.read_known([str(library)], run.vocabulary, "utf-8")
    part, before, resets = evaluation.part_of(run, text, "val")
    score = evaluation.score(run.best, part, before, 1, resets)
    assert score.nats_per_char == events[-1].best_nats_per_char
    assert resets is None or resets.at.tolist() == [at - 794 for at in (556, 954)]


def test_rare_characters_become_one_and_stand_for_unknown_ones(corpus, tmp_path):
    (tmp_path / "rare.txt").write_text(TEXT + "äöü" + "ß" * 4)
    (tmp_path / "val.txt").write_text("the quick äö\u4e00 fox")
    events = train(tmp_path / "rare.txt", tmp_path / "a.npz", min_count=5,
                   val=tmp_path / "val.txt")
    assert "7 characters, each of a kind that occurs less than 5 times" in events[0].notes[-1]
    run = checkpoint.load(tmp_path / "a.npz")
    assert sorted(map(chr, run.vocabulary.codes)) == sorted({*TEXT, "\ufffd"})
    assert run.vocabulary.decode(run.vocabulary.encode_text("aß\u4e00")) == "a\ufffd\ufffd"
    with pytest.raises(UsageError, match="min_count 5 there, 1 now"):
        prepared(tmp_path / "rare.txt", tmp_path / "a.npz", min_count=1, val=tmp_path / "val.txt")


def test_a_text_in_a_file_is_learned_as_one_in_memory(corpus, tmp_path, monkeypatch):
    train(corpus, tmp_path / "memory.npz")
    monkeypatch.setattr(encoded, "LIMIT", 300)
    events = train(corpus, tmp_path / "file.npz")
    assert any("the text is large" in note for note in events[0].notes)
    assert (tmp_path / "file.npz").read_bytes() == (tmp_path / "memory.npz").read_bytes()
