"""The lock of a checkpoint: one process at a time may write it, and a dead one leaves no trace."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from interpreter import start_python

from charrnn.errors import LockedError, UsageError
from charrnn.storage import archive
from charrnn.system.lock import check_writable, locked

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


def folder_of(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def lock(path):
    with locked(path):
        pass


HOLD = """import sys
from pathlib import Path
from charrnn.system.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_out_another_process_and_names_its_holder(path):
    with start_python(HOLD, path) as holder:
        for _ in range(2):
            named = pytest.raises(LockedError, match=f"process {holder.pid} ")
            with named as caught, locked(path):
                raise AssertionError
            assert caught.value.exit_code == 1
        lock(path.with_name("other.npz"))
    assert holder.returncode == 0
    assert folder_of(path) == []
    lock(path)
    assert folder_of(path) == []


@POSIX
def test_a_lock_is_free_when_its_holder_was_killed(path):
    with start_python(HOLD, path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        named = pytest.raises(LockedError, match=f"process {os.getpid()} ")
        with locked(path), named, locked(path):
            raise AssertionError
    assert folder_of(path) == []


def test_a_lock_is_free_after_an_error(path):
    with pytest.raises(KeyError), locked(path):
        raise KeyError
    lock(path)
    assert folder_of(path) == []


@POSIX
def test_a_link_and_its_target_are_locked_together(tmp_path):
    link = tmp_path / "link.npz"
    link.symlink_to("target.npz")
    target = tmp_path / "target.npz"
    with locked(link), pytest.raises(LockedError), locked(target):
        raise AssertionError


def test_of_many_who_want_a_lock_one_has_it(path):
    inside, entered, wrong = [], [], []
    end = time.perf_counter() + 0.5

    def contend():
        while time.perf_counter() < end:
            with contextlib.suppress(LockedError), locked(path):
                inside.append(1)
                if len(inside) > 1:
                    wrong.append(1)
                entered.append(1)
                time.sleep(0)
                inside.pop()

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) > 1
    assert not wrong
    assert folder_of(path) == []


def test_the_temporary_of_a_run_that_was_killed_is_swept(path, monkeypatch):
    names = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (names.append(Path(a)), replace(a, b)))
    archive.write(path, {"meta": np.zeros(1, np.uint8)})
    (temporary,) = names
    assert temporary.parent == path.parent
    temporary.write_bytes(b"half")
    with locked(path):
        assert not temporary.exists()
        assert path.exists()


def test_a_lock_makes_the_folder(tmp_path):
    with locked(tmp_path / "a" / "b" / "run.npz"):
        assert (tmp_path / "a" / "b").is_dir()


GUARDS = pytest.mark.parametrize("guard", [lock, check_writable])


@GUARDS
def test_a_folder_is_no_file_to_write(tmp_path, guard):
    with pytest.raises(UsageError, match="is a folder") as caught:
        guard(tmp_path)
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@GUARDS
def test_there_is_no_writing_below_a_file(path, guard):
    path.touch()
    with pytest.raises(UsageError, match=r"x\.npz"):
        guard(path / "x.npz")


@POSIX
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write anywhere")
@GUARDS
@pytest.mark.parametrize("name", ["run.npz", "a/b/run.npz"])
def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path, guard, name):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match=r"run\.npz"):
            guard(tmp_path / name)
    finally:
        tmp_path.chmod(0o700)


def test_looking_whether_a_file_can_be_written_writes_nothing(tmp_path):
    check_writable(tmp_path / "run.npz")
    check_writable(tmp_path / "a" / "b" / "run.npz")
    assert list(tmp_path.iterdir()) == []
