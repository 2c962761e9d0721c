"""The machine: its cores, the threads that BLAS may use, and the available memory.

BLAS reads its number of threads from the environment when NumPy is imported. So the code that
sets it belongs here, where NumPy is not imported.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS",
                  "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS")

MAX_THREADS = 1024

# More threads compete for Python's interpreter lock and make a training step slower; processes do
# not (docs/scaling.md).
TRAINING_THREADS = 4


def affinity() -> frozenset[int]:
    """The numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def allowed_threads() -> int | None:
    """The number of threads set by the first valid BLAS environment variable, None without one."""
    for variable in BLAS_VARIABLES:
        value = os.environ.get(variable, "")
        if value.isascii() and value.isdigit() and len(value) < 10:
            return min(max(1, int(value)), MAX_THREADS)
    return None


def default_threads(most: int = MAX_THREADS) -> int:
    """The number from the BLAS environment variables, else one per core, but ``most`` at most."""
    return allowed_threads() or min(len(affinity()), most)


def use_one_blas_thread() -> None:
    """Limit BLAS to one thread: charrnn's own threads divide the batch instead.

    Changes the environment, so only programs may call it, not library code.
    """
    assert "numpy" not in sys.modules, "BLAS has already started its threads"
    for variable in BLAS_VARIABLES:
        os.environ[variable] = "1"


def available_memory() -> int | None:
    """Bytes this process can allocate without swapping, None if unknown."""
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
            # Cached files count as used, but the kernel frees them when memory is needed.
            for line in Path(folder, "memory.stat").read_text().splitlines():
                if line.startswith("inactive_file "):
                    free += int(line.split()[1])
        limits.append(free)
    return max(0, min(limits)) if limits else None
