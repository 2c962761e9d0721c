"""A lock beside each checkpoint: one run writes it at a time."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import LockedError, UsageError


def sibling(target: Path, ending: str) -> Path:
    """A hidden file beside ``target``: its lock, or what is to replace it."""
    return target.with_name(f".{target.name}.{ending}")


def check_writable(path: Path) -> None:
    """Raise UsageError where a checkpoint could not be written, without writing anything."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it with -o")
    folder = Path(os.path.realpath(path)).parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise UsageError(f"{path}: the folder {folder} cannot be written")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the right to write ``path``; the kernel takes it back when the process dies.

    Raises LockedError with the number of the process that has it, and UsageError, before
    anything is computed, where the folder cannot be written.
    """
    target = Path(os.path.realpath(path))
    lock = sibling(target, "lock")
    check_writable(path)
    is_new = not target.parent.exists()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = _open_locked(path, lock)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        with suppress(OSError):  # of a run that was killed while it wrote
            sibling(target, "tmp").unlink()
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
            if is_new:  # where nothing came of the run, nothing is left behind
                target.parent.rmdir()
        file.close()


def _open_locked(path: Path, lock: Path) -> BinaryIO:
    while True:
        file = open(lock, "a+b")  # noqa: SIM115 - kept open, and with it the lock
        if not acquire(file):
            file.seek(0)
            holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
            file.close()
            raise LockedError(
                f"{path} is locked: process {holder} is training it; "
                "wait for it, or choose another file with -o"
            )
        # Between opening and locking, its last holder may have removed it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(lock)):
                return file
        file.close()


if sys.platform == "win32":
    import msvcrt

    def acquire(file: BinaryIO) -> bool:
        """Whether the lock of an open file was free; it is held until that is closed."""
        file.seek(1 << 30)  # locked bytes cannot be read: far behind the process number
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def acquire(file: BinaryIO) -> bool:
        """Whether the lock of an open file was free; it is held until that is closed."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
