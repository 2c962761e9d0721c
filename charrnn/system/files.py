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
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from charrnn.errors import CharrnnError

# What an operating system lacks of these it does not need.
NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)


class NotRegularError(OSError):
    """What is there under a name is not a regular file; ``strerror`` says what it is."""


def sibling(target: Path, ending: str) -> Path:
    """A hidden file beside ``target``: its lock, or what is to replace it."""
    return target.with_name(f".{target.name}.{ending}")


def open_regular(path: Path, *, write: bool = False, follow: bool = False) -> BinaryIO:
    """Open a file to read it, or to ``write``, too; a link only to ``follow`` it.

    Raises IsADirectoryError for a folder and NotRegularError for a FIFO, a device, a link.
    """
    flags = (os.O_RDWR if write else os.O_RDONLY) | NO_WAITING | (0 if follow else NO_LINK)

    def opener(name: str, _: int) -> int:
        if not follow and os.path.islink(name):  # O_NOFOLLOW would report it by various numbers
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
    """The mode of a new file in ``folder`` for its owner and whoever may read all of ``files``.

    ``-`` is standard input; of what is not there it is not known who may.
    """
    mode, about = 0o666, os.stat(folder)
    group = about.st_gid  # of the new file: on Linux only in a folder that hands on its own
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
