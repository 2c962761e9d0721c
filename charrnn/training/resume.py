"""What a run takes over from a checkpoint, and which checkpoints it refuses."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.config.parsing import check_consistent
from charrnn.config.settings import (
    BUDGETS,
    FIELDS,
    MAY_CHANGE,
    NETWORK,
    Config,
    Value,
    option_name,
    shown,
)
from charrnn.errors import CheckpointError, UsageError
from charrnn.nn.parameters import Parameters
from charrnn.storage.checkpoint import Checkpoint
from charrnn.text.corpus import Text
from charrnn.text.display import printable_name
from charrnn.text.files import OWN, files_of
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.run import Request

INHERITED = ("level", "cell", "hidden_size", "layers", "activation", "dtype")


def check_inputs_survive(request: Request) -> None:
    """Raise UsageError if the checkpoint would replace one of its inputs, or become one."""
    texts = files_of([*request.corpora, *([request.val] if request.val else [])])
    inputs = (*texts, request.init_from, request.config_file)
    for folder in map(Path, filter(os.path.isdir, request.corpora)):
        inside = folder.resolve() in request.path.resolve().parents
        if inside and request.path.suffix not in OWN:
            raise UsageError(f"{request.path} is in {folder}, so the next run would read it as a "
                             "text: give it the ending .npz, or choose another folder with -o")
    for source in inputs:
        both_exist = source and request.path.exists() and Path(source).exists()
        if both_exist and request.path.samefile(str(source)):
            raise UsageError(f"{source} would be replaced by the checkpoint: choose another file "
                             "with -o")


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
    check_consistent(config)
    return config


def inherit_weights(params: Parameters, vocabulary: Vocabulary, init_from: Checkpoint) -> None:
    """Copy the best weights of ``init_from`` to ``params``; rows of new characters stay as they
    are."""
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
    """SHA-256 of the positions at which files begin inside the texts, as if these were one text.

    The bytes of the texts do not show these positions, which matter if borders reset the state.
    """
    positions, before = [], 0
    for text in texts:
        begins = np.unique(np.array(text.begins, "<i8"))
        positions.append(begins[(begins > 0) & (begins < len(text))] + before)
        before += len(text)
    return hashlib.sha256(np.concatenate(positions).tobytes()).hexdigest()


def without_fraction(request: Request) -> Request:
    """``request`` without a validation fraction, which has no effect with a validation file."""
    if request.val is None:
        return request
    return dataclasses.replace(
        request, config=dataclasses.replace(request.config, val_fraction=None))


def explicit(request: Request) -> list[str]:
    """The settings that a config file or an option sets; null in a file sets none."""
    return [key for key in FIELDS
            if key in request.given and getattr(request.config, key) is not None]


def resume_settings(
    request: Request, config: Config, checkpoint: Checkpoint, origin: dict[str, str | None],
    documents: str, with_defaults: Callable[[Config], Config],
) -> Config:
    """The settings with which ``checkpoint`` resumes; UsageError if it belongs to another run.

    A setting that was set neither then nor now keeps its value, even if its default has changed
    since. ``config`` are the current settings; ``with_defaults`` computes those that are None from
    the current texts. ``checkpoint`` takes over the settings that may change, and the digest of
    ``documents`` if it is too old to have one.
    """
    if checkpoint.origin["val"]:  # earlier versions also stored a val_fraction that was set
        checkpoint.settings["val_fraction"] = None
        checkpoint.explicit = [key for key in checkpoint.explicit if key != "val_fraction"]
    now, then = set(explicit(request)), set(checkpoint.explicit)
    stored: dict[str, Any] = {
        key: value for key, value in checkpoint.settings.items()
        if key not in MAY_CHANGE or key not in _reset(now, then)
    }
    same_texts = (origin["corpus"], origin["val"]) == (
        checkpoint.origin["corpus"], checkpoint.origin["val"])
    # An older run lacks the values of defaults. The rules of these two have changed since.
    if stored["weight_decay"] is None:
        stored["weight_decay"] = 0.1 if stored["optimizer"] == "adam" else 0.0
    if not _reset(now, then) & set(BUDGETS) and stored["steps"] is None:
        stored["steps"] = checkpoint.progress.steps
    resumed = dataclasses.replace(config, **stored)
    known = with_defaults(resumed) if same_texts else resumed
    differences, different = [], set()
    for key in FIELDS:
        if key in MAY_CHANGE or key not in now | then:
            continue
        has, asked = getattr(known, key), getattr(config, key)
        if asked is None:
            # The network is chosen as a whole.
            unset: dict[str, Any] = dict.fromkeys(set(NETWORK) - now if key in NETWORK else [key])
            now_unset = dataclasses.replace(resumed, **unset) if same_texts else config
            asked = getattr(with_defaults(now_unset), key)
        if asked != has:
            different.add(key)
            there, here = _shown(has, key not in then), _shown(asked, key not in now)
            if key == "val_fraction":
                there = "not used with --val" if checkpoint.origin["val"] else there
                here = "not used with --val" if origin["val"] else here
            differences.append(f"{key} {there} there, {here} now")
    differences += _different_origin(origin, checkpoint.origin)
    reset = known.borders == "reset" and checkpoint.documents is not None
    if reset and origin == checkpoint.origin and documents != checkpoint.documents:
        differences.append("the text is divided into files differently")
    if differences:
        raise UsageError(f"{request.path} holds another run ({'; '.join(differences)}): "
                         + _ways_on(request, checkpoint, origin, different & now))
    checkpoint.documents = documents if known.borders == "reset" else None
    checkpoint.settings = dataclasses.asdict(known)
    checkpoint.explicit = [key for key in FIELDS if key in (now if key in MAY_CHANGE else then)]
    return known


def _reset(now: set[str], then: set[str]) -> set[str]:
    """The settings that take their current values if they may change: those set then or now.

    The budgets count as one setting, since each of them replaces the others.
    """
    reset = now | then
    return reset | set(BUDGETS) if reset & set(BUDGETS) else reset


def _shown(value: Value, default: bool) -> str:
    """A value of a setting in a message, never None."""
    if value is None:
        return "default"
    return f"{shown(value)} (default)" if default else shown(value)


def _different_origin(
    now: dict[str, str | None], then: dict[str, str | None]
) -> Iterator[str]:
    """The differences between the files of two runs, judging by their digests."""
    if now["corpus"] != then["corpus"]:
        yield "the text differs"
    for key, what in (("val", "the validation text"),
                      ("init_from", "the checkpoint to start from")):
        option = option_name(key)
        if now[key] != then[key]:
            yield (f"{what} differs" if now[key] and then[key] else
                   f"{option} there, none now" if then[key] else
                   f"no {option} there, {option} now")


def _ways_on(
    request: Request, checkpoint: Checkpoint, origin: dict[str, str | None], named: set[str]
) -> str:
    """What to do if a checkpoint belongs to another run; ``named`` are settings that differ."""
    name = shlex.quote(printable_name(request.path))
    # The new run can start from the weights, unless it asks for another architecture or start.
    inherits = not named & set(INHERITED) and origin["init_from"] == checkpoint.origin["init_from"]
    start = f" (and --init-from {name} to start from its weights)" if inherits else ""
    left_out = [option_name(key) for key in ("val", "init_from")
                if checkpoint.origin[key] and not origin[key]]
    resumes = left_out and not named and origin["corpus"] == checkpoint.origin["corpus"]
    repeat = f"repeat {' and '.join(left_out)} to resume it, " if resumes else ""
    return f"{repeat}use -o NEW.npz to keep both{start}, or --overwrite to replace it"


def check_fits(path: Path, checkpoint: Checkpoint, vocabulary: Vocabulary, B: int) -> None:
    """Raise CheckpointError if the metadata of a file fits this run, but its arrays do not."""
    misfits = []
    if not np.array_equal(checkpoint.vocabulary.codes, vocabulary.codes):
        misfits.append(f"its {len(checkpoint.vocabulary):,} symbols are not the "
                       f"{len(vocabulary):,} of the text")
    if len(checkpoint.state) != B:
        misfits.append(f"it has the state of {len(checkpoint.state):,} sequences, not of {B:,}")
    if misfits:
        raise CheckpointError(f"{path} does not fit this run and was not written by it: "
                              f"{' and '.join(misfits)}; use --overwrite to replace it")
