"""The processes that train together over MPI: allgather, broadcast, allreduce.

``mpiexec -n 4 charrnn train corpus.txt`` starts four processes that run the same program, each
on its own sequences of the batch. An all-reduce sums their gradients in every step, so that all
processes make the same update and have the same weights. Only the first one prints and writes
files. A single process is a group of size 1 that sends nothing, so the rest of the program needs
no special case for it.
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
    """The communicator of a single process, which never sends a buffer."""

    rank, size = 0, 1

    def allgather(self, value: T) -> list[T]:
        return [value]


class ProcessGroup:
    """The ``size`` processes of a run; this process is number ``rank``.

    Every method except ``share`` is collective: all processes must call it, in the same order.
    ``comm`` is a communicator of mpi4py, of which allgather, Allgatherv, Allreduce and Alltoallv
    are used; ``in_place`` is MPI.IN_PLACE, for Allreduce.
    """

    def __init__(self, comm: Any, in_place: Any = None) -> None:
        self._comm, self._in_place = comm, in_place
        self._buffers: dict[str, ndarray] = {}
        self.rank: int = comm.rank
        self.size: int = comm.size
        machines = self.allgather((platform.node(), machine.affinity()))
        here = [cores for name, cores in machines if name == platform.node()]
        self.on_this_machine = len(here)  # number of processes, including this one
        self.cores = max(1, len(frozenset().union(*here)) // len(here))  # per process
        self.first_here = self.rank == [name for name, _ in machines].index(platform.node())

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0

    def allgather(self, value: T) -> list[T]:
        """The values of all processes, ordered by rank."""
        values: list[T] = self._comm.allgather(value)
        return values

    def broadcast(self, value: T) -> T:
        """The value of the first process, returned in all processes."""
        return self.allgather(value if self.is_first else None)[0]  # type: ignore[return-value]

    def together(self, work: Callable[[], T]) -> T:
        """Run ``work`` in every process; returns this process's result.

        If it raises CharrnnError in some process, all processes raise that of the lowest rank.
        """
        result, error = None, None
        try:
            result = work()
        except CharrnnError as raised:
            if raised.raised_by_all:
                raise
            error = raised
        for rank, found in enumerate(self.allgather(error)):
            if found is not None:
                first = error if error and rank == self.rank else found  # this one has a traceback
                first.raised_by_all = True
                raise first
        return result  # type: ignore[return-value]

    def check_equal(self, facts: dict[str, Any]) -> None:
        """Raise UsageError in all processes if ``facts`` differ from those of the first."""
        gathered = self.allgather(facts)
        for rank, found in enumerate(gathered):
            for name, first in gathered[0].items():
                if found.get(name) != first:
                    raise UsageError(
                        f"process {rank} of {self.size} differs from process 0 in the {name} "
                        f"({found.get(name)!s:.60}, {first!s:.60}): start all processes with the "
                        "same command, files and versions"
                    )

    def share(self, items: Any) -> Any:
        """This process's part of ``items``, whose number is divisible by ``size``."""
        count = len(items) // self.size
        return items[self.rank * count : (self.rank + 1) * count]

    def allgather_rows(self, rows: ndarray) -> ndarray:
        """The ``rows`` (n, ...) of all processes, stacked by rank: (size * n, ...)."""
        if self.size == 1:
            return rows
        stacked = np.empty((self.size * len(rows), *rows.shape[1:]), rows.dtype)
        self._comm.Allgatherv(np.ascontiguousarray(rows), stacked)
        return stacked

    def allreduce(self, parts: ndarray) -> ndarray:
        """The sum (N,) of the rows of ``parts`` (s, N) over all processes, in all processes.

        The sum overwrites the first row. Each process sums its own rows first, so the result
        depends on the number of processes in the last bits.
        """
        total = _sum(parts)
        if self.size > 1:
            self._comm.Allreduce(self._in_place, total)
        return total

    def allreduce_in_order(self, parts: ndarray) -> ndarray:
        """``allreduce`` with a fixed order of summation: row by row, ordered by rank.

        The result has the same bits however the rows are distributed over processes. Each process
        receives a block of columns of all rows, sums it and sends the sum to all: s times the
        traffic of ``allreduce``. The next call overwrites the result.
        """
        if self.size == 1:
            return _sum(parts)
        s, N = parts.shape
        edges = [N * rank // self.size for rank in range(self.size + 1)]
        widths = np.diff(edges)
        sent = self._buffer("sent", (s * N,), parts.dtype)
        np.concatenate([parts[:, a:b].ravel() for a, b in pairwise(edges)], out=sent)
        block = self._buffer("block", (self.size * s, widths[self.rank]), parts.dtype)
        self._comm.Alltoallv([sent, s * widths], [block, [s * widths[self.rank]] * self.size])
        total = self._buffer("total", (N,), parts.dtype)
        self._comm.Allgatherv(_sum(block), [total, widths])
        return total

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: Any) -> ndarray:
        """A buffer that is kept for later steps: allocating it can take longer than sending it."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != shape or buffer.dtype != dtype:
            buffer = self._buffers[name] = np.empty(shape, dtype)
        return buffer


def _sum(rows: ndarray) -> ndarray:
    """The sum of ``rows`` (s, N), added in order; it overwrites the first row."""
    total: ndarray = rows[0]
    for row in rows[1:]:
        total += row
    return total


def join() -> ProcessGroup:
    """The group of processes that a launcher started; a group of 1 without a launcher.

    Raises UsageError if the processes cannot communicate.
    """
    size = launcher.launched()[1]
    if size == 1:
        return ProcessGroup(Alone())
    try:
        with warnings.catch_warnings():  # of a foreign launcher, which is checked below
            warnings.simplefilter("ignore", RuntimeWarning)
            from mpi4py import MPI
    except ModuleNotFoundError:
        raise UsageError(
            f"a launcher started {size} processes, but mpi4py, which they need to communicate, is "
            "not installed: pip install mpi4py mpich (docs/scaling.md)"
        ) from None
    except (ImportError, RuntimeError, OSError) as error:
        raise UsageError(
            f"a launcher started {size} processes, but mpi4py finds no MPI library "
            f"({error}): load the environment module of your MPI, or pip install mpich"
        ) from None
    comm = MPI.COMM_WORLD
    if comm.size != size:
        library = MPI.Get_library_version().splitlines()[0]
        raise UsageError(
            f"the launcher started {size} processes, but MPI finds {comm.size}: mpi4py uses "
            f"{library}, which is not the launcher's; use the mpiexec of that library"
        )
    return ProcessGroup(comm, MPI.IN_PLACE)


def workers(threads: int, processes: int) -> str:
    """The number of processes and of threads per process, in words."""
    each = f"{threads} thread{'s' * (threads > 1)}"
    return each if processes == 1 else f"{processes} processes of {each}"
