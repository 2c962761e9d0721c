"""The machine: its cores, the threads BLAS may use, and the memory that is free.

BLAS reads the number of its threads from the environment when NumPy is imported; what settles
that has to be here, where NumPy is not.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS",
                  "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS")

MAX_THREADS = 1024


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


def use_one_blas_thread() -> None:
    """Keep BLAS from sharing out products: charrnn's own threads share the batch instead.

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
