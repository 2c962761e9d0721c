"""Small training runs, in one process or in several, which threads simulate."""

from __future__ import annotations

import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from charrnn.config.parsing import resolve
from charrnn.system.signals import Signals
from charrnn.training import loop
from charrnn.training.events import Step
from charrnn.training.prepare import prepare
from charrnn.training.processes import ProcessGroup
from charrnn.training.run import Request

LINE = "the quick brown fox jumps over the lazy dog; pack my box with five dozen jugs.\n"
TEXT = LINE * 20
TINY = {
    "hidden_size": 8, "layers": 2, "batch_size": 4, "seq_length": 8, "steps": 20,
    "eval_every": 7, "save_every": 5, "warmup": 2, "learning_rate": 0.01, "dropout": 0.05,
}
# For several processes: a batch of 12 can be divided in many ways.
SHARED_TEXT = LINE * 40
SHARED_TINY = TINY | {"hidden_size": 7, "batch_size": 12, "dropout": 0.2}


def prepared(corpus, out, *, val=None, init_from=None, overwrite=False, **settings):
    """A run of one process, with the settings TINY except those that are given."""
    return prepare(_request(
        corpus, out, TINY | settings, val=val and str(val), init_from=init_from,
        overwrite=overwrite,
    ))


def prepared_in(
    group, corpus, out, *, workers=1, val=None, init_from=None, overwrite=False, **settings
):
    """A run of a group of processes, with the settings SHARED_TINY except those that are given."""
    request = _request(
        corpus, out, SHARED_TINY | settings, val=val, init_from=init_from, overwrite=overwrite,
        default_threads=workers,
    )
    return prepare(request, group)


def _request(corpus, out, settings, **options):
    """The request that the command line would make; a setting that is None is left out."""
    settings = {key: value for key, value in settings.items() if value is not None}
    return Request(
        [str(corpus)], Path(out), resolve({}, settings), frozenset(settings), **options
    )


def train(corpus, out, signals=None, **options):
    """The events of a run of one process."""
    return list(loop.train(prepared(corpus, out, **options), signals or Signals()))


def killed_after(step, corpus, out, **options):
    """Train like a process that is killed right after the event of ``step``."""
    for event in loop.train(prepared(corpus, out, **options), Signals()):
        if isinstance(event, Step) and event.step == step:
            return


def train_in(size, corpus, out, at=None, ask=None, **options):
    """The events of each process; after step ``at`` the last one calls ``ask`` on its signals."""
    def work(group):
        signals, events = Signals(), []
        for event in loop.train(prepared_in(group, corpus, out, **options), signals):
            events.append(event)
            if isinstance(event, Step) and event.step == at and group.rank == size - 1:
                ask(signals)
        return events

    outcomes = in_processes(size, work)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return outcomes


def of(kind, events):
    """The events of a kind."""
    return [event for event in events if isinstance(event, kind)]


def losses(events):
    """The loss of every step."""
    return [event.nats_per_char for event in of(Step, events)]


class Comm:
    """The part of mpi4py's communicator that ``ProcessGroup`` uses, for threads.

    It asserts that all processes make the same call.
    """

    def __init__(self, rank, size, barrier, slots):
        self.rank, self.size, self.barrier, self.slots = rank, size, barrier, slots
        self.calls = []

    def swap(self, call, value):
        """The values of all processes."""
        self.calls.append(call)
        self.slots[self.rank] = call, value
        self.barrier.wait()
        calls, values = zip(*self.slots, strict=True)
        self.barrier.wait()
        assert set(calls) == {call}
        return values

    def allgather(self, value):
        return [pickle.loads(data) for data in self.swap("allgather", pickle.dumps(value))]

    def Allgatherv(self, own, into):
        parts = self.swap("Allgatherv", own.copy())
        buffer, counts = into if isinstance(into, list) else (into, [own.size] * self.size)
        fill(buffer, counts, parts)

    def Allreduce(self, in_place, into):
        assert in_place is None, "the sum overwrites what is sent"
        into[:] = sum(self.swap("Allreduce", into.copy()))

    def Alltoallv(self, sent, into):
        buffer, counts = sent
        assert sum(counts) == buffer.size
        parts = self.swap("Alltoallv", np.split(buffer.copy(), np.cumsum(counts)[:-1]))
        fill(*into, [theirs[self.rank] for theirs in parts])


def fill(buffer, counts, parts):
    """Copy what all processes have sent into the buffer of one."""
    assert [part.size for part in parts] == list(counts)
    assert {part.dtype for part in parts} == {buffer.dtype}
    assert buffer.flags.c_contiguous and buffer.size == sum(counts)
    buffer.reshape(-1)[:] = np.concatenate([part.ravel() for part in parts])


def in_processes(size, work):
    """What ``work``, called with the group, returns or raises in each of ``size`` processes."""
    barrier, slots = threading.Barrier(size, timeout=20), [None] * size

    def process(rank):
        try:
            return work(ProcessGroup(Comm(rank, size, barrier, slots)))
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(process, range(size)))


def raised(kind, outcomes):
    """The message of the error that all processes raised."""
    assert {type(outcome) for outcome in outcomes} == {kind}, outcomes
    (text,) = {str(outcome) for outcome in outcomes}
    return text


def interrupt(signals):
    """Request a stop, as Ctrl-C does."""
    signals.stop = signal.SIGINT
