"""Processes that train together, here as threads: what they share, agree on and compute."""

from __future__ import annotations

import builtins
import errno
import os
import pickle
import signal
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from charrnn import (
    archive,
    checkpoint,
    config,
    encoded,
    evaluation,
    lanes,
    parallel,
    preparation,
    runtime,
    trainer,
    training,
)
from charrnn import corpus as corpora
from charrnn.errors import CharrnnError, CorpusError, DivergedError, UsageError
from charrnn.evaluation import score
from charrnn.events import End, Save, Step
from charrnn.parallel import Alone, Ranks
from charrnn.parameters import Architecture, initialise
from charrnn.randomness import Purpose, generator, uniform_rows
from charrnn.request import Request
from charrnn.runtime import Signals

TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen jugs.\n" * 40
TINY = {
    "hidden_size": 7, "layers": 2, "batch_size": 12, "seq_length": 8, "steps": 20,
    "eval_every": 7, "save_every": 5, "warmup": 2, "learning_rate": 0.01, "dropout": 0.2,
}


class Comm:
    """What ``Ranks`` uses of a communicator of mpi4py, for threads; all have to call the same."""

    def __init__(self, rank, size, barrier, slots):
        self.rank, self.size, self.barrier, self.slots = rank, size, barrier, slots
        self.calls = []

    def swap(self, call, value):
        """The values of all."""
        self.calls.append(call)
        self.slots[self.rank] = call, value
        self.barrier.wait()
        calls, values = zip(*self.slots, strict=True)
        self.barrier.wait()
        assert set(calls) == {call}
        return values

    def allgather(self, value):
        return [pickle.loads(data) for data in self.swap("allgather", pickle.dumps(value))]

    def Allgatherv(self, mine, into):
        parts = self.swap("Allgatherv", mine.copy())
        buffer, counts = into if isinstance(into, list) else (into, [mine.size] * self.size)
        fill(buffer, counts, parts)

    def Allreduce(self, in_place, into):
        assert in_place is None, "what is sent stands where the sum will"
        into[:] = sum(self.swap("Allreduce", into.copy()))

    def Alltoallv(self, sent, into):
        buffer, counts = sent
        assert sum(counts) == buffer.size
        parts = self.swap("Alltoallv", np.split(buffer.copy(), np.cumsum(counts)[:-1]))
        fill(*into, [theirs[self.rank] for theirs in parts])


def fill(buffer, counts, parts):
    assert [part.size for part in parts] == list(counts)
    assert {part.dtype for part in parts} == {buffer.dtype}
    assert buffer.flags.c_contiguous and buffer.size == sum(counts)
    buffer.reshape(-1)[:] = np.concatenate([part.ravel() for part in parts])


def together(size, work):
    """What ``work`` returns, or raises, in each of ``size`` processes."""
    barrier, slots = threading.Barrier(size, timeout=20), [None] * size

    def process(rank):
        try:
            return work(Ranks(Comm(rank, size, barrier, slots)))
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(process, range(size)))


def raised(kind, outcomes):
    """The text of the error that all of them raised."""
    assert {type(outcome) for outcome in outcomes} == {kind}, outcomes
    (text,) = {str(outcome) for outcome in outcomes}
    return text


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(lanes, "LANES_PER_SHARD", 1)


def prepared(
    ranks, corpus, out, *, workers=1, val=None, init_from=None, overwrite=False, **settings
):
    settings = {key: value for key, value in (TINY | settings).items() if value is not None}
    request = Request(
        [str(corpus)], Path(out), config.resolve({}, settings), frozenset(settings),
        val, init_from, overwrite, None, workers,
    )
    return preparation.prepare(request, ranks)


def train(size, corpus, out, at=None, ask=None, **options):
    """The events of each process; the last one is ``ask``-ed for something after step ``at``."""
    def work(ranks):
        signals, events = Signals(), []
        for event in training.train(prepared(ranks, corpus, out, **options), signals):
            events.append(event)
            if isinstance(event, Step) and event.step == at and ranks.rank == size - 1:
                ask(signals)
        return events

    outcomes = together(size, work)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return outcomes


