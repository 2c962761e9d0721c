"""The processes that train together, by MPI: allgather, broadcast, allreduce.

``mpiexec -n 4 charrnn train corpus.txt`` starts four processes that do the same, each with its
own sequences of the batch. Their gradients are summed in every step (an all-reduce), so that
all make the same update and hold the same weights; only the first prints and writes. A process
on its own is a group of one, with nothing to send: the rest of the program knows no other case.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy import ndarray

from charrnn.errors import CharrnnError, UsageError
from charrnn.system import launcher, machine

T = TypeVar("T")


class Alone:
    """The communicator of one process: there is nobody to send a buffer to."""

    rank, size = 0, 1

    def allgather(self, value: T) -> list[T]:
        return [value]


class ProcessGroup:
    """The processes of a run, ``size`` of them; this one is number ``rank``.

    Every method is collective: all processes have to call it, in the same order. ``comm`` is
    a communicator of mpi4py, of which allgather, Allgatherv, Allreduce and Alltoallv are used,
    and ``in_place`` what says to the third that it receives where it sends.
    """

    def __init__(self, comm: Any, in_place: Any = None) -> None:
        self._comm, self._in_place = comm, in_place
        self._buffers: dict[str, ndarray] = {}
        self.rank: int = comm.rank
        self.size: int = comm.size
        machines = self.allgather((platform.node(), machine.affinity()))
        here = [cores for name, cores in machines if name == platform.node()]
        self.on_this_machine = len(here)  # processes, with this one
        self.cores = max(1, len(frozenset().union(*here)) // len(here))  # for each of them
        self.first_here = self.rank == [name for name, _ in machines].index(platform.node())

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def allgather(self, value: T) -> list[T]:
        """The values of all processes, in their order."""
        values: list[T] = self._comm.allgather(value)
        return values

    def broadcast(self, value: T) -> T:
        """The value of the first process, in all of them."""
        return self.allgather(value if self.is_first else None)[0]  # type: ignore[return-value]

    def together(self, work: Callable[[], T]) -> T:
        """What ``work`` returns here; or, in all processes, the first error that one raised."""
        result, error = None, None
        try:
            result = work()
        except CharrnnError as raised:
            if raised.raised_by_all:
                raise
            error = raised
        for rank, found in enumerate(self.allgather(error)):
            if found is not None:
                first = error if error and rank == self.rank else found  # with its traceback
                first.raised_by_all = True
                raise first
        return result  # type: ignore[return-value]

    def check_equal(self, facts: dict[str, Any]) -> None:
        """Raise UsageError in all processes where ``facts`` are not those of the first."""
        every = self.allgather(facts)
        for rank, found in enumerate(every):
            for name, first in every[0].items():
                if found.get(name) != first:
                    raise UsageError(
                        f"process {rank} of {self.size} has another {name} than process 0 "
                        f"({found.get(name)!s:.60}, {first!s:.60}): start all of them with the "
                        "same command, files and versions"
                    )

    def share(self, items: Any) -> Any:
        """The share of this process in ``items``, of which each has as many."""
        count = len(items) // self.size
        return items[self.rank * count : (self.rank + 1) * count]

    def allgather_rows(self, rows: ndarray) -> ndarray:
        """The rows (n, ...) of all processes stacked, in all of them."""
        if self.size == 1:
            return rows
        every = np.empty((self.size * len(rows), *rows.shape[1:]), rows.dtype)
        self._comm.Allgatherv(np.ascontiguousarray(rows), every)
        return every

    def allreduce(self, parts: ndarray) -> ndarray:
        """The sum of the rows of ``parts`` (s, N) of all processes, (N,), in all of them.

        The first row becomes the sum. Each process adds up its own rows before, so the last
        bits depend on the number of processes.
        """
        total = _sum(parts)
        if self.size > 1:
            self._comm.Allreduce(self._in_place, total)
        return total

    def allreduce_in_order(self, parts: ndarray) -> ndarray:
        """``allreduce``, but row by row: first those of the first process, in their order.

        The same rows give the same bits, whoever has them. Each process receives a stretch of
        the columns of all rows, adds it up and passes it on: s times the traffic of ``allreduce``.
        The sum lies in memory that the next call uses again.
        """
        if self.size == 1:
            return _sum(parts)
        s, N = parts.shape
        edges = [N * rank // self.size for rank in range(self.size + 1)]
        widths = np.diff(edges)
        sent = self._buffer("sent", (s * N,), parts.dtype)
        np.concatenate([parts[:, a:b].ravel() for a, b in pairwise(edges)], out=sent)
        stretch = self._buffer("stretch", (self.size * s, widths[self.rank]), parts.dtype)
        self._comm.Alltoallv([sent, s * widths], [stretch, [s * widths[self.rank]] * self.size])
        total = self._buffer("total", (N,), parts.dtype)
        self._comm.Allgatherv(_sum(stretch), [total, widths])
        return total

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: Any) -> ndarray:
        """Memory that stays: to get it anew in every step takes longer than to send it."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != shape or buffer.dtype != dtype:
            buffer = self._buffers[name] = np.empty(shape, dtype)
        return buffer


def _sum(rows: ndarray) -> ndarray:
    """The sum of the rows, from the first to the last, in the place of the first."""
    total: ndarray = rows[0]
    for row in rows[1:]:
        total += row
    return total


def join() -> ProcessGroup:
    """The processes that a launcher started with this one; alone where none did.

    Raises UsageError where they cannot find each other.
    """
    size = launcher.launched()[1]
    if size == 1:
        return ProcessGroup(Alone())
    try:
        with warnings.catch_warnings():  # of another launcher: that is looked at below
            warnings.simplefilter("ignore", RuntimeWarning)
            from mpi4py import MPI
    except ModuleNotFoundError:
        raise UsageError(
            f"{size} processes were started together, and mpi4py, by which they would talk, is "
            "not installed: pip install mpi4py mpich (docs/scaling.md)"
        ) from None
    except (ImportError, RuntimeError, OSError) as error:
        raise UsageError(
            f"{size} processes were started together, and mpi4py finds no MPI library "
            f"({error}): load the module of your MPI, or pip install mpich"
        ) from None
    comm = MPI.COMM_WORLD
    if comm.size != size:
        library = MPI.Get_library_version().splitlines()[0]
        raise UsageError(
            f"the launcher started {size} processes, and MPI finds {comm.size}: mpi4py uses "
            f"{library}, which is not the launcher's; use the mpiexec that belongs to it"
        )
    return ProcessGroup(comm, MPI.IN_PLACE)


def workers(threads: int, processes: int) -> str:
    """So many threads, of so many processes, in words."""
    some = f"{threads} thread{'s' * (threads > 1)}"
    return some if processes == 1 else f"{processes} processes of {some}"
