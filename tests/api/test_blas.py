"""BLAS has one thread while charrnn computes, and afterwards as many as before."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from charrnn.api import blas
from charrnn.api.blas import OneThread, may_oversubscribe, own_threads
from charrnn.system import machine
from charrnn.system.machine import BLAS_VARIABLES


class Fake:
    """Two functions of a BLAS."""

    def __init__(self, threads):
        self.threads = threads

    def get(self):
        return self.threads

    def put(self, threads):
        self.threads = threads


@pytest.fixture
def fake(monkeypatch):
    fake = Fake(7)
    monkeypatch.setattr(blas, "_find", lambda: (fake.get, fake.put))
    return fake


def test_the_number_of_threads_is_restored_also_after_an_error(fake):
    limit = OneThread()
    assert limit.run(lambda: fake.threads) == 1
    assert fake.threads == 7
    with pytest.raises(ZeroDivisionError):
        limit.run(lambda: 1 / (fake.threads - 1))
    assert fake.threads == 7


def test_an_interrupt_at_any_point_leaves_the_number_of_before(fake):
    """Python raises KeyboardInterrupt where a function begins and after calls."""
    limit = OneThread()
    limit.run(int)
    for when in range(1000):
        events = itertools.count()

        def interrupt(frame, event, arg):
            if event in ("call", "c_return") and next(events) == when:  # noqa: B023
                sys.setprofile(None)
                raise KeyboardInterrupt

        sys.setprofile(interrupt)
        try:
            limit.run(lambda: 3)
            break
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        assert (fake.threads, limit._lock.locked()) == (7, False), when
        assert limit.run(lambda: fake.threads) == 1
    assert when > 10


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_has_the_number_of_before_though_another_thread_is_at_work(fake):
    limit, entered, leave = OneThread(), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: limit.run(lambda: (entered.set(), leave.wait(10))))
    thread.start()
    assert entered.wait(10)
    child = os.fork()
    if child == 0:
        inside = fake.threads == 7 and limit.run(lambda: fake.threads) == 1
        os._exit(0 if inside and fake.threads == 7 else 1)
    leave.set()
    thread.join(10)
    assert os.waitpid(child, 0)[1] == 0
    assert fake.threads == 7


def test_the_number_is_restored_when_the_last_of_several_threads_leaves(fake):
    limit, entered, leave = OneThread(), threading.Event(), threading.Event()

    thread = threading.Thread(target=lambda: limit.run(lambda: (entered.set(), leave.wait(10))))

    def inside():
        limit.run(lambda: (thread.start(), entered.wait(10)))
        return fake.threads

    assert limit.run(inside) == 1
    assert fake.threads == 1, "the other is still inside"
    leave.set()
    thread.join(10)
    assert fake.threads == 7


def test_a_blas_that_cannot_be_limited_is_left_alone(monkeypatch):
    monkeypatch.setattr(blas, "_find", lambda: None)
    limit = OneThread()
    assert limit.run(lambda: limit.found) is False


@pytest.mark.parametrize(("found", "variable", "threads", "expected"), [
    (False, None, 2, True), (True, None, 2, False), (False, None, 1, False),
    (False, "1", 2, False), (False, "4", 2, True),
])
def test_only_an_unlimited_blas_can_oversubscribe(
    monkeypatch, found, variable, threads, expected
):
    for name in BLAS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr(blas, "_find", lambda: (min, max) if found else None)
    monkeypatch.setattr(blas, "one_blas_thread", OneThread())
    assert may_oversubscribe(threads) is expected
    monkeypatch.setattr(machine, "affinity", lambda: frozenset(range(threads)))
    own = int(variable) if variable else threads
    assert own_threads() == (1 if expected else own)


def test_the_blas_of_numpy_is_limited():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    code = (
        "import numpy, threadpoolctl; from charrnn.api.blas import one_blas_thread\n"
        "def threads():\n"
        "    return [pool['num_threads'] for pool in threadpoolctl.threadpool_info()\n"
        "            if pool['user_api'] == 'blas']\n"
        "before = threads()\n"
        "print(before, one_blas_thread.run(threads), threads())"
    )
    if not any(pool["internal_api"] in ("openblas", "mkl")
               for pool in threadpoolctl.threadpool_info()) or sys.platform == "win32":
        pytest.skip(f"NumPy {np.__version__} has neither OpenBLAS nor MKL here")
    environment = {key: value for key, value in os.environ.items() if key not in BLAS_VARIABLES}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            check=True, timeout=60, env=environment | {"OMP_NUM_THREADS": "3"})
    assert result.stdout.strip() in ("[3] [1] [3]", "[2] [1] [2]"), result
