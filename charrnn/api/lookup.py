"""Checkpoints by name: where the ending or the folder may be left out, and the newest one."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from charrnn.config.parsing import nearest
from charrnn.errors import UsageError


def find_checkpoint(path: Path, source: str = "", advice: str = "") -> Path:
    """The file that ``path`` names; it may lack the ending .npz, the folder checkpoints/ or both.

    A folder and what cannot be read are returned as they are. Raises UsageError if there is
    nothing, with ``source`` at the beginning and a similar name or ``advice`` at the end.
    """
    ending = path.with_name(f"{path.name}.npz") if path.name else path
    for each in (path, ending, "checkpoints" / path, "checkpoints" / ending):
        if os.path.exists(each) and not os.path.isdir(each):
            return each
        if os.path.islink(each) and not os.path.exists(each):
            raise UsageError(f"{source}{each}: it is {dead_link(each)}")
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        found = {file.name for folder in ("checkpoints", path.parent)
                 for file in Path(folder).glob("*.npz")}
        similar = nearest(ending.name, found)
        raise UsageError(f"{source}{path}: no such checkpoint{similar or advice}") from None
    except (OSError, ValueError):
        pass  # the loader reports it
    return path


def dead_link(path: Path) -> str:
    """How a message names a link whose target does not exist."""
    return f"a link to a file that does not exist ({os.readlink(path)})"


def newest_checkpoint(folder: Path = Path("checkpoints")) -> Path:
    """The checkpoint in a folder that was written last.

    Raises UsageError if there is none, and if the newest is a link whose target does not exist:
    another checkpoint is probably not the one that is wanted.
    """
    found = []
    for path in folder.glob("*.npz"):
        with suppress(OSError):
            about = path.stat() if os.path.exists(path) else path.lstat()
            if stat.S_ISREG(about.st_mode) or stat.S_ISLNK(about.st_mode):
                found.append((about.st_mtime_ns, path))
    if not found:
        raise UsageError(f"there is no checkpoint in {folder}/: train one, or name one with -m")
    newest = max(found)[1]
    if not os.path.exists(newest):
        raise UsageError(f"{newest}, the newest checkpoint, is {dead_link(newest)}: name a "
                         "checkpoint with -m")
    return newest