def interrupt(signals):
    signals.stop = signal.SIGINT


def of(kind, events):
    return [event for event in events if isinstance(event, kind)]


def losses(events):
    return [event.nats_per_char for event in of(Step, events)]


def test_a_deterministic_run_is_the_same_file_for_any_number_of_processes_and_threads(
    corpus, tmp_path
):
    files = set()
    for size, workers in ((1, 1), (1, 5), (2, 1), (3, 2), (4, 3), (6, 1)):
        out = tmp_path / f"{size}-{workers}.npz"
        train(size, corpus, out, workers=workers, deterministic=True)
        files.add(out.read_bytes())
    train(2, corpus, tmp_path / "named.npz", threads=3, deterministic=True)
    assert files == {(tmp_path / "named.npz").read_bytes()}


@pytest.mark.parametrize("machines", [["a", "a", "a"], ["a", "a", "b"]])
def test_a_large_text_is_encoded_by_one_process_and_mapped_by_all(
    corpus, tmp_path, monkeypatch, machines
):
    train(1, corpus, tmp_path / "memory.npz", deterministic=True)
    monkeypatch.setattr(encoded, "LIMIT", 300)
    monkeypatch.setattr(encoded, "SETTLED", -1)
    encodings = []
    collect = corpora._collect
    monkeypatch.setattr(corpora, "_collect", lambda *args: (encodings.append(1), collect(*args))[1])

    def work(ranks):
        ranks.leads = machines.index(machines[ranks.rank]) == ranks.rank
        run = prepared(ranks, corpus, tmp_path / "file.npz", deterministic=True)
        list(training.train(run, Signals()))
        return run.text.in_memory

    assert together(3, work) == [False] * 3
    assert len(encodings) == 1
    assert (tmp_path / "file.npz").read_bytes() == (tmp_path / "memory.npz").read_bytes()


def test_without_determinism_the_first_losses_are_nearly_the_same(corpus, tmp_path):
    alone = losses(train(1, corpus, tmp_path / "1.npz")[0])
    assert len(alone) == 20
    for size in (2, 3, 4):
        for workers in (1, 2):
            every = train(size, corpus, tmp_path / f"{size}-{workers}.npz", workers=workers)
            assert losses(every[0]) == pytest.approx(alone, rel=1e-4)
            assert [losses(events) for events in every] == [losses(every[0])] * size
    deterministic = train(2, corpus, tmp_path / "same.npz", deterministic=True)
    assert losses(deterministic[0]) == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize(("size", "workers", "shards"), [
    (1, 5, 5), (1, 40, 12), (2, 2, 2), (4, 2, 2), (4, 5, 3), (12, 2, 1),
])
def test_each_process_shares_its_lanes_out_over_its_threads(
    corpus, tmp_path, size, workers, shards
):
    def work(ranks):
        made = trainer.Trainer(prepared(ranks, corpus, tmp_path / "a.npz", workers=workers))
        return len(made.shards), made.threads, made.mine

    each = 12 // size
    assert together(size, work) == [
        (shards, shards, slice(rank * each, (rank + 1) * each)) for rank in range(size)
    ]


def test_a_process_needs_memory_for_its_own_lanes():
    arch = Architecture(50, 64, 1, "tanh", "float32")
    few, many = (SimpleNamespace(T=100, B=B) for B in (1000, 4000))
    needed = preparation.memory_needed
    assert needed(arch, many, 2, processes=4) == needed(arch, few, 2) < needed(arch, many, 2)


@pytest.mark.parametrize("length", [1, 1024, 5000, 70_000])
def test_a_score_is_the_same_to_the_last_bit_whoever_shares_the_work(length, monkeypatch):
    monkeypatch.setattr(evaluation, "LANES", 2)  # many sums, whose order matters
    params = initialise(Architecture(5, 6, 1, "tanh", "float32"), np.random.default_rng(1))
    text, before = np.random.default_rng(2).integers(0, 5, length), np.zeros(1, int)
    alone = score(params, text, before)
    assert alone.chars == length
    for size in (1, 2, 3, 5):
        for threads in (1, 2):
            every = together(size, lambda ranks, n=threads: score(
                params, text, before, n, ranks=ranks))
            assert every == [alone] * size


