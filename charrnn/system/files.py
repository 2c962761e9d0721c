"""Open and replace files safely: never follow a planted link, never block on a FIFO.

Other users may be able to write to a folder, and its contents may be untrusted. Files with
predictable names are therefore created exclusively, which follows no link, and existing files
are opened only if they are regular files. In a folder with the sticky bit, others cannot rename
or remove the files that charrnn creates. In a folder without it, others can replace any file,
including the checkpoint, but no link of theirs makes charrnn write to another place.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import CharrnnError

# A system that does not define one of these flags does not need it.
NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)


class NotRegularError(OSError):
    """A path does not name a regular file; ``strerror`` states what it names."""


def sibling(target: Path, ending: str) -> Path:
    """The path of a hidden file next to ``target``: its lock, or its temporary file."""
    return target.with_name(f".{target.name}.{ending}")


def open_regular(path: Path, *, write: bool = False, follow: bool = False) -> BinaryIO:
    """Open a file for reading, or with ``write`` for reading and writing.

    Raises IsADirectoryError for a folder; NotRegularError for a FIFO, a device, or, without
    ``follow``, a symbolic link; other OSErrors as ``open`` does.
    """
    flags = (os.O_RDWR if write else os.O_RDONLY) | NO_WAITING | (0 if follow else NO_LINK)

    def opener(name: str, _: int) -> int:
        if not follow and os.path.islink(name):  # the errno of O_NOFOLLOW depends on the system
            raise NotRegularError(errno.ELOOP, "it is a link", name)
        descriptor = os.open(name, flags)
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISREG(kind):
            return descriptor
        os.close(descriptor)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        raise NotRegularError(errno.EINVAL, "it is not a regular file", name)

    return open(path, "r+b", opener=opener) if write else open(path, "rb", opener=opener)


def permissions(files: Sequence[str], folder: Path) -> int:
    """The mode of a new file in ``folder`` that only those who may read all ``files`` can access.

    Its owner can always read and write it. ``-`` is standard input. If the permissions of a
    file are unknown, because it does not exist for example, only the owner has access.
    """
    mode, about = 0o666, os.stat(folder)
    group = about.st_gid  # of the new file; on Linux only if the folder has the setgid bit
    if hasattr(os, "getegid") and not about.st_mode & stat.S_ISGID:
        group = os.getegid()
    for path in files:
        try:
            about = os.fstat(sys.stdin.fileno()) if path == "-" else os.stat(path)
        except (OSError, ValueError, AttributeError):
            return 0o600
        others = about.st_mode & 0o006
        mode &= about.st_mode if about.st_gid == group else others << 3 | others
    return mode | 0o600


@contextmanager
def replacing(path: Path, what: str, ending: str = "tmp") -> Iterator[BinaryIO]:
    """Atomically replace ``path`` with the file that the body of the ``with`` writes.

    After a crash, ``path`` is either the old file or the new one. A symbolic link is kept and
    its target is replaced; the mode is 0666 less the umask. If the system reports an error, raises
    CharrnnError, in which ``what`` names the file, and keeps the old file. No temporary file is
    left after any exception. Concurrent writers of one path need different ``ending``s.
    """
    target = Path(os.path.realpath(path))
    temporary = sibling(target, ending)  # in the same folder: a rename moves no data
    replaced = False
    try:
        temporary.unlink(missing_ok=True)  # removes a link, not its target
        with open(temporary, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        replaced = True
        if os.name == "posix":  # the rename must reach the disk too
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        kept = "; the old file is kept" if target.exists() and not replaced else ""
        raise CharrnnError(
            f"{path}: {what} cannot be written: {error.strerror or error}{kept}"
        ) from None
    finally:
        if not replaced:
            with suppress(OSError):
                temporary.unlink()
