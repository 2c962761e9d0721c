"""The choice of a checkpoint: that of an option, of the environment, or the newest one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from charrnn.api.lookup import find_checkpoint, newest_checkpoint
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
    path = find_checkpoint(path, source, advice)
    return newest_checkpoint(path) if os.path.isdir(path) else path
