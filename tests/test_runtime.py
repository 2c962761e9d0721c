"""The operating system: signals, memory, and the threads of BLAS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from charrnn import runtime

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
NAMES = [name for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]


@pytest.fixture(autouse=True)
def handlers():
    before = {name: signal.getsignal(getattr(signal, name)) for name in NAMES}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_int_and_term_ask_to_stop(name):
    number = getattr(signal, name)
    with runtime.listening() as signals:
        signals.deferred = True
        assert signals.stop is None
        signal.raise_signal(number)
        assert signals.stop == number
        assert not signals.save


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_where_there_is_nothing_to_save_the_first_signal_ends(name):
    number = getattr(signal, name)
    with pytest.raises(SystemExit) as ended, runtime.listening():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number


@POSIX
def test_usr1_asks_to_save_as_often_as_it_comes():
    with runtime.listening() as signals:
        assert not signals.save
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert signals.save
            signals.save = False
        assert signals.stop is None


@pytest.mark.parametrize("name", NAMES)
def test_an_ignored_signal_stays_ignored(name):
    number = getattr(signal, name)
    signal.signal(number, signal.SIG_IGN)
    with runtime.listening() as signals:
        assert signal.getsignal(number) is signal.SIG_IGN
        signal.raise_signal(number)
        assert signals.stop is None
        assert not signals.save
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("name", NAMES)
def test_the_handlers_from_before_come_back(name):
    number = getattr(signal, name)
    caught = []
    signal.signal(number, lambda number, frame: caught.append(number))
    handler = signal.getsignal(number)
    with pytest.raises(KeyError), runtime.listening():
        assert signal.getsignal(number) is not handler
        raise KeyError
    assert signal.getsignal(number) is handler
    signal.raise_signal(number)
    assert caught == [number]


def python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip


@POSIX
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_asked_twice_the_process_ends_at_once(name, code):
    done = python(
        "import signal\nfrom charrnn import runtime\n"
        "with runtime.listening() as signals:\n    signals.deferred = True\n"
        f"    signal.raise_signal(signal.SIGINT)\n    print(signals.stop, flush=True)\n"
        f"    signal.raise_signal(signal.{name})\n    print('still here', flush=True)\n"
    )
    assert done.returncode == code
    assert done.stdout.split() == ["2"]
    assert done.stderr == ""


def test_blas_is_held_to_one_thread_before_it_starts():
    done = python(
        "import os, sys\nfrom charrnn import runtime\nassert 'numpy' not in sys.modules\n"
        "runtime.use_one_blas_thread()\n"
        "print(*(os.environ[variable] for variable in runtime.BLAS_VARIABLES))\n"
        "import numpy\nruntime.use_one_blas_thread()\n"
    )
    assert set(done.stdout.split()) == {"1"}
    assert "BLAS has already started" in done.stderr


def test_without_a_word_blas_takes_every_core(monkeypatch):
    for variable in runtime.BLAS_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert runtime.default_threads() == len(runtime.affinity()) >= 1


@pytest.mark.parametrize("variable", runtime.BLAS_VARIABLES)
@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("", None), ("many", None), ("²", None)])
def test_the_environment_has_a_word_on_the_threads(monkeypatch, variable, value, threads):
    for other in runtime.BLAS_VARIABLES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, value)
    assert runtime.default_threads() == (threads or len(runtime.affinity()))


def test_available_memory_is_a_number_of_bytes_or_unknown():
    available = runtime.available_memory()
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
def test_available_memory_is_what_the_system_and_its_control_group_leave(
    tmp_path, monkeypatch, files, available
):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(os, "sysconf", lambda name: 10**9)  # more than any of the limits
    monkeypatch.setattr(
        runtime, "Path", lambda path, name="": tmp_path / path.lstrip("/") / name
    )
    assert runtime.available_memory() == available
