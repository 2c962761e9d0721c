"""The JSON of a checkpoint, which is validated before it is used."""

from __future__ import annotations

import json
import math
import platform
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import charrnn
from charrnn.config.parsing import MAX_INTEGER, MAX_VALUE, parse
from charrnn.config.settings import FIELDS, NETWORK, ONCE_NULL, Value
from charrnn.errors import CheckpointError, UsageError
from charrnn.system.machine import MAX_THREADS
from charrnn.text.vocabulary import CODE_POINTS

FORMAT = "charrnn"
FORMAT_VERSION = 1
MAX_HISTORY = 1000  # rows; for each further row, another one is dropped
MAX_SAMPLES = 8
MAX_SAMPLE = 10_000  # characters; training generates 200
MAX_NAME = 4096  # characters of the name of a text; that of a file has up to 255
# Bytes of the JSON. The largest that is written has about 150,000: a number has up to 24, so the
# history has 1,000 rows of 122; a character up to 12, so the 8 samples have 2,400 each; settings,
# names and digests have 6,000.
MAX_META = 1 << 20
DIGEST = re.compile("[0-9a-f]{64}")
# The values of settings that a file lacks because it was written before they existed.
ABSENT: dict[str, Value] = {
    "weight_decay": 0.0, "deterministic": False, "min_count": 1, "borders": "ignore",
    "errors": "strict", "cell": "rnn",
}
PROGRAMS = ("charrnn", "numpy", "python")
ORIGINS = ("corpus", "val", "init_from")


@dataclass
class Progress:
    """How far a run has come. Together with the arrays, it determines everything that follows."""

    step: int = 0  # updates made
    steps: int = 0  # of the budget
    minutes: float | None = None  # the budget in minutes, if it was set so
    best_nats: float | None = None  # validation score of the best weights, nats per character
    best_step: int = 0
    stale: int = 0  # validations since the best one
    losses: float = 0.0  # sum of the losses since the last row of the history
    norms: float = 0.0  # sum of the gradient norms since then
    since: int = 0  # steps since then
    high: int = 0  # latest steps in a row with a loss of more than twice log V


class Metadata(NamedTuple):
    """The contents of the JSON; the fields are its keys, in their order."""

    settings: dict[str, Value]  # all of them, as the run uses them
    changed: list[str]  # those that differed from the defaults of the writing version
    explicit: list[str] | None  # those that a config file or an option set; None: no such key
    vocabulary_size: int
    lanes: int  # B, the number of sequences in the batch; each has a carried state
    progress: Progress
    corpus: str  # name of the text
    origin: dict[str, str | None]  # digests of the corpus, a validation file, a first checkpoint
    documents: str | None  # digest of where files begin in the text; None: no such key
    threads: int  # of each process; all of them share the batch
    processes: int
    versions: dict[str, str]  # of charrnn, NumPy and Python that wrote the file
    history: list[list[float | None]]  # see Checkpoint
    samples: list[list[Any]]
    undecodable: int = 0  # byte sequences of both texts that were replaced or skipped


def encode(metadata: Metadata) -> bytes:
    """The JSON of ``metadata``, with the format and the versions of the programs that write it."""
    facts = metadata._asdict()
    for key in ("explicit", "documents"):
        if facts[key] is None:
            del facts[key]
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **facts,
        "progress": asdict(metadata.progress),
        "versions": dict(zip(PROGRAMS, (charrnn.__version__, np.__version__,
                                        platform.python_version()), strict=True)),
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def decode(path: Path, data: bytes) -> Metadata:
    """Read the JSON of ``path``.

    Raises CheckpointError for another version of the format or of charrnn, and ValueError,
    KeyError or TypeError for anything that ``encode`` would not have written. The type and size
    of a value are checked before it is used, parsed or shown.
    """
    meta: dict[str, Any] = _object(json.loads(data))
    if meta["format"] != FORMAT:
        raise ValueError(f"its format is {_shown(meta['format'])}")
    if meta["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {_shown(meta['format_version'])}, but this version of charrnn, "
            f"{charrnn.__version__}, reads only format {FORMAT_VERSION}"
        )
    found = Metadata(
        settings=_settings(path, _object(meta["settings"])),
        changed=_names(meta["changed"]),
        explicit=_names(meta["explicit"]) if "explicit" in meta else None,
        vocabulary_size=_whole(meta["vocabulary_size"], 1, CODE_POINTS),
        lanes=_whole(meta["lanes"], 1, 2**31),
        progress=_progress(_object(meta["progress"])),
        corpus=_text(meta["corpus"], MAX_NAME),
        origin=_origin(_object(meta["origin"])),
        documents=_digest(meta["documents"]) if "documents" in meta else None,
        threads=_whole(meta["threads"], 1, MAX_THREADS),
        processes=_whole(meta.get("processes", 1), 1, 2**31),
        versions=_versions(meta.get("versions")),
        history=_history(_list(meta["history"], MAX_HISTORY)),
        samples=_samples(_list(meta.get("samples", []), MAX_SAMPLES)),
        undecodable=_whole(meta.get("undecodable", 0), 0, MAX_INTEGER),
    )
    _check_consistent(found)
    return found