@pytest.mark.parametrize(("before", "after"), [(1, 3), (2, 4), (3, 1), (4, 2)])
def test_stopped_on_some_processes_and_continued_on_others_it_is_the_same_run(
    corpus, tmp_path, before, after
):
    train(1, corpus, tmp_path / "whole.npz", deterministic=True)
    for at in (3, 13):
        out = tmp_path / f"{at}.npz"
        every = train(before, corpus, out, at, interrupt, deterministic=True)
        for events in every:
            end = events[-1]
            assert (end.reason, end.step, end.signal) == ("stopped", at + 1, signal.SIGINT)
        train(after, corpus, out, deterministic=True)
        assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_run_that_goes_on_with_other_processes_says_that_its_last_bits_differ(corpus, tmp_path):
    train(1, corpus, tmp_path / "whole.npz")
    out = tmp_path / "parts.npz"
    train(3, corpus, out, 6, interrupt, workers=2)
    assert (checkpoint.load(out).processes, checkpoint.load(out).threads) == (3, 2)
    again = train(3, corpus, out, 11, interrupt)[0]
    assert again[0].notes == []
    assert (again[0].processes, again[0].threads) == (3, 2), "the threads that it had"
    start = train(4, corpus, out)[2][0]
    (note,) = start.notes
    assert "used 3 processes of 2 threads and now uses 4 processes of 1 thread" in note
    one, parts = checkpoint.load(tmp_path / "whole.npz"), checkpoint.load(out)
    np.testing.assert_allclose(parts.last.flat, one.last.flat, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(parts.state, one.state, rtol=1e-3, atol=1e-4)


def test_whichever_process_is_asked_to_save_all_of_them_do(corpus, tmp_path):
    def ask(signals):
        signals.save = True

    every = train(3, corpus, tmp_path / "a.npz", 2, ask, save_every=1000)
    assert [[event.step for event in of(Save, events)] for events in every] == [[3, 7, 14, 20]] * 3


def test_a_signal_after_the_last_step_changes_nothing(corpus, tmp_path):
    every = train(2, corpus, tmp_path / "a.npz", TINY["steps"], interrupt)
    assert [events[-1].reason for events in every] == ["done", "done"]


def test_interrupt_or_terminate_whoever_asked():
    assert runtime.wished([0, 0, 0]) == (None, False)
    assert runtime.wished([0, 2, 0]) == (signal.SIGTERM, False)
    assert runtime.wished([1, 1, 3]) == (signal.SIGINT, True)
    signals = Signals()
    assert signals.wishes() == (False, False, False)
    signals.stop, signals.save = signal.SIGTERM, True
    assert signals.wishes() == (False, True, True)


@pytest.mark.parametrize(("deterministic", "calls"), [
    (False, ["Allreduce"]), (True, ["Alltoallv", "Allgatherv"]),
])
def test_a_step_is_one_sum_and_nothing_else_is_sent(corpus, tmp_path, deterministic, calls):
    def work(ranks):
        run = prepared(ranks, corpus, tmp_path / "a.npz", save_every=100, eval_every=100,
                       deterministic=deterministic)
        sent = []
        for event in training.train(run, Signals()):
            if isinstance(event, Step):
                sent.append(ranks._comm.calls[:])
                ranks._comm.calls.clear()
        return sent[1:]

    assert together(3, work) == [[calls] * 19] * 3


def test_only_the_first_process_writes(corpus, tmp_path, monkeypatch):
    written, write = [], archive.write

    def counted(path, members):
        written.append(path)
        write(path, members)

    monkeypatch.setattr(archive, "write", counted)
    every = train(4, corpus, tmp_path / "a.npz")
    assert len(written) == len(of(Save, every[0])) == 6


def test_the_carried_states_of_all_lanes_are_in_the_checkpoint(corpus, tmp_path):
    train(1, corpus, tmp_path / "1.npz", deterministic=True, dropout=0)
    train(4, corpus, tmp_path / "4.npz", deterministic=True, dropout=0)
    one, four = (checkpoint.load(tmp_path / f"{size}.npz").state for size in (1, 4))
    np.testing.assert_array_equal(one, four)
    assert len(np.unique(four, axis=0)) == 12


def test_minutes_become_the_steps_that_the_first_process_measured(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "seconds_per_step", lambda run, _: 0.25 * (1 + run.ranks.rank))
    every = train(3, corpus, tmp_path / "a.npz", steps=None, max_minutes=0.05)
    assert [events[-1].step for events in every] == [12, 12, 12]


def test_the_speed_is_measured_together(corpus, tmp_path):
    def work(ranks):
        run = prepared(ranks, corpus, tmp_path / "a.npz")
        return training.seconds_per_step(run, trainer.Trainer(run)) > 0

    assert together(2, work) == [True, True]


def test_all_raise_the_first_error_that_one_raised():
    def work(ranks):
        def fail():
            if ranks.rank in (1, 2):
                raise CorpusError(f"{ranks.rank} cannot read it")
            return "read"

        return ranks.agree(fail)

    assert raised(CorpusError, together(4, work)) == "1 cannot read it"


def test_the_process_that_raised_an_error_still_shows_where():
    def deep_inside():
        raise CorpusError("no")

    outcomes = together(2, lambda ranks: ranks.agree(deep_inside if ranks.first else lambda: None))
    last = [traceback.extract_tb(error.__traceback__)[-1].name for error in outcomes]
    assert last == ["deep_inside", "agree"]


def test_where_nobody_fails_each_has_its_own_result():
    assert together(3, lambda ranks: ranks.agree(lambda: ranks.rank)) == [0, 1, 2]


def test_what_all_have_agreed_on_is_not_agreed_on_again():
    def fail(ranks):
        if ranks.rank == 1:
            raise UsageError("no")

    def work(ranks):
        return ranks.agree(lambda: ranks.agree(lambda: fail(ranks)))

    assert raised(UsageError, together(3, work)) == "no"

    def later(ranks):
        def inner():
            ranks.agree(lambda: None)
            fail(ranks)

        return ranks.agree(inner)

    assert raised(UsageError, together(3, later)) == "no"


def test_an_error_that_is_not_of_charrnn_is_not_kept_for_an_agreement():
    def work():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Ranks(Alone()).agree(work)


def test_the_first_fact_that_differs_is_named():
    def work(ranks):
        ranks.alike({"seed": 1, "text": "abc"[: ranks.rank + 1], "size": ranks.rank})

    text = raised(UsageError, together(3, work))
    assert "process 1 of 3 has another text than process 0 (ab, a)" in text
    assert together(2, lambda ranks: ranks.alike({"seed": 1})) == [None, None]


def test_a_fact_that_another_version_does_not_know_differs():
    def work(ranks):
        ranks.alike({"version": ranks.rank, "new": 1} if ranks.rank else {"version": 0})

    assert "another version" in raised(UsageError, together(2, work))

    def less(ranks):
        ranks.alike({"version": 1} if ranks.rank else {"version": 1, "new": 1})

    assert "another new" in raised(UsageError, together(2, less))


@pytest.mark.parametrize("size", range(1, 6))
def test_what_is_gathered_shared_and_dealt_out(size):
    def work(ranks):
        rows = np.arange(6).reshape(3, 2)[::-1] + 10 * ranks.rank
        return (ranks.gather(rows).tolist(), ranks.share(f"from {ranks.rank}"),
                ranks.mine(range(2 * size)), ranks.all(ranks.rank), ranks.first)

    for rank, (rows, shared, mine, every, first) in enumerate(together(size, work)):
        assert rows == [row for n in range(size) for row in
                        ([10 * n + 4, 10 * n + 5], [10 * n + 2, 10 * n + 3], [10 * n, 10 * n + 1])]
        assert shared == "from 0"
        assert list(mine) == [2 * rank, 2 * rank + 1]
        assert every == list(range(size))
        assert first == (rank == 0)


@pytest.mark.parametrize("size", range(1, 6))
@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("N", [1, 3, 64, 1001])
def test_sums_are_those_of_all_rows(size, each, N):
    rows = np.random.default_rng(N).standard_normal((size * each, N)).astype(np.float32)
    rows *= 10.0 ** np.arange(len(rows))[:, None]
    in_order = rows[0].copy()
    for row in rows[1:]:
        in_order += row

    def work(ranks):
        return ranks.add_in_order(ranks.mine(rows.copy())), ranks.add(ranks.mine(rows.copy()))

    for ordered, quick in together(size, work):
        np.testing.assert_array_equal(ordered, in_order)
        np.testing.assert_allclose(quick, in_order, rtol=1e-5, atol=1e-5 * np.abs(rows).max())


@pytest.mark.parametrize("width", [1, 3, 7, 8, 13, 100])
def test_rows_of_random_numbers_are_those_of_the_whole_array(width):
    whole = generator(5, Purpose.DROPOUT, 9).random((12, width), np.float32)
    for start in range(12):
        for stop in range(start + 1, 13):
            some = uniform_rows(5, Purpose.DROPOUT, 9, slice(start, stop), width)
            np.testing.assert_array_equal(some, whole[start:stop])


def refused(size, corpus, out, kind=UsageError, **options):
    """The text of the error that all processes raise before their first step."""
    def work(ranks):
        mine = {key: value[ranks.rank] if isinstance(value, tuple) else value
                for key, value in (options | {"corpus": corpus, "out": out}).items()}
        for event in training.train(prepared(ranks, **mine), Signals()):
            assert not isinstance(event, Step)

    return raised(kind, together(size, work))


def test_lanes_that_cannot_be_shared_evenly_are_refused(corpus, tmp_path):
    text = refused(5, corpus, tmp_path / "a.npz")
    assert "12 lanes cannot be shared evenly by 5 processes" in text
    assert "--batch-size that is a multiple of 5, " in text


def test_shards_that_cannot_be_shared_evenly_are_refused(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(lanes, "LANES_PER_SHARD", 2)
    text = refused(4, corpus, tmp_path / "a.npz", deterministic=True)
    assert "12 lanes are summed in 6 shards" in text and "4 processes" in text
    assert "a multiple of 8" in text


def test_processes_that_see_other_texts_or_settings_are_refused(corpus, tmp_path):
    other, out = tmp_path / "other.txt", tmp_path / "a.npz"
    other.write_text(TEXT + "!")
    assert "process 1 of 2 has another text" in refused(2, (corpus, other), out)
    text = refused(3, corpus, out, seed=(1, 1, 2))
    assert "process 2 of 3 has another seed than process 0 (2, 1)" in text
    assert "number of threads" in refused(2, corpus, out, workers=(1, 2))
    assert "another validation text" in refused(2, corpus, out, val=(str(corpus), str(other)))
    train(1, corpus, out, steps=5)
    first = (out, tmp_path / "elsewhere.npz")
    assert "another checkpoint to go on from" in refused(2, corpus, first)
    assert "another checkpoint to begin from" in refused(
        2, corpus, tmp_path / "b.npz", init_from=(out, None))
    assert not (tmp_path / "b.npz").exists()


def test_what_one_process_cannot_read_is_refused_by_all(corpus, tmp_path):
    text = refused(3, (corpus, corpus, tmp_path / "missing.txt"), tmp_path / "a.npz")
    assert "missing.txt: no such file" in text
    (tmp_path / "bad.npz").write_bytes(b"no checkpoint")
    kinds = together(2, lambda ranks: prepared(
        ranks, corpus, tmp_path / ("a.npz", "bad.npz")[ranks.rank]))
    assert "bad.npz" in str(kinds[0]) and str(kinds[0]) == str(kinds[1])


def test_processes_on_one_machine_need_the_memory_of_all_of_them(corpus, tmp_path, monkeypatch):
    needed = prepared(Ranks(Alone()), corpus, tmp_path / "a.npz").memory
    monkeypatch.setattr(runtime, "available_memory", lambda: int(1.5 * needed))
    assert prepared(Ranks(Alone()), corpus, tmp_path / "a.npz").memory == needed
    assert "GB are free" in refused(2, corpus, tmp_path / "a.npz")


def test_a_full_disk_of_the_first_process_ends_all(corpus, tmp_path, monkeypatch):
    out = tmp_path / "a.npz"
    train(2, corpus, out, steps=5)
    before = out.read_bytes()

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archive.os, "fsync", full)
    outcomes = together(3, lambda ranks: list(
        training.train(prepared(ranks, corpus, out), Signals())))
    assert "No space left" in raised(CharrnnError, outcomes)
    assert out.read_bytes() == before


def test_weights_that_are_not_those_of_all_are_never_saved(corpus, tmp_path):
    def work(ranks):
        run = prepared(ranks, corpus, tmp_path / "a.npz")
        run.checkpoint.last.flat[3] += 1e-6 * ranks.rank
        for _ in training.train(run, Signals()):
            pass

    assert "weights" in raised(UsageError, together(2, work))
    assert not (tmp_path / "a.npz").exists()


def test_a_run_that_diverges_does_so_in_all(corpus, tmp_path):
    wild = {"optimizer": "sgd", "activation": "relu", "learning_rate": 50.0, "clip_norm": 0.0,
            "schedule": "constant", "warmup": 0, "steps": 300}
    outcomes = together(3, lambda ranks: list(
        training.train(prepared(ranks, corpus, tmp_path / "a.npz", **wild), Signals())))
    assert "training diverged at step" in raised(DivergedError, outcomes)


@pytest.mark.parametrize(("cores", "expected"), [
    ([{0, 1, 2, 3}] * 3, (3, 1)),  # all may use all
    ([{0, 1}, {2, 3}, {4, 5}], (3, 2)),  # bound to their own
    ([{0}, {0}, {0}], (3, 1)),  # more processes than cores
])
def test_cores_are_divided_among_the_processes_of_a_machine(monkeypatch, cores, expected):
    machines = [("here", frozenset(mine)) for mine in cores]
    machines.insert(1, ("there", frozenset(range(64))))
    monkeypatch.setattr(parallel.platform, "node", lambda: "here")
    ranks = Ranks(SimpleNamespace(rank=2, size=4, allgather=lambda mine: machines))
    assert (ranks.neighbours, ranks.cores) == expected


@pytest.mark.parametrize(("rank", "leads"), [(0, True), (1, False), (2, True), (3, False)])
def test_the_first_process_of_each_machine_leads_there(monkeypatch, rank, leads):
    machines = [(name, frozenset([0])) for name in ("a", "a", "b", "b")]
    monkeypatch.setattr(parallel.platform, "node", lambda: machines[rank][0])
    ranks = Ranks(SimpleNamespace(rank=rank, size=4, allgather=lambda mine: machines))
    assert ranks.leads == leads


def test_sums_of_other_sizes_and_types_do_not_share_memory_that_does_not_fit():
    def work(ranks):
        sizes = [(1, 10, "f4"), (1, 25, "f4"), (3, 25, "f4"), (3, 25, "f8"), (1, 10, "f8")]
        return [ranks.add_in_order(np.ones((s, N), dtype)) for s, N, dtype in sizes]

    for first, *_, last in together(2, work):
        assert (first.dtype, last.dtype) == (np.float32, np.float64)
        np.testing.assert_array_equal(last, np.full(10, 2.0))
    for sums in together(2, work):
        assert [total.shape for total in sums] == [(10,), (25,), (25,), (25,), (10,)]


def test_memory_for_sums_is_taken_once():
    def work(ranks):
        return [ranks.add_in_order(np.ones((2, 9), np.float32)) for _ in range(2)]

    for first, second in together(2, work):
        assert first is second


def test_a_process_on_its_own_is_a_group_of_one():
    ranks, rows = Ranks(Alone()), np.arange(6.0).reshape(3, 2)
    assert (ranks.rank, ranks.size, ranks.first, ranks.neighbours) == (0, 1, True, 1)
    assert ranks.cores == len(runtime.affinity())
    assert ranks.gather(rows) is rows
    assert ranks.share("mine") == "mine"
    assert ranks.add(rows.copy()).tolist() == ranks.add_in_order(rows.copy()).tolist() == [6, 9]


VARIABLES = [name for pair in runtime.LAUNCHERS for name in pair]


@pytest.fixture
def launch(monkeypatch):
    """Set the variables of launchers, and no others."""
    def launch(**variables):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    launch()
    return launch


@pytest.mark.parametrize(("variables", "expected"), [
    ({}, (0, 1)),
    ({"PMI_RANK": "2", "PMI_SIZE": "4"}, (2, 4)),
    ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "5"}, (3, 5)),
    ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}, (0, 2)),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, (0, 1)),  # a batch script, not srun
    ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "PMI_RANK": "1", "PMI_SIZE": "3"}, (1, 3)),
    ({"PMI_RANK": "2"}, (0, 1)),
    ({"PMI_RANK": "", "PMI_SIZE": "4"}, (0, 1)),
    ({"PMI_RANK": "-1", "PMI_SIZE": "4"}, (0, 1)),
    ({"PMI_RANK": "4", "PMI_SIZE": "4"}, (0, 1)),
    ({"PMI_RANK": "0", "PMI_SIZE": "0"}, (0, 1)),
    ({"PMI_RANK": "0", "PMI_SIZE": "²"}, (0, 1)),
    ({"PMI_RANK": "0", "PMI_SIZE": "9" * 5000}, (0, 1)),
    ({"PMI_RANK": "x", "PMI_SIZE": "4", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, (1, 2)),
])
def test_launchers_say_who_is_who(launch, variables, expected):
    launch(**variables)
    assert runtime.launched() == expected


