"""A lock file next to each checkpoint, so that only one run at a time writes it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import LockedError, UsageError
from charrnn.system.files import open_regular, sibling

DIGITS = 20  # most digits of a process number


def check_writable(path: Path) -> None:
    """Raise UsageError if ``path`` cannot be written or replaced; writes nothing itself."""
    try:
        target = Path(os.path.realpath(path))
        kind = target.lstat().st_mode if os.path.lexists(target) else None
        if kind is not None and stat.S_ISDIR(kind):
            raise UsageError(f"{path} is a folder; name a file in it with -o")
        if kind is not None and not stat.S_ISREG(kind):  # a FIFO, a device, a link to itself
            raise UsageError(f"{path} is not a regular file; name another file with -o")
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
        # ``..`` after a missing folder: realpath and the file system disagree about its meaning.
        if ".." in path.parent.relative_to(folder).parts:
            raise UsageError(f"{path}: there is no folder {path.parent}; name another file with -o")
        folder = target.parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise UsageError(f"{path}: the folder {folder} cannot be written")
        with suppress(FileNotFoundError):  # this is the longest name that is needed
            sibling(target, "lock").lstat()
    except OSError as error:
        raise _unwritable(path, error) from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on ``path`` during the ``with``; the kernel releases it if the process dies.

    Raises LockedError, with the number of the process that holds it, if another process does.
    Raises UsageError if the folder cannot be written or a needed file name is taken.
    """
    check_writable(path)
    target = Path(os.path.realpath(path))
    is_new = not target.parent.exists()
    lock, file = sibling(target, "lock"), None
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = _open_locked(path, lock)
            file.write(str(os.getpid()).encode())
            file.flush()
            _remove(sibling(target, "tmp"))
        except OSError as error:
            raise _unwritable(path, error) from None
        yield
    finally:
        with suppress(OSError):
            if file is not None and _is_at(lock, file):
                lock.unlink()
            if is_new:  # removes the folder if the run left nothing in it
                target.parent.rmdir()
        if file is not None:
            file.close()


def _open_locked(path: Path, lock: Path) -> BinaryIO:
    """Create the lock file and lock it. It is always a new file: no existing one is written to."""
    file: BinaryIO
    while True:
        try:
            file, is_new = open(lock, "x+b"), True  # noqa: SIM115 - open as long as it is locked
        except FileExistsError:
            try:
                file, is_new = _open_existing(lock), False
            except FileNotFoundError:
                continue  # the other process has just removed it
        with ExitStack() as stack:
            stack.enter_context(file)
            if not acquire(file):
                file.seek(0)
                holder = file.read(DIGITS).decode("ascii", "replace") or "unknown"
                raise LockedError(
                    f"{path} is locked: process {holder} is training it; "
                    "wait for it, or choose another file with -o"
                )
            # The other process may have removed it between opening and locking here.
            if _is_at(lock, file):
                if is_new:
                    stack.pop_all()
                    return file
                _remove(lock)  # left by a run that was killed


def _open_existing(lock: Path) -> BinaryIO:
    """Open the lock file of another run; UsageError if it is not one that charrnn created."""
    try:
        try:
            file = open_regular(lock, write=True)
        except PermissionError:  # another user's: reading suffices to see whether it is locked
            file = open_regular(lock)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _not_a_lock(lock, error.strerror) from None
    content = file.read(DIGITS + 1)
    if os.fstat(file.fileno()).st_nlink > 1:
        why = "it is a hard link"
    elif len(content) > DIGITS or content.strip(b"0123456789"):
        why = "it holds something other than a process number"
    else:
        return file
    file.close()
    raise _not_a_lock(lock, why)


def _not_a_lock(lock: Path, why: str | None) -> UsageError:
    return UsageError(f"{lock} is not a lock that charrnn can use: {why}; remove it, or choose "
                      "another file with -o")


def _is_at(lock: Path, file: BinaryIO) -> bool:
    """Whether the open file is still the one at the path of the lock."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(lock))
    return False


def _remove(path: Path) -> None:
    """Remove the file that a killed run left; UsageError if that is not possible."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{path} is in the way and cannot be removed ({error.strerror}): remove "
                         "it, or choose another file with -o") from None


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: cannot be written: {error.strerror or error}; choose another "
                      "file with -o")


if sys.platform == "win32":
    import msvcrt

    def acquire(file: BinaryIO) -> bool:
        """Try to lock an open file until it is closed; returns whether the lock was free."""
        file.seek(1 << 30)  # locked bytes cannot be read, so lock one far after the process number
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def acquire(file: BinaryIO) -> bool:
        """Try to lock an open file until it is closed; returns whether the lock was free."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
