"""What is asked of ``train``, and what is refused: no file is lost, no run taken for another."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn import config
from charrnn.checkpoint import Checkpoint
from charrnn.config import Config
from charrnn.errors import UsageError
from charrnn.files import OWN, files_of

INHERITED = ("level", "hidden_size", "layers", "activation", "dtype")


@dataclass(frozen=True)
class Request:
    """What the command line asks of ``train``."""

    corpora: Sequence[str]
    path: Path  # of the checkpoint
    config: Config
    given: frozenset[str] = frozenset()  # settings that a file or an option named
    val: str | None = None
    init_from: Path | None = None
    overwrite: bool = False
    config_file: str | None = None
    default_threads: int = 1  # where neither the settings nor the run so far name a number
    cache: Path | None = None  # for large texts; by default the folder of the checkpoint


def keep_inputs(request: Request) -> None:
    """Raise UsageError where the checkpoint would replace what it is made from."""
    texts = files_of([*request.corpora, *([request.val] if request.val else [])])
    inputs = (*texts, request.init_from, request.config_file)
    for folder in map(Path, filter(os.path.isdir, request.corpora)):
        inside = folder.resolve() in request.path.resolve().parents
        if inside and request.path.suffix not in OWN:
            raise UsageError(f"{request.path} lies in {folder}, and the next run would read it as "
                             "a text: call it .npz, or put it elsewhere with -o")
    for source in inputs:
        both_exist = source and request.path.exists() and Path(source).exists()
        if both_exist and request.path.samefile(str(source)):
            raise UsageError(f"{source} would be replaced by the checkpoint: name another "
                             "file with -o")


def inherit(request: Request, ancestor: Checkpoint) -> Config:
    """The settings with the architecture of ``ancestor``."""
    for key in INHERITED:
        asked, has = getattr(request.config, key), ancestor.settings[key]
        if key in request.given and asked != has:
            raise UsageError(
                f"{request.init_from} has {key} {has}, not {asked}: --init-from takes the "
                f"architecture with the weights; leave out {config.option(key)}"
            )
    inherited: dict[str, Any] = {key: ancestor.settings[key] for key in INHERITED}
    settings = dataclasses.replace(request.config, **inherited)
    config.check_min_count(settings)
    return settings


def agree(
    request: Request, settings: Config, stored: Checkpoint, origin: dict[str, str | None]
) -> Config:
    """The settings of the run to continue, or UsageError where this is another run.

    A setting that nobody named then or now is as the version that wrote it resolved it.
    ``stored`` takes the settings that may change as they are now.
    """
    differences = []
    agreed: dict[str, Any] = {}
    for key in config.FIELDS:
        if key in config.MAY_CHANGE:
            continue
        asked, has = getattr(settings, key), stored.settings[key]
        if asked != has and (key in request.given or key in stored.changed):
            differences.append(f"{key} {has} there, {asked} now")
        agreed[key] = has
    for key, what in (("corpus", "the text"), ("val", "the validation text"),
                      ("init_from", "the checkpoint it began from")):
        if origin[key] != stored.origin[key]:
            differences.append(f"{what} is not the same")
    if differences:
        raise UsageError(
            f"{request.path} holds another run ({'; '.join(differences)}): "
            "give this one its own file with -o, or replace that one with --overwrite"
        )
    settings = dataclasses.replace(settings, **agreed)
    # What may change has changed; the rest is as it was, by default or not.
    asked = config.changed(settings)
    stored.settings = dataclasses.asdict(settings)
    stored.changed = [key for key in config.FIELDS if key in
                      (asked if key in config.MAY_CHANGE else stored.changed)]
    return settings
