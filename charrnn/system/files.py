"""Files opened and replaced with care: no link is followed and no FIFO waited for.

A folder may be written by others, or come from a stranger. What charrnn makes there under a name
that can be guessed is created exclusively, and the system then follows no link; what it finds
there is opened as a regular file or not at all. In a folder with the sticky bit nobody else can
rename or remove what charrnn made. In one without, others can replace any file, the checkpoint
too, but none of their links makes charrnn write to another place.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import CharrnnError

# What an operating system lacks of these it does not need.
NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)


class NotRegularError(OSError):
    """What is there under a name is no regular file; ``strerror`` says what it is."""


def sibling(target: Path, ending: str) -> Path:
    """A hidden file beside ``target``: its lock, or what is to replace it."""
    return target.with_name(f".{target.name}.{ending}")


def open_regular(path: Path, *, write: bool = False, follow: bool = False) -> BinaryIO:
    """Open a file to read it, or to ``write``, too; a link only to ``follow`` it.

    Raises IsADirectoryError for a folder and NotRegularError for a FIFO, a device, a link.
    """
    if not follow and path.is_symlink():  # O_NOFOLLOW would report it by various numbers
        raise NotRegularError(errno.ELOOP, "it is a link", str(path))
    flags = (os.O_RDWR if write else os.O_RDONLY) | NO_WAITING | (0 if follow else NO_LINK)
    descriptor = os.open(path, flags)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(kind):
            raise NotRegularError(errno.EINVAL, "it is no regular file", str(path))
        return open(descriptor, "r+b") if write else open(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


@contextmanager
def replacing(path: Path, what: str, ending: str = "tmp") -> Iterator[BinaryIO]:
    """Give the body of the ``with`` a file to write, which then replaces ``path``.

    After a crash the old file is there, or the new one, and never a part of one. A symbolic link
    stays and its target is replaced; the mode is what umask leaves. Raises CharrnnError, with the
    old file in place, when the system refuses; whatever is raised, no temporary is left. Of those
    who write one path at once each needs an ``ending`` of its own.
    """
    target = Path(os.path.realpath(path))
    temporary = sibling(target, ending)  # in the same folder: a rename moves no data
    replaced = False
    try:
        temporary.unlink(missing_ok=True)  # the link, if it is one, and not its target
        with open(temporary, "x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        replaced = True
        if os.name == "posix":  # the new name, too, has to reach the disk
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        kept = "; the one from before is kept" if target.exists() and not replaced else ""
        raise CharrnnError(
            f"{path}: {what} cannot be written: {error.strerror or error}{kept}"
        ) from None
    finally:
        if not replaced:
            with suppress(OSError):
                temporary.unlink()
