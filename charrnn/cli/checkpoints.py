"""The choice of a checkpoint: that of an option, of the environment, or the newest one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from charrnn.api.lookup import SEPARATORS, find_checkpoint, named_file, newest_checkpoint
from charrnn.cli.options import FileName
from charrnn.errors import UsageError


def checkpoint_option(more: str = "") -> Callable[[Any], Any]:
    """-m, which may be repeated; a command that needs one checkpoint refuses several."""
    return click.option(
        "-m", "--checkpoint", "checkpoints", type=FileName(), metavar="FILE", multiple=True,
        help="The model's checkpoint, or a folder, to use the newest one in it; checkpoints/ and "
        f".npz may be omitted.{more}  [default: $CHARRNN_CHECKPOINT, else the newest in "
        "checkpoints/]",
    )


def averaged_checkpoints_option(command: Any) -> Any:
    return checkpoint_option(
        " If given several times, the probabilities of the models are averaged.")(command)


def checkpoint_argument(command: Any) -> Any:
    return click.argument("named", nargs=-1, type=FileName(), metavar="[FILE]")(command)


def choose_checkpoint(*given: str | None, advice: str = "") -> Path:
    """The checkpoint that is given, else that of the environment, else the newest one.

    ``find_checkpoint`` describes the names; a folder means the newest checkpoint in it.
    Raises UsageError if there is no such checkpoint, with ``advice`` at the end.
    """
    names = [name for name in given if name is not None]
    if len(names) > 1:
        raise UsageError(f"name one checkpoint, not {len(names)}: "
                         f"{' '.join(names)}{advice}")
    variable, source = os.environ.get("CHARRNN_CHECKPOINT"), ""
    if names:
        name = names[0]
    elif variable:
        name, source = variable, "$CHARRNN_CHECKPOINT names "
    else:
        return newest_checkpoint()
    path = find_checkpoint(name, source, advice)
    return newest_checkpoint(path) if os.path.isdir(path) else path


def choose_checkpoints(given: Sequence[str], *named: str, advice: str = "") -> list[Path]:
    """``choose_checkpoint`` for an option that may be given several times."""
    if named or len(given) < 2:
        return [choose_checkpoint(*given, *named, advice=advice)]
    return [choose_checkpoint(name) for name in given]


def file_of_option(option: str, name: str) -> Path:
    """The checkpoint that ``option`` names, which may not be a folder.

    The newest checkpoint in a folder may be a different one next time, especially if the command
    itself writes one there.
    """
    if os.path.isdir(name) and (name.endswith(SEPARATORS) or named_file(name) is None):
        raise UsageError(f"{option} {name}: it is a folder; name one of its checkpoints")
    return choose_checkpoint(name)
