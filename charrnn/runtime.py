"""What has to be settled before NumPy is imported, and what the operating system says.

Imports no NumPy: BLAS reads the number of its threads from the environment when it loads.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS",
                  "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS")

MAX_THREADS = 1024


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """The threads that somebody allowed BLAS by its environment variables, else every core."""
    for variable in BLAS_VARIABLES:
        value = os.environ.get(variable, "")
        if value.isascii() and value.isdigit() and len(value) < 10:
            return min(max(1, int(value)), MAX_THREADS)
    return min(cores(), MAX_THREADS)


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

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if self.stop is not None:  # asked twice: no more politeness
            os._exit(128 + number)
        self.stop = number
        if not self.deferred:
            raise SystemExit(128 + number)

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True


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
