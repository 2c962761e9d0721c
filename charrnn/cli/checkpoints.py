"""The choice of a checkpoint: that of an option, of the environment, or the newest one."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from charrnn.config.parsing import nearest
from charrnn.errors import UsageError


class CheckpointName(click.Path):
    """The name of a checkpoint; an empty one, as from an unset shell variable, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)


def checkpoint_option(command: Any) -> Any:
    return click.option(
        "-m", "--checkpoint", type=CheckpointName(path_type=Path), metavar="FILE",
        help="The model's checkpoint; checkpoints/ and .npz may be omitted.  [default: "
        "$CHARRNN_CHECKPOINT, else the newest in checkpoints/]",
    )(command)


def checkpoint_argument(command: Any) -> Any:
    return click.argument("named", nargs=-1, type=CheckpointName(path_type=Path),
                          metavar="[FILE]")(command)


def choose_checkpoint(*given: Path | None, advice: str = "") -> Path:
    """The checkpoint that is given, else that of the environment, else the newest one.

    A name may lack the ending .npz, the folder checkpoints/ or both. A folder means the newest
    checkpoint in it. Raises UsageError if there is none, with ``advice`` at the end.
    """
    paths = [path for path in given if path is not None]
    if len(paths) > 1:
        raise UsageError(f"name one checkpoint, not {len(paths)}: "
                         f"{' '.join(map(str, paths))}{advice}")
    variable, source = os.environ.get("CHARRNN_CHECKPOINT"), ""
    if paths:
        path = paths[0]
    elif variable:
        path, source = Path(variable), "$CHARRNN_CHECKPOINT names "
    else:
        return newest_checkpoint()
    ending = path.with_name(f"{path.name}.npz") if path.name else path
    for each in (path, ending, "checkpoints" / path, "checkpoints" / ending):
        if os.path.exists(each) and not os.path.isdir(each):
            return each
        if os.path.islink(each) and not os.path.exists(each):
            raise UsageError(f"{source}{each}: {dead_link(each)}")
    if os.path.isdir(path):
        return newest_checkpoint(path)
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
