"""Limit BLAS to one thread while charrnn computes, in a process that started BLAS with more.

charrnn's own threads share the work, and the last bits of a product depend on the number of
threads that BLAS uses for it. The commands set that number in the environment before they import
NumPy. A notebook has imported NumPy already, and its environment must not change.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from charrnn.system import machine

T = TypeVar("T")

# The functions that get and set the number of threads: in NumPy's wheels, in other builds of
# OpenBLAS, and in MKL.
FUNCTIONS = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),
    ("scipy_openblas_get_num_threads", "scipy_openblas_set_num_threads"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
)


class OneThread:
    """BLAS has one thread while a function runs; the last one to return restores the number.

    Such functions may be nested, and several threads may call them, since BLAS has one number for
    the whole process. If BLAS has no known functions for it (``found`` is false), nothing happens.
    """

    def __init__(self) -> None:
        self._forget()
        self._functions: tuple[Any, Any] | None = None
        self._watches_forks = False

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._users: set[object] = set()
        self._before: int | None = None  # the number to restore, while there are users

    @property
    def found(self) -> bool:
        """Whether the number of BLAS threads can be set."""
        if self._functions is None:
            self._functions = _find()
        return self._functions is not None

    def run(self, function: Callable[[], T]) -> T:
        """The result of ``function``, called with one thread.

        Ctrl-C can raise KeyboardInterrupt anywhere, even while ``_leave`` runs or before its first
        line. So ``_leave`` is called twice; a context manager could not guarantee that.
        """
        user = object()
        try:
            try:
                self._enter(user)
                return function()
            finally:
                self._leave(user)
        finally:
            self._leave(user)

    def _enter(self, user: object) -> None:
        with self._lock:
            self._users.add(user)
            if self.found and self._functions and self._before is None:
                if not self._watches_forks and hasattr(os, "register_at_fork"):
                    os.register_at_fork(after_in_child=self._after_fork)
                    self._watches_forks = True
                get, put = self._functions
                self._before = get()
                put(1)

    def _leave(self, user: object) -> None:
        with self._lock:
            self._users.discard(user)
            if not self._users and self._functions and self._before is not None:
                self._functions[1](self._before)
                self._before = None

    def _after_fork(self) -> None:
        """A forked child lacks the other threads of its parent, some of which may be users."""
        before = self._before
        self._forget()
        if self._functions and before is not None:
            self._functions[1](before)


def _find() -> tuple[Any, Any] | None:
    """The two functions of the BLAS that NumPy is linked with."""
    linked = sys.modules.get("numpy._core._multiarray_umath")
    try:
        # Symbols are also looked up in the libraries that this one depends on, except on Windows.
        library = ctypes.CDLL(str(getattr(linked, "__file__", None)))
    except OSError:
        return None
    for get, put in FUNCTIONS:
        if hasattr(library, get) and hasattr(library, put):
            return getattr(library, get), getattr(library, put)
    return None


one_blas_thread = OneThread()


def own_threads(most: int = machine.MAX_THREADS) -> int:
    """The default number of charrnn's threads, at most ``most``: one if BLAS cannot be limited.

    BLAS threads inside charrnn's threads make training many times slower, not faster.
    """
    threads = machine.default_threads(most)
    return 1 if may_oversubscribe(threads) else threads


def may_oversubscribe(threads: int) -> bool:
    """Whether BLAS may start its own threads inside each of charrnn's ``threads``."""
    return threads > 1 and not one_blas_thread.found and machine.allowed_threads() != 1
