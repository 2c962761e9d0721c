"""The operating system: signals, memory, and the threads of BLAS."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
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
        assert signals.stop is None
        signal.raise_signal(number)
        assert signals.stop == number
        assert not signals.save


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
        "with runtime.listening() as signals:\n"
        f"    signal.raise_signal(signal.SIGINT)\n    print(signals.stop, flush=True)\n"
        f"    signal.raise_signal(signal.{name})\n    print('still here', flush=True)\n"
    )
    assert done.returncode == code
    assert done.stdout.split() == ["2"]
    assert done.stderr == ""


def test_blas_is_told_its_threads_before_it_starts():
    done = python(
        "import os, sys\nfrom charrnn import runtime\nassert 'numpy' not in sys.modules\n"
        "runtime.use_threads(3)\n"
        "print(*(os.environ[variable] for variable in runtime.BLAS_VARIABLES))\n"
        "import numpy\nruntime.use_threads(2)\n"
    )
    assert set(done.stdout.split()) == {"3"}
    assert "BLAS has already started" in done.stderr


def test_without_a_word_blas_takes_every_core(monkeypatch):
    for variable in runtime.BLAS_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    assert runtime.default_threads() == runtime.cores() >= 1


@pytest.mark.parametrize("variable", runtime.BLAS_VARIABLES)
@pytest.mark.parametrize(("value", "threads"), [("3", 3), ("", None), ("many", None), ("²", None)])
def test_the_environment_has_a_word_on_the_threads(monkeypatch, variable, value, threads):
    for other in runtime.BLAS_VARIABLES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, value)
    assert runtime.default_threads() == (threads or runtime.cores())


def test_available_memory_is_a_number_of_bytes_or_unknown():
    available = runtime.available_memory()
    assert available is None or (type(available) is int and available > 0)


MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
V1 = "sys/fs/cgroup/memory/memory."


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({}, None),
        ({"proc/meminfo": MEMINFO}, 8_192_000_000),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "1000000\n",
          "sys/fs/cgroup/memory.current": "300000\n"}, 700_000),
        ({"proc/meminfo": MEMINFO, "sys/fs/cgroup/memory.max": "max\n",
          "sys/fs/cgroup/memory.current": "300000\n"}, 8_192_000_000),
        ({"proc/meminfo": MEMINFO, V1 + "limit_in_bytes": "1000000\n",
          V1 + "usage_in_bytes": "400000\n"}, 600_000),
        ({"proc/meminfo": MEMINFO, V1 + "limit_in_bytes": "9223372036854771712\n",
          V1 + "usage_in_bytes": "400000\n"}, 8_192_000_000),
        ({"sys/fs/cgroup/memory.max": "1000\n", "sys/fs/cgroup/memory.current": "2000\n"}, 0),
    ],
)  # fmt: skip
def test_available_memory_is_what_the_system_and_its_control_group_leave(
    tmp_path, monkeypatch, files, available
):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(runtime, "Path", lambda path: tmp_path / path.lstrip("/"))
    assert runtime.available_memory() == available


def npz(threads, compression=zipfile.ZIP_STORED, name="meta.npy"):
    text = json.dumps({"format": "charrnn", "threads": threads, "text": "x" * 300}).encode()
    buffer, member = io.BytesIO(), io.BytesIO()
    np.save(member, np.frombuffer(text, np.uint8))
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(zipfile.ZipInfo(name), member.getvalue(), compression)
    return buffer.getvalue()


@pytest.mark.parametrize("threads", [1, 3, 1024])
def test_the_threads_of_a_checkpoint_are_found(tmp_path, threads):
    (tmp_path / "a.npz").write_bytes(npz(threads))
    assert runtime.stored_threads(tmp_path / "a.npz") == threads


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**400, "3", 2.0, True, None, [1], {}])
def test_threads_that_no_run_had_are_none(tmp_path, threads):
    (tmp_path / "a.npz").write_bytes(npz(threads))
    assert runtime.stored_threads(tmp_path / "a.npz") is None


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", b"some text", b"PK\x05\x06" + bytes(18), npz(3, name="beta.npy"), bytes(5000),
     b"\x89HDF\r\n\x1a\n" + bytes(100)],
    ids=repr,
)  # fmt: skip
def test_a_file_that_is_no_checkpoint_has_no_threads(tmp_path, data):
    (tmp_path / "a.npz").write_bytes(data)
    assert runtime.stored_threads(tmp_path / "a.npz") is None


def test_a_file_that_is_not_there_has_no_threads(tmp_path):
    assert runtime.stored_threads(tmp_path / "missing.npz") is None
    assert runtime.stored_threads(tmp_path) is None


METHODS = pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)


@METHODS
def test_a_truncated_file_has_no_threads(tmp_path, method):
    data, path = npz(3, method), tmp_path / "a.npz"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert runtime.stored_threads(path) is None


@METHODS
def test_a_damaged_file_has_threads_or_none(tmp_path, method):
    data, path = bytearray(npz(3, method)), tmp_path / "a.npz"
    for at in range(len(data)):
        for mask in (1, 0x10, 0xFF):
            data[at] ^= mask
            path.write_bytes(data)
            data[at] ^= mask
            assert runtime.stored_threads(path) in (None, *range(1, 1025))
