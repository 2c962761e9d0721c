"""What a run takes over from a checkpoint, and which checkpoints are refused."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config.parsing import check_bytes
from charrnn.config.settings import FIELDS, MAY_CHANGE, Config, changed, option_name
from charrnn.errors import CheckpointError, UsageError
from charrnn.nn.parameters import Parameters
from charrnn.storage.checkpoint import Checkpoint
from charrnn.text.corpus import Text
from charrnn.text.files import OWN, files_of
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.run import Request

INHERITED = ("level", "hidden_size", "layers", "activation", "dtype")


def check_inputs_survive(request: Request) -> None:
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


def inherit_architecture(request: Request, init_from: Checkpoint) -> Config:
    """The settings of ``request`` with the architecture of the checkpoint it starts from."""
    for key in INHERITED:
        asked, has = getattr(request.config, key), init_from.settings[key]
        if key in request.given and asked != has:
            raise UsageError(
                f"{request.init_from} has {key} {has}, not {asked}: --init-from takes the "
                f"architecture with the weights; leave out {option_name(key)}"
            )
    inherited: dict[str, Any] = {key: init_from.settings[key] for key in INHERITED}
    config = dataclasses.replace(request.config, **inherited)
    check_bytes(config)
    return config


def inherit_weights(params: Parameters, vocabulary: Vocabulary, init_from: Checkpoint) -> None:
    """Give ``params`` the best weights of ``init_from``; new characters keep their new rows."""
    rows = vocabulary.lookup(init_from.vocabulary.codes)
    for name, old in init_from.best.named.items():
        new = params.named[name]
        if name == "W_xh0" or name == "b_y":
            new[rows] = old
        elif name == "W_hy":
            new[:, rows] = old
        else:
            new[:] = old


def digest_of_documents(texts: Sequence[Text]) -> str:
    """SHA-256 of the positions at which files begin inside the texts, counted on from one to the
    next: what the bytes of the texts do not tell, and matters where borders reset the state."""
    positions, before = [], 0
    for text in texts:
        begins = np.unique(np.array(text.begins, "<i8"))
        positions.append(begins[(begins > 0) & (begins < len(text))] + before)
        before += len(text)
    return hashlib.sha256(np.concatenate(positions).tobytes()).hexdigest()


def resume_settings(
    request: Request, config: Config, checkpoint: Checkpoint, origin: dict[str, str | None],
    documents: str,
) -> Config:
    """The settings with which ``checkpoint`` resumes, or UsageError where it is another run's.

    A setting named neither then nor now keeps its value, even if its default has changed since.
    ``checkpoint`` takes over the settings that may change, and the digest of ``documents`` where
    it is of a time when there was none.
    """
    differences = []
    kept: dict[str, Any] = {}
    for key in [key for key in FIELDS if key not in MAY_CHANGE]:
        asked, has = getattr(config, key), checkpoint.settings[key]
        if asked != has and (key in request.given or key in checkpoint.changed):
            differences.append(f"{key} {has} there, {asked} now")
        kept[key] = has
    for key, what in (("corpus", "the text"), ("val", "the validation text"),
                      ("init_from", "the checkpoint it began from")):
        if origin[key] != checkpoint.origin[key]:
            differences.append(f"{what} is not the same")
    reset = kept["borders"] == "reset" and checkpoint.documents is not None
    if reset and origin == checkpoint.origin and documents != checkpoint.documents:
        differences.append("the same text is divided into files differently")
    if differences:
        raise UsageError(
            f"{request.path} holds another run ({'; '.join(differences)}): "
            "give this one its own file with -o, or replace that one with --overwrite"
        )
    config = dataclasses.replace(config, **kept)
    checkpoint.documents = documents if config.borders == "reset" else None
    checkpoint.settings = dataclasses.asdict(config)
    now = changed(config)
    checkpoint.changed = [key for key in FIELDS if key in
                          (now if key in MAY_CHANGE else checkpoint.changed)]
    return config


def check_fits(path: Path, checkpoint: Checkpoint, vocabulary: Vocabulary, B: int) -> None:
    """Raise CheckpointError where a file says that it is of this run, and its arrays are not."""
    misfits = []
    if not np.array_equal(checkpoint.vocabulary.codes, vocabulary.codes):
        misfits.append(f"its {len(checkpoint.vocabulary):,} symbols are not the "
                       f"{len(vocabulary):,} of the text")
    if len(checkpoint.state) != B:
        misfits.append(f"it has the state of {len(checkpoint.state):,} sequences, not of {B:,}")
    if misfits:
        raise CheckpointError(f"{path} does not fit this run, and was not written by it: "
                              f"{' and '.join(misfits)}; replace it with --overwrite")
