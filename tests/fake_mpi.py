"""A fake mpi4py.MPI with what charrnn uses when a process starts and exits."""

from __future__ import annotations


class Aborted(BaseException):
    """Raised where MPI would end the process."""


class World:
    """mpi4py.MPI with a world of ``size`` processes; ``done`` records the calls."""

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
        raise Aborted
