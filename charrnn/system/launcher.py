"""How this process was started together with others, and how all of them end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

# The variables in which launchers tell a process its rank and how many they started; where one
# launcher runs inside another, the inner one comes first.
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, srun --mpi=pmi2
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun, which alone sets the latter
)


def launched() -> tuple[int, int]:
    """The rank of this process among those that a launcher started together; their number."""
    for rank, size in LAUNCHERS:
        values = os.environ.get(rank, ""), os.environ.get(size, "")
        if all(value.isascii() and value.isdigit() and len(value) < 10 for value in values):
            number, count = int(values[0]), int(values[1])
            if number < count:
                return number, count
    return 0, 1


def end_process(
    code: int, line: str, say: Callable[[str], None], finished: bool, training: bool
) -> NoReturn:
    """Exit with ``code`` after printing ``line``; end the processes that train with this one.

    Where this process has not ``finished``, no other can continue, and all are ended. A line
    that all of them have is printed once, by the first; the others wait for that, and a moment
    later one prints what happened to it alone.
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


def end_now(code: int) -> NoReturn:
    """Exit at once, without a word, and end the processes that were started with this one."""
    if launched()[1] > 1:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with suppress(Exception):  # the others may wait for this one, and are ended by MPI
            signal.alarm(3)  # or by a launcher that sees this one killed, where MPI waits for them
            import mpi4py.MPI as MPI

            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI, too, says how it ended
            MPI.COMM_WORLD.Abort(code)
    os._exit(code)