def _check_consistent(found: Metadata) -> None:
    """Raise ValueError for values that exclude each other."""
    settings, explicit = found.settings, found.explicit
    if found.undecodable and settings["errors"] == "strict":
        raise ValueError(
            f"it has {found.undecodable:,} undecodable byte sequences, but errors is strict")
    if settings["cell"] != "rnn" and settings["activation"] != "tanh":
        raise ValueError(f"cell {settings['cell']} has no activation {settings['activation']}")
    if explicit is None:  # an older file
        return
    missing = [key for key in ONCE_NULL if key != "val_fraction" and settings[key] is None]
    if missing:
        raise ValueError(f"{missing[0]} has no value")
    fraction, file = settings["val_fraction"], found.origin["val"]
    if file is None and fraction is None:
        raise ValueError("val_fraction has no value")
    # Earlier versions stored one that was set together with a validation file.
    if file is not None and fraction is not None and "val_fraction" not in explicit:
        raise ValueError("it has both a validation file and a val_fraction")


def _settings(path: Path, settings: dict[str, Any]) -> dict[str, Value]:
    """The settings of a file, each checked for its type and range in this version."""
    unknown = settings.keys() - FIELDS.keys()
    if unknown:
        raise CheckpointError(f"{path} was written by a newer version of charrnn (it has the "
                              f"setting {_shown(min(unknown))})")
    checked: dict[str, Value] = {}
    for key, known in FIELDS.items():
        value = settings[key] if key in settings else ABSENT[key]
        fraction = isinstance(value, float) and "int" in str(known.type)
        text = value is not None and "str" in str(known.type)
        if isinstance(value, str) != text or isinstance(value, (list, dict)) or fraction:
            raise ValueError(f"{key} is of the wrong type")
        if value is not None:
            try:
                checked[key] = parse(key, str(value))
            except UsageError as error:
                raise ValueError(f"{key}: {error}") from None
        elif known.default is None and key not in (*NETWORK, "learning_rate"):
            checked[key] = None
        else:
            raise ValueError(f"{key} has no value")
    return checked


def _names(values: Any) -> list[str]:
    """The names in a list of the file that are settings of this version."""
    named = [_text(key, MAX_VALUE) for key in _list(values, len(FIELDS))]
    return [key for key in FIELDS if key in named]


def _progress(values: dict[str, Any]) -> Progress:
    if values.keys() != {known.name for known in fields(Progress)}:
        raise ValueError("its progress does not have the keys of this format")
    for name, value in values.items():
        if name in ("minutes", "best_nats"):
            _number(value, or_none=True)
        elif name in ("losses", "norms"):
            _number(value)
        else:
            _whole(value, 0, MAX_INTEGER)
    return Progress(**values)


def _history(rows: list[Any]) -> list[list[float | None]]:
    if any(len(_list(row, 5)) != 5 for row in rows):
        raise ValueError("its history has rows of a wrong length")
    return [[_number(x, or_none=column == 2) for column, x in enumerate(row)] for row in rows]


def _samples(rows: list[Any]) -> list[list[Any]]:
    if any(len(_list(row, 2)) != 2 for row in rows):
        raise ValueError("its samples have rows of a wrong length")
    return [[_whole(step, 0, MAX_INTEGER), _text(text, MAX_SAMPLE)] for step, text in rows]


def _origin(values: dict[str, Any]) -> dict[str, str | None]:
    if values.keys() != set(ORIGINS) or values["corpus"] is None:
        raise ValueError("its origin does not have the keys of this format")
    return {key: None if value is None else _digest(value) for key, value in values.items()}


def _versions(values: Any) -> dict[str, str]:
    """The versions in a file; they are only shown, so anything unusable is left out."""
    known = values if isinstance(values, dict) else {}
    return {name: known[name] for name in PROGRAMS
            if isinstance(known.get(name), str) and len(known[name]) <= MAX_VALUE}


def _number(value: Any, or_none: bool = False) -> float | None:
    if value is None and or_none:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{_shown(value)} is not a number")
    return value  # type: ignore[no-any-return]


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{_shown(value)} is not a whole number from {low} to {high}")
    return value


def _text(value: Any, most: int) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not text")
    if len(value) > most:
        raise ValueError(f"it has a text of {len(value):,} characters, more than {most:,}")
    return value


def _digest(value: Any) -> str:
    if not DIGEST.fullmatch(_text(value, 64)):
        raise ValueError(f"{_shown(value)} is not a digest")
    return str(value)


def _list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError(f"{_shown(value)} is not a list of at most {most:,} entries")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is not an object")
    return value


def _shown(value: Any) -> str:
    """How a message shows a value: its beginning, or the type and length of a container."""
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value):,}"
    if isinstance(value, str):
        value = value[:40]
    return f"{value!r:.40}"