def test_without_a_launcher_a_process_is_alone(launch, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert parallel.join().size == 1
    launch(PMI_RANK="0", PMI_SIZE="1")
    assert parallel.join().size == 1


def test_without_mpi4py_processes_started_together_are_told_what_to_install(launch, monkeypatch):
    launch(PMI_RANK="0", PMI_SIZE="4")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(UsageError, match="4 processes were started") as error:
        parallel.join()
    assert "pip install 'charrnn[mpi]'" in str(error.value)


@pytest.mark.parametrize("kind", [ImportError, RuntimeError, OSError])
def test_without_an_mpi_library_its_error_is_shown(launch, monkeypatch, kind):
    launch(PMI_RANK="0", PMI_SIZE="4")
    package = ModuleType("mpi4py")
    package.rc = SimpleNamespace()
    importing = builtins.__import__

    def fail(name, *rest):
        if name == "mpi4py" and rest[2]:
            raise kind("no libmpi.so")
        return importing(name, *rest)

    monkeypatch.setitem(sys.modules, "mpi4py", package)
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(UsageError, match=r"finds no MPI library \(no libmpi\.so\)"):
        parallel.join()


class Left(BaseException):
    """How MPI ends a process."""


class World:
    """mpi4py.MPI with a world of some processes; says what was called."""

    Get_library_version = staticmethod(lambda: "MPICH Version: 1.0\nof today")
    Is_initialized = staticmethod(lambda: True)
    IN_PLACE = None

    def __init__(self, rank, size):
        self.COMM_WORLD = self
        self.rank, self.size, self.done = rank, size, []

    def allgather(self, value):
        return [value] * self.size

    def Barrier(self):
        self.done.append("barrier")

    def Abort(self, code):
        self.done.append(code)
        raise Left


@pytest.fixture
def world(launch, monkeypatch):
    """Have a launcher start ``size`` processes, and MPI find ``found``; None: no mpi4py."""
    def world(rank, size, found):
        launch(PMI_RANK=str(rank), PMI_SIZE=str(size))
        MPI = found and World(rank, found)
        package = ModuleType("mpi4py") if MPI else None
        if MPI:
            package.rc, package.MPI = SimpleNamespace(), MPI
        monkeypatch.setitem(sys.modules, "mpi4py", package)
        monkeypatch.setitem(sys.modules, "mpi4py.MPI", MPI)
        return MPI

    return world


def test_processes_join_the_world_that_mpi_finds(world):
    world(2, 4, 4)
    ranks = parallel.join()
    assert (ranks.rank, ranks.size) == (2, 4)


def test_a_launcher_of_another_mpi_is_refused(world):
    world(0, 4, 1)
    with pytest.raises(UsageError, match="launcher started 4 processes, and MPI finds 1") as error:
        parallel.join()
    assert "MPICH Version: 1.0, which is not the launcher's" in str(error.value)


@pytest.fixture
def leave(monkeypatch):
    """End a process: what it said, how long it waited, and its code where MPI did not end it."""
    def leave(*args, **how):
        said, slept = [], []
        monkeypatch.setattr(runtime.signal, "signal", lambda *handler: None)
        monkeypatch.setattr(runtime.time, "sleep", slept.append)
        monkeypatch.setattr(runtime.os, "dup2", lambda *files: None)
        with pytest.raises((SystemExit, Left)) as end:
            runtime.leave(*args, said.append, **how)
        return said, sum(slept), getattr(end.value, "code", None)

    return leave


FAILED = {"finished": False, "training": True}


def test_a_process_of_its_own_says_its_line_and_exits(launch, leave):
    assert leave(2, "no", **FAILED) == (["no"], 0, 2)
    assert leave(0, "", finished=True, training=True) == ([], 0, 0)
    assert leave(143, "", finished=True, training=True) == ([], 0, 143)


def test_the_first_process_that_fails_says_so_and_ends_all(world, leave):
    MPI = world(0, 4, 4)
    said, waited, code = leave(2, "no", **FAILED)
    assert (said, code, MPI.done) == (["no"], None, [2])
    assert 0 < waited < 1


def test_another_process_that_fails_waits_for_the_first_and_says_who_it_is(world, leave):
    MPI = world(3, 4, 4)
    said, waited, _ = leave(1, "no", **FAILED)
    assert (said, MPI.done) == (["no (process 3 of 4)"], [1])
    assert 1 < waited < 5
    said, *_ = leave(130, "", **FAILED)
    assert said == ["charrnn: ended with code 130 (process 3 of 4)"]


def test_where_the_first_process_is_stuck_the_next_one_speaks_before_the_others(world, leave):
    waits = []
    for rank in (1, 2, 5, 1000):
        world(rank, 1001, 1001)
        waits.append(leave(1, "no", **FAILED)[1])
    assert np.diff(waits).min() >= 0.5
    assert waits[-1] < 6


def test_who_has_finished_leaves_the_end_to_mpi(world, leave):
    for rank in (0, 1):
        MPI = world(rank, 2, 2)
        assert leave(0, "", finished=True, training=True) == ([], 0, 0)
        assert MPI.done == []


def test_stopped_by_a_signal_all_end_with_its_number_once_all_are_there(world, leave):
    for rank in (0, 1):
        MPI = world(rank, 2, 2)
        said, waited, _ = leave(143, "", finished=True, training=True)
        assert (said, MPI.done) == ([], ["barrier", 143])
        assert waited < 1


@pytest.mark.parametrize("found", [None, 1])
def test_where_no_world_is_found_the_first_alone_says_why(world, leave, found):
    world(0, 4, found)
    assert leave(2, "no", **FAILED) == (["no"], 0, 2)
    world(1, 4, found)
    said, waited, code = leave(2, "no", **FAILED)
    assert (said, code) == ([], 2)
    assert waited > 1, "a launcher may end all when one has ended"


def test_what_does_not_train_speaks_for_itself(launch, leave):
    launch(PMI_RANK="1", PMI_SIZE="2")
    assert leave(2, "no", finished=False, training=False) == (["no"], 0, 2)


def test_every_process_ends_with_the_same_last_event(corpus, tmp_path):
    ends = [events[-1] for events in train(4, corpus, tmp_path / "a.npz", patience=1)]
    assert all(isinstance(end, End) for end in ends) and len(set(ends)) == 1
