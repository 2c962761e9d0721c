"""Find a checkpoint: by a name that may lack the ending or the folder, or the newest one."""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from charrnn.errors import UsageError

SEPARATORS = ("/", os.sep)  # either ends the name of a folder
SIMILAR = 0.75  # least similarity of names, as difflib measures it, for a hint


def find_checkpoint(name: str | Path, source: str = "", advice: str = "") -> Path:
    """The file that ``name`` means; folders and unreadable files are returned as they are.

    A name may lack the ending .npz and, if it has no folder of its own, the folder checkpoints/.
    A name that ends in a slash is always a folder. Raises UsageError if nothing is found, and if
    both a checkpoint and a folder of checkpoints have this name. The message starts with
    ``source``; if nothing is found, it ends with ``advice`` and a similar name.
    """
    name = str(name)
    path, is_folder = Path(name), name.endswith(SEPARATORS)
    if is_folder and not os.path.isdir(path):
        raise UsageError(f"{source}{name}: no such folder")
    found = None if is_folder else named_file(name, source)
    if found is not None:
        if os.path.isdir(path) and checkpoints_in(path):
            raise UsageError(f"{source}{name}: this could mean the folder {path}/ or the file "
                             f"{found}: name one of the two")
        return found
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{source}{name}: no such checkpoint"
                         f"{advice}{similar_checkpoint(name)}") from None
    except (OSError, ValueError):
        pass  # the loader reports it
    return path


def named_file(name: str, source: str = "") -> Path | None:
    """The file that a name means, unchanged or completed; None if there is none.

    ``source`` is the beginning of the messages: where the name comes from.
    """
    path, found = Path(name), list[Path]()
    files = [path, path.with_name(f"{path.name}.npz") if path.name else path]
    if is_bare(name):
        files += ["checkpoints" / file for file in files]
    for each in files:
        if os.path.exists(each) and not os.path.isdir(each):
            found.append(each)
        elif os.path.islink(each) and not os.path.exists(each) and not found:
            raise UsageError(f"{source}{each}: {dead_link(each)}")
    if found[1:] and found[0].suffix != ".npz" and not is_checkpoint(str(found[0])):
        raise UsageError(f"{source}{name}: it is not a checkpoint; did you mean {found[1]}?")
    return found[0] if found else None


def is_bare(name: str) -> bool:
    """Whether a name has no folder, so that checkpoints/ may be added to it."""
    return not any(separator in name for separator in SEPARATORS)


def similar_checkpoint(name: str) -> str:
    """A hint at a checkpoint with a similar name; empty if there is none."""
    import difflib  # needed only for a missing file

    path = Path(name)
    folders = [Path("checkpoints"), Path()] if is_bare(name) else [path.parent]
    found = {file.stem: file for folder in folders for _, file in checkpoints_in(folder)}
    close = (difflib.get_close_matches(path.name.removesuffix(".npz"), found, 1, SIMILAR)
             or difflib.get_close_matches(path.stem, found, 1, SIMILAR))
    return f"; did you mean {shlex.quote(str(found[close[0]]))}?" if close else ""


def dead_link(path: Path) -> str:
    """A link whose target does not exist, as messages describe it."""
    return f"a link to a file that does not exist ({os.readlink(path)})"


def newest_checkpoint(folder: Path = Path("checkpoints")) -> Path:
    """The most recently written checkpoint in a folder.

    Raises UsageError if there is none, and if the newest is a link whose target does not exist:
    any other checkpoint is probably not the one that the user means.
    """
    found = checkpoints_in(folder)
    if not found:
        raise UsageError(f"there is no checkpoint in {folder}/: train one, or name one with -m")
    newest = max(found)[1]
    if not os.path.exists(newest):
        raise UsageError(f"{newest}, the newest checkpoint, is {dead_link(newest)}: name a "
                         "checkpoint with -m")
    return newest


def checkpoints_in(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints in a folder, recognized by their names, with the times of their last changes.

    Includes links whose targets do not exist, but no hidden files: some programs put one next to
    each file.
    """
    found = []
    for path in folder.glob("[!.]*.npz"):
        with suppress(OSError):
            about = path.stat() if os.path.exists(path) else path.lstat()
            if stat.S_ISREG(about.st_mode) or stat.S_ISLNK(about.st_mode):
                found.append((about.st_mtime_ns, path))
    return found


def is_checkpoint(path: str) -> bool:
    """Whether a file begins as checkpoints of charrnn do; False if it cannot be read."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError:
        return False
    return start.startswith(b"PK") and b"meta.npy" in start
