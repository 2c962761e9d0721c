"""One update: threads and processes, weight decay, dropout, resets."""

from __future__ import annotations

import threading
from operator import attrgetter

import numpy as np
import pytest
from training_runs import in_processes, losses, prepared, prepared_in, train, train_in

from charrnn.errors import CharrnnError
from charrnn.nn.rng import Purpose, generator
from charrnn.storage import checkpoint
from charrnn.system.signals import Signals
from charrnn.text.batches import Batches
from charrnn.training import loop
from charrnn.training.events import Step
from charrnn.training.step import TrainingStep, epoch_offset


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_divide_the_sequences_and_train_the_same_weights(
    corpus, tmp_path, monkeypatch, threads
):
    monkeypatch.setattr(Batches, "SEQUENCES_PER_SHARD", 2)
    options = {"batch_size": 10, "dtype": "float64", "dropout": 0.2}
    train(corpus, tmp_path / "one.npz", threads=1, **options)
    train(corpus, tmp_path / "more.npz", threads=threads, **options)
    step = TrainingStep(prepared(corpus, tmp_path / "more.npz", threads=threads, **options))
    assert len(step.shards) == min(threads, 5)
    one, more = (checkpoint.load(tmp_path / f"{name}.npz") for name in ("one", "more"))
    np.testing.assert_allclose(more.last.flat, one.last.flat, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(more.state, one.state, rtol=1e-8, atol=1e-10)
    assert more.progress.best_nats == pytest.approx(one.progress.best_nats, rel=1e-10)


def test_a_small_batch_is_not_divided(corpus, tmp_path):
    for B, shards in ((1, 1), (15, 1), (16, 2), (64, 3)):
        run = prepared(corpus, tmp_path / "a.npz", threads=3, batch_size=B, seq_length=4)
        assert len(TrainingStep(run).shards) == shards


@pytest.mark.parametrize(("size", "workers", "shards"), [
    (1, 5, 5), (1, 40, 12), (2, 2, 2), (4, 2, 2), (4, 5, 3), (12, 2, 1),
])
def test_each_process_divides_its_sequences_among_its_threads(
    shared_corpus, tmp_path, size, workers, shards
):
    def work(group):
        run = prepared_in(group, shared_corpus, tmp_path / "a.npz", workers=workers)
        step = TrainingStep(run)
        return len(step.shards), step.threads, step.sequences

    each = 12 // size
    assert in_processes(size, work) == [
        (shards, shards, slice(rank * each, (rank + 1) * each)) for rank in range(size)
    ]


def test_threads_that_cannot_be_started_are_an_error_of_one_line(corpus, tmp_path, monkeypatch):
    step = TrainingStep(run := prepared(corpus, tmp_path / "a.npz", threads=3, batch_size=64,
                                        seq_length=4))

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(CharrnnError, match="refuses to start 3 threads: choose fewer"):
        step.gradient(run.checkpoint.last, run.checkpoint.state, 1)


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


def test_a_deterministic_run_is_the_same_file_for_any_number_of_processes_and_threads(
    shared_corpus, tmp_path
):
    files = set()
    for size, workers in ((1, 1), (1, 5), (2, 1), (3, 2), (4, 3), (6, 1)):
        out = tmp_path / f"{size}-{workers}.npz"
        train_in(size, shared_corpus, out, workers=workers, deterministic=True)
        files.add(out.read_bytes())
    train_in(2, shared_corpus, tmp_path / "named.npz", threads=3, deterministic=True)
    assert files == {(tmp_path / "named.npz").read_bytes()}


def test_without_deterministic_the_first_losses_are_nearly_the_same(shared_corpus, tmp_path):
    alone = losses(train_in(1, shared_corpus, tmp_path / "1.npz")[0])
    assert len(alone) == 20
    for size in (2, 3, 4):
        for workers in (1, 2):
            out = tmp_path / f"{size}-{workers}.npz"
            runs = train_in(size, shared_corpus, out, workers=workers)
            assert losses(runs[0]) == pytest.approx(alone, rel=1e-4)
            assert [losses(events) for events in runs] == [losses(runs[0])] * size
    deterministic = train_in(2, shared_corpus, tmp_path / "same.npz", deterministic=True)
    assert losses(deterministic[0]) == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize(("deterministic", "calls"), [
    (False, ["Allreduce"]), (True, ["Alltoallv", "Allgatherv"]),
])
def test_a_step_sends_nothing_but_one_sum(shared_corpus, tmp_path, deterministic, calls):
    def work(group):
        run = prepared_in(group, shared_corpus, tmp_path / "a.npz", save_every=100,
                          eval_every=100, deterministic=deterministic)
        sent = []
        for event in loop.train(run, Signals()):
            if isinstance(event, Step):
                sent.append(group._comm.calls[:])
                group._comm.calls.clear()
        return sent[1:]

    assert in_processes(3, work) == [[calls] * 19] * 3


@pytest.mark.parametrize("epoch", range(6))
def test_the_offset_of_an_epoch_depends_only_on_its_number(corpus, tmp_path, epoch):
    run = prepared(corpus, tmp_path / "a.npz", batch_size=2, seq_length=64)
    seed, most = run.config.seed, run.batches.max_offset
    expected = generator(seed, Purpose.WINDOW_OFFSET, epoch).integers(most + 1)
    assert most == 63

    # The window of a step starts at its epoch's offset, in a new TrainingStep as in a used one.
    new, used = TrainingStep(run), TrainingStep(run)
    params, state, window = run.checkpoint.last, run.checkpoint.state, run.batches.window
    offsets = []

    def watched(index, offset, sequences):
        offsets.append(offset)
        return window(index, offset, sequences)

    run.batches.window = watched
    first = 1 + epoch * run.batches.windows
    used.gradient(params, state, first + run.batches.windows)
    offsets.clear()
    for step in (new, used, new):
        step.gradient(params, state, first)
    epoch_offset(seed, epoch + 1, most)
    assert offsets == [expected] * 3
    assert epoch_offset(seed, epoch, most) == epoch_offset(seed, epoch, most) == expected


def test_weight_decay_shrinks_matrices_by_rate_times_decay_but_not_biases(corpus, tmp_path):
    options = {"schedule": "constant", "warmup": 0, "learning_rate": 0.01}
    runs = [prepared(corpus, tmp_path / f"{decay}.npz", weight_decay=decay, **options)
            for decay in (0.0, 0.5)]
    before = runs[0].checkpoint.last.copy()
    before.flat[:] += 0.1  # biases become nonzero, so that decay would change them
    for run in runs:
        saved = run.checkpoint
        saved.last.flat[:] = before.flat
        TrainingStep(run).update(saved.last, saved.moments, saved.state, 1, 20)
    free, decayed = (run.checkpoint.last for run in runs)
    for name, theta in free.named.items():
        shrunk = 0.01 * 0.5 * before.named[name] if theta.ndim == 2 else 0
        np.testing.assert_allclose(decayed.named[name], theta - shrunk, rtol=1e-5, atol=1e-7)


def test_dropout_masks_depend_only_on_the_step_and_keep_the_mean(corpus, tmp_path):
    made = TrainingStep(prepared(corpus, tmp_path / "a.npz", dropout=0.25))
    np.testing.assert_array_equal(made.dropout_mask(7), made.dropout_mask(7))
    assert not np.array_equal(made.dropout_mask(7), made.dropout_mask(8))
    values = np.concatenate([made.dropout_mask(step).ravel() for step in range(1, 200)])
    assert set(np.unique(values)) == {0.0, np.float32(1 / 0.75)}
    assert values.mean() == pytest.approx(1, abs=0.02)


def test_the_state_is_reset_where_a_file_starts(library, tmp_path):
    run = prepared(library, tmp_path / "a.npz", borders="reset")
    resets = run.batches.resets
    assert resets.positions.tolist() == [79 * 7 + 3, 79 * 12 + 6]
    assert resets.symbol == run.checkpoint.vocabulary.start
    assert run.validation.resets.positions.tolist() == [
        at - len(run.train) for at in resets.positions
    ]
    kept = train(library, tmp_path / "kept.npz", steps=60)
    reset = train(library, tmp_path / "reset.npz", steps=60, borders="reset")
    pairs = zip(losses(kept), losses(reset), strict=True)
    first = next(i for i, (a, b) in enumerate(pairs) if a != b)
    offset = epoch_offset(run.config.seed, 0, run.batches.max_offset)
    found = (run.batches.window(i, offset)[2] for i in range(run.batches.windows))
    assert first == next(i for i, reset in enumerate(found) if reset is not None)
    assert any("3 files are read as one text: " in note for note in kept[0].notes)


def test_the_state_after_a_reset_does_not_depend_on_the_state_before_it(library, tmp_path):
    run = prepared(library, tmp_path / "a.npz", borders="reset", batch_size=1, seq_length=600)
    step, saved = TrainingStep(run), run.checkpoint
    after = []
    for value in (0.0, 0.7):
        gradient = step.gradient(saved.last, np.full_like(saved.state, value), 2)
        after.append(gradient.state)
    offset = epoch_offset(run.config.seed, 0, run.batches.max_offset)
    assert run.batches.window(1, offset)[2] is not None
    np.testing.assert_array_equal(*after)
    text = prepared(library, tmp_path / "b.npz", borders="reset").text
    np.testing.assert_array_equal(run.text.ids, text.ids)
