"""The machine: its cores, the threads of BLAS, and the available memory."""

from __future__ import annotations

import os

import pytest
from interpreter import run_python

from charrnn.system import machine


def test_blas_is_limited_to_one_thread_before_it_starts():
    done = run_python(
        "import os, sys\nfrom charrnn.system import machine\nassert 'numpy' not in sys.modules\n"
        "machine.use_one_blas_thread()\n"
        "print(*(os.environ[variable] for variable in machine.BLAS_VARIABLES))\n"
        "import numpy\nmachine.use_one_blas_thread()\n"
    )
    assert set(done.stdout.split()) == {"1"}
    assert "BLAS has already started" in done.stderr


def test_by_default_there_is_one_thread_per_core(monkeypatch):
    for variable in machine.BLAS_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert machine.default_threads() == len(machine.affinity()) >= 1


def test_more_threads_than_pay_off_start_only_if_asked_for(monkeypatch):
    for variable in machine.BLAS_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(machine, "affinity", lambda: frozenset(range(16)))
    assert (machine.default_threads(), machine.default_threads(4)) == (16, 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "12")
    assert machine.default_threads(4) == 12


@pytest.mark.parametrize("variable", machine.BLAS_VARIABLES)
@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("", None), ("many", None), ("²", None)])
def test_a_blas_variable_sets_the_number_of_threads(monkeypatch, variable, value, threads):
    for other in machine.BLAS_VARIABLES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, value)
    assert machine.default_threads() == (threads or len(machine.affinity()))


def test_available_memory_is_a_number_of_bytes_or_unknown():
    available = machine.available_memory()
    assert available is None or (type(available) is int and available > 0)


MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
V1 = "sys/fs/cgroup/memory/memory."


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({}, 10**18),
        ({"proc/meminfo": MEMINFO}, 8_192_000_000),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "1000000\n",
          "sys/fs/cgroup/memory.current": "300000\n"}, 700_000),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "max\n",
          "sys/fs/cgroup/memory.current": "300000\n"}, 8_192_000_000),
        ({"proc/meminfo": MEMINFO, V1 + "limit_in_bytes": "1000000\n",
          V1 + "usage_in_bytes": "400000\n"}, 600_000),
        ({"proc/meminfo": MEMINFO, V1 + "limit_in_bytes": "9223372036854771712\n",
          V1 + "usage_in_bytes": "400000\n"}, 8_192_000_000),
        ({"sys/fs/cgroup/memory.max": "1000000\n", "sys/fs/cgroup/memory.current": "900000\n",
          "sys/fs/cgroup/memory.stat": "anon 1\nfile 9\ninactive_file 500000\n"}, 600_000),
        ({"sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "2000\n"}, 0),
    ],
)  # fmt: skip
def test_available_memory_is_the_least_that_the_system_and_its_control_group_allow(
    tmp_path, monkeypatch, files, available
):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(os, "sysconf", lambda name: 10**9)  # more than any of the limits
    monkeypatch.setattr(machine, "Path", lambda path, name="": tmp_path / path.lstrip("/") / name)
    assert machine.available_memory() == available
