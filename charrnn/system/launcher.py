"""The MPI launcher that started this process with others, and how all of them exit."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

# The variables in which launchers pass a process its rank and the number of processes. If one
# launcher runs inside another, the inner one must come first here.
LAUNCHERS = (
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI, srun --mpi=pmi2
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun; nothing else sets the latter
)


def launched() -> tuple[int, int]:
    """The rank of this process and the number of processes of its launcher; (0, 1) without one."""
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
    """Print ``line`` with ``say``, end the processes that train with this one, exit with ``code``.

    If this process has not ``finished``, the others cannot continue, so all are ended. The first
    process prints its line at once. Another process waits a moment, since usually all fail for
    the same reason and the first one ends it; if it is still running then, it prints its line.
    """
    rank, size = launched()
    failed = training and size > 1 and not finished
    if training and size > 1:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the others wait for this process to exit
    if line and (rank == 0 or not training):
        say(line)
    if failed:
        with suppress(Exception):  # MPI must end the others, which may wait for this process
            import mpi4py.MPI  # noqa: F401 - looked up below
    MPI: Any = sys.modules.get("mpi4py.MPI")
    together = MPI is not None and MPI.Is_initialized() and MPI.COMM_WORLD.size == size > 1
    if failed and rank > 0:
        time.sleep(1.5 + min(rank, 8) / 2)  # in order of rank, in case the first is stuck
        if together and code:
            say(f"{line or f'charrnn: exited with code {code}'} (process {rank} of {size})")
    if together and not (finished and code == 0):
        if finished:
            MPI.COMM_WORLD.Barrier()
        time.sleep(0.2)  # lets the launcher forward the printed line before the abort
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # hides MPI's own message about the abort
        MPI.COMM_WORLD.Abort(code)
    sys.exit(code)


def end_now(code: int) -> NoReturn:
    """Exit immediately, print nothing, and end the processes that were started with this one."""
    if launched()[1] > 1:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with suppress(Exception):  # MPI must end the others, which may wait for this process
            signal.alarm(3)  # if MPI blocks, this process is killed and its launcher ends them
            import mpi4py.MPI as MPI

            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # hides MPI's own message about the abort
            MPI.COMM_WORLD.Abort(code)
    os._exit(code)
