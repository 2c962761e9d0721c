"""The lock of a checkpoint: one process at a time may write it, and a killed one releases it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
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


def test_a_lock_refuses_another_process_and_names_its_holder(path):
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
def test_a_lock_is_released_when_its_holder_is_killed(path):
    with start_python(HOLD, path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        named = pytest.raises(LockedError, match=f"process {os.getpid()} ")
        with locked(path), named, locked(path):
            raise AssertionError
    assert folder_of(path) == []


def test_a_lock_is_released_after_an_error(path):
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


def test_only_one_of_many_contenders_holds_a_lock(path):
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


def test_the_temporary_file_of_a_killed_run_is_removed(path, monkeypatch):
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


@POSIX
@pytest.mark.parametrize("content", [b"", b"123", b"12345678901234567890"])
def test_the_lock_of_a_killed_run_is_replaced_and_not_written_to(path, content):
    left = path.with_name(".run.npz.lock")
    left.write_bytes(content)
    with open(left, "rb") as before:
        with locked(path):
            assert left.read_text() == str(os.getpid())
        assert before.read() == content
    assert folder_of(path) == []


CONTENTS = (b"precious", b"1 2", b"123\n", b"\x1b[2J", "１２".encode(), b"9" * 21, bytes(1 << 20))


@POSIX
@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_a_file_that_is_not_a_lock_is_kept_and_the_run_is_refused(path, content):
    other = path.with_name(".run.npz.lock")
    other.write_bytes(content)
    with pytest.raises(UsageError, match=r"\.run\.npz\.lock .*; remove it, or") as caught:
        lock(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    assert other.read_bytes() == content
    assert folder_of(path) == [other.name]


@POSIX
@pytest.mark.parametrize("number", [b"", b"12"])
@pytest.mark.parametrize("how", ["link", "dangling", "circle", "hard link", "FIFO", "folder",
                                 "link to a folder", "link to a device"])
def test_a_planted_lock_is_refused_and_its_target_is_unchanged(
    tmp_path, path, how, number
):
    elsewhere, name = tmp_path / "elsewhere", path.with_name(".run.npz.lock")
    elsewhere.mkdir()
    keep = elsewhere / "keep"
    keep.write_bytes(number)
    {"link": lambda: name.symlink_to(keep),
     "dangling": lambda: name.symlink_to(elsewhere / "missing"),
     "circle": lambda: name.symlink_to(name),
     "hard link": lambda: os.link(keep, name),
     "FIFO": lambda: os.mkfifo(name),
     "folder": name.mkdir,
     "link to a folder": lambda: name.symlink_to(elsewhere),
     "link to a device": lambda: name.symlink_to("/dev/zero")}[how]()
    with pytest.raises(UsageError, match="remove it"):
        lock(path)
    assert os.path.lexists(name)
    assert os.listdir(elsewhere) == ["keep"] and keep.read_bytes() == number


@POSIX
@pytest.mark.parametrize("how", ["link", "hard link", "FIFO"])
def test_a_planted_temporary_file_is_removed_and_its_target_is_unchanged(tmp_path, path, how):
    keep, name = tmp_path / "keep", path.with_name(".run.npz.tmp")
    keep.write_bytes(b"precious")
    {"link": lambda: name.symlink_to(keep), "hard link": lambda: os.link(keep, name),
     "FIFO": lambda: os.mkfifo(name)}[how]()
    lock(path)
    assert folder_of(path) == ["keep"] and keep.read_bytes() == b"precious"


def test_a_folder_with_the_name_of_the_temporary_file_is_reported_before_training(path):
    path.with_name(".run.npz.tmp").mkdir()
    with pytest.raises(UsageError, match=r"\.run\.npz\.tmp is in the way .*: remove it"):
        lock(path)
    assert folder_of(path) == [".run.npz.tmp"]


def test_a_lock_that_was_replaced_is_not_removed(path):
    with locked(path):
        path.with_name(".run.npz.lock").unlink()
        with locked(path):
            own = path.with_name(".run.npz.lock")
            os.rename(own, own.with_name("other"))
            own.write_text("12")
    assert folder_of(path) == [".run.npz.lock", "other"]


@pytest.fixture
def shared():
    """A folder that every user can write, and a function that makes this process another user."""
    if getattr(os, "geteuid", lambda: 1)() != 0:
        pytest.skip("only root can be two users")
    folder = Path(tempfile.mkdtemp())
    yield folder
    os.seteuid(0)
    shutil.rmtree(folder)


@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_the_lock_of_another_user_is_respected_and_a_stale_one_is_named(shared, mode):
    path = shared / "run.npz"
    shared.chmod(mode)
    with start_python(HOLD, path) as holder:
        os.seteuid(65534)
        with pytest.raises(LockedError, match=f"process {holder.pid} "):
            lock(path)
        os.seteuid(0)
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    os.seteuid(65534)
    if mode & 0o1000:
        with pytest.raises(UsageError, match=r"\.run\.npz\.lock is in the way .*: remove it"):
            lock(path)
    else:
        lock(path)
        assert folder_of(path) == []


def test_locking_creates_the_folder(tmp_path):
    with locked(tmp_path / "a" / "b" / "run.npz"):
        assert (tmp_path / "a" / "b").is_dir()


GUARDS = pytest.mark.parametrize("guard", [lock, check_writable])


@GUARDS
def test_a_folder_is_refused_as_a_checkpoint(tmp_path, guard):
    with pytest.raises(UsageError, match="is a folder") as caught:
        guard(tmp_path)
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@GUARDS
def test_a_path_below_a_file_is_refused(path, guard):
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


ODD = ("/", ".", "..", "", "missing/../x.npz", "missing/../../x.npz", "missing/../new/x.npz",
       "x" * 300, "y" * 250, "/".join(["z" * 200] * 30), "circle", "circle/x.npz", "fifo",
       "/dev/null")


@POSIX
@GUARDS
@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_a_path_that_cannot_name_a_file_is_a_usage_error(tmp_path, monkeypatch, guard, name):
    monkeypatch.chdir(tmp_path)
    Path("circle").symlink_to("circle")
    os.mkfifo("fifo")
    with pytest.raises(UsageError) as caught:
        guard(Path(name))
    assert "with -o" in str(caught.value) or "cannot be written" in str(caught.value)
    assert folder_of(tmp_path / "x") == ["circle", "fifo"]


@GUARDS
@pytest.mark.parametrize("name", ["there/../x.npz", "there/../new/x.npz", "new/deep/x.npz",
                                  "there/../../HERE/x.npz"])
def test_a_path_through_existing_folders_can_be_written(
    tmp_path, monkeypatch, guard, name
):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    guard(Path(name.replace("HERE", tmp_path.name)))


@POSIX
def test_a_refused_lock_leaves_no_new_folder(tmp_path):
    with pytest.raises(UsageError, match="name too long"):
        lock(tmp_path / "new" / ("y" * 250))
    assert list(tmp_path.iterdir()) == []


def test_check_writable_writes_nothing(tmp_path):
    check_writable(tmp_path / "run.npz")
    check_writable(tmp_path / "a" / "b" / "run.npz")
    assert list(tmp_path.iterdir()) == []
