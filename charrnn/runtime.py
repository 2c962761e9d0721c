"""What has to be settled before NumPy is imported, and what the operating system says.

Imports no NumPy: BLAS reads the number of its threads from the environment when it loads.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS",
                  "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS")

MAX_THREADS = 1024


# How launchers tell a process its number, and how many they started; an inner one comes first.
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, srun --mpi=pmi2
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun, which alone sets the latter
)


def affinity() -> frozenset[int]:
    """The processors that this process may use, by number."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def allowed_threads() -> int | None:
    """The threads that somebody allowed BLAS by its environment variables."""
    for variable in BLAS_VARIABLES:
        value = os.environ.get(variable, "")
        if value.isascii() and value.isdigit() and len(value) < 10:
            return min(max(1, int(value)), MAX_THREADS)
    return None


def default_threads() -> int:
    """As many as are allowed, else one for every core."""
    return allowed_threads() or min(len(affinity()), MAX_THREADS)


def launched() -> tuple[int, int]:
    """The number of this process among those that a launcher started together; their number."""
    for rank, size in LAUNCHERS:
        values = os.environ.get(rank, ""), os.environ.get(size, "")
        if all(value.isascii() and value.isdigit() and len(value) < 10 for value in values):
            number, count = int(values[0]), int(values[1])
            if number < count:
                return number, count
    return 0, 1


def leave(
    code: int, line: str, say: Callable[[str], None], finished: bool, training: bool
) -> NoReturn:
    """End this process, one of those that train together where a launcher started several.

    Where it has not ``finished``, no other can go on, and all are ended. What all of them have
    to say is said once, by the first; the others wait for that, and a moment later one says
    what happened to it alone.
    """
    rank, size = launched()
    failed = training and size > 1 and not finished
    if training and size > 1:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the others wait for this one to end
    if line and (rank == 0 or not training):
        say(line)
    if failed:
        with suppress(Exception):  # the others may wait for this one, and are ended by MPI
            import mpi4py.MPI  # noqa: F401 - looked up below
    MPI: Any = sys.modules.get("mpi4py.MPI")
    together = MPI is not None and MPI.Is_initialized() and MPI.COMM_WORLD.size == size > 1
    if failed and rank > 0:
        time.sleep(1.5 + min(rank, 8) / 2)  # one after the other, in case the first is stuck
        if together and code:
            say(f"{line or f'charrnn: ended with code {code}'} (process {rank} of {size})")
    if together and not (finished and code == 0):
        if finished:
            MPI.COMM_WORLD.Barrier()
        time.sleep(0.2)  # the launcher forwards what was said before it hears of the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI, too, says how it ended
        MPI.COMM_WORLD.Abort(code)
    sys.exit(code)


def use_one_blas_thread() -> None:
    """Keep BLAS from sharing out products: charrnn's own threads share the lanes instead.

    Only the console entry point may call this, since it changes the environment.
    """
    assert "numpy" not in sys.modules, "BLAS has already started its threads"
    for variable in BLAS_VARIABLES:
        os.environ[variable] = "1"


def available_memory() -> int | None:
    """Bytes this process can still take without swapping, None where that is unknown."""
    limits = []
    with suppress(AttributeError, OSError, ValueError):  # not on Windows
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(int(line.split()[1]) * 1024)
    except OSError:
        pass
    for folder, limit, usage in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        try:
            free = int(Path(folder, limit).read_text()) - int(Path(folder, usage).read_text())
        except (OSError, ValueError):  # no such control group, or its limit is "max"
            continue
        with suppress(OSError):
            # Cached files count as used, and give way to whoever needs the memory.
            for line in Path(folder, "memory.stat").read_text().splitlines():
                if line.startswith("inactive_file "):
                    free += int(line.split()[1])
        limits.append(free)
    return max(0, min(limits)) if limits else None


class Signals:
    """What the outside asked for while a run goes on.

    ``stop`` is the number of the signal that asked the run to end, or None; ``save`` is set
    by USR1 and cleared by whoever saves. As long as there is nothing to save, ``deferred``
    is false and a stop is an immediate SystemExit.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.stop: int | None = None
        self.save = False

    def wishes(self) -> tuple[bool, bool, bool]:
        """What was asked for, as numbers that processes can add up."""
        return self.stop == signal.SIGINT, self.stop == signal.SIGTERM, self.save

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop is not None:  # asked twice: no more politeness
            os._exit(128 + number)
        self.stop = number
        if not self.deferred:
            raise SystemExit(128 + number)

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True


def wished(sums: Sequence[float]) -> tuple[int | None, bool]:
    """The signal that asked any process to stop, and whether any is to save."""
    interrupts, terminations, saves = sums
    stop = signal.SIGINT if interrupts else signal.SIGTERM if terminations else None
    return stop, bool(saves)


@contextmanager
def listening() -> Iterator[Signals]:
    """INT and TERM ask to stop (a second one ends at once), USR1 asks to save.

    A signal that is ignored stays ignored: a shell starts background jobs so.
    """
    signals = Signals()
    wanted: dict[str, Callable[[int, FrameType | None], None]] = {
        "SIGINT": signals._on_stop,
        "SIGTERM": signals._on_stop,
        "SIGUSR1": signals._on_save,
    }
    before = {}
    for name, handler in wanted.items():
        number = getattr(signal, name, None)  # Windows has no USR1
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        yield signals
    finally:
        for number, old in before.items():
            signal.signal(number, old)
