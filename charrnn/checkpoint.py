"""One file that is the whole run: what is in it, and whether that can be true.

docs/checkpoint.md describes the format; ``archive`` does the writing and reading.
"""

from __future__ import annotations

import json
import math
import platform
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import charrnn
from charrnn import archive, config
from charrnn.errors import CheckpointError, UsageError
from charrnn.optim import OPTIMISERS
from charrnn.parameters import Architecture, Parameters
from charrnn.runtime import MAX_THREADS
from charrnn.vocabulary import CODE_POINTS, REPLACEMENT, Vocabulary

Array = NDArray[Any]

FORMAT = "charrnn"
FORMAT_VERSION = 1
MAX_META = 16 << 20  # bytes of settings, progress and history
MAX_HISTORY = 1000  # rows; beyond, one is dropped for each that comes
MAX_SAMPLES = 8
DIGEST = re.compile("[0-9a-f]{64}")
# What files meant that were written before a setting existed.
ABSENT: dict[str, config.Value] = {
    "weight_decay": 0.0, "deterministic": False, "min_count": 1, "borders": "ignore",
}
ORIGINS = ("corpus", "val", "init_from")


@dataclass
class Progress:
    """How far a run has come. With the arrays it decides all that happens next."""

    step: int = 0  # updates made
    steps: int = 0  # of the budget
    minutes: float | None = None  # the budget as it was asked for, where that was a time
    best_nats: float | None = None  # validation score of the best weights, nats per character
    best_step: int = 0
    stale: int = 0  # validations since the best
    losses: float = 0.0  # sum over the steps since the last row of the history
    norms: float = 0.0
    since: int = 0  # how many those are
    high: int = 0  # steps in a row with a loss of more than twice log V


@dataclass
class Checkpoint:
    """A run between two steps."""

    settings: dict[str, config.Value]  # all of them, as resolved
    changed: list[str]  # those that differed from the defaults of the writing version
    vocabulary: Vocabulary
    best: Parameters
    last: Parameters
    moments: Array  # (k, P): what the optimiser keeps
    state: Array  # (B, L*H): the carried state
    progress: Progress
    corpus: str  # what the text was called
    origin: dict[str, str | None]  # digests of the corpus, a validation file, a first checkpoint
    threads: int = 1  # that share the lanes, of each process
    processes: int = 1
    # rows of step, training nats/char, validation nats/char or None, gradient norm, rate
    history: list[list[float | None]] = field(default_factory=list)
    samples: list[list[Any]] = field(default_factory=list)  # rows of step, text written then
    digest: str = ""  # of the file this was read from

    def remember(self, row: list[float | None]) -> None:
        """Add a row to the history, and keep the history short."""
        self.history.append(row)
        _shorten(self.history, MAX_HISTORY)

    def remember_sample(self, step: int, text: str) -> None:
        """Add what was written at a step, and keep few of them."""
        self.samples.append([step, text])
        _shorten(self.samples, MAX_SAMPLES)


def _shorten(rows: list[list[Any]], most: int) -> None:
    """Drop the row that leaves the smallest gap in steps, so that all of the run stays told."""
    if len(rows) > most:
        gaps = [after[0] - before[0] for before, after in zip(rows, rows[2:], strict=False)]
        del rows[1 + gaps.index(min(gaps))]


def architecture(settings: dict[str, Any], vocabulary_size: int) -> Architecture:
    """The shape of a model follows from four settings and the size of the vocabulary."""
    return Architecture(
        vocabulary_size,
        hidden_size=settings["hidden_size"],
        layers=settings["layers"],
        activation=settings["activation"],
        dtype=settings["dtype"],
    )


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replace ``path`` by the checkpoint, atomically; see ``archive.write`` for errors."""
    # A deterministic run depends on neither, and is the same file for any number of them.
    counts = not checkpoint.settings["deterministic"]
    meta = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "settings": checkpoint.settings | ({} if counts else {"threads": 0}),
        "changed": [key for key in checkpoint.changed if counts or key != "threads"],
        "vocabulary_size": len(checkpoint.vocabulary),
        "lanes": len(checkpoint.state),
        "progress": asdict(checkpoint.progress),
        "corpus": checkpoint.corpus,
        "origin": checkpoint.origin,
        "threads": checkpoint.threads if counts else 1,
        "processes": checkpoint.processes if counts else 1,
        "history": checkpoint.history,
        "samples": checkpoint.samples,
        "versions": {
            "charrnn": charrnn.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    text = json.dumps(meta, allow_nan=False, separators=(",", ":"))
    members: dict[str, Array] = {
        "meta": np.frombuffer(text.encode(), np.uint8),
        "vocabulary": checkpoint.vocabulary.codes,
        **checkpoint.best.named,
        "training.theta": checkpoint.last.flat,
        "training.moments": checkpoint.moments,
        "training.state": checkpoint.state,
    }
    archive.write(path, members)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; refuse, in one line, anything that ``save`` would not have written.

    Raises UsageError where there is no file, CheckpointError for everything else that is
    wrong with it. Nothing in the file is executed.
    """
    with archive.reading(path) as file:
        meta = _meta(path, file.read_bytes("meta", MAX_META))
        settings = _settings(meta["settings"])
        arch = architecture(settings, _whole(meta["vocabulary_size"], 1, CODE_POINTS))
        P, B = arch.size, _whole(meta["lanes"], 1, 2**31)
        slots = OPTIMISERS[str(settings["optimizer"])][1]
        real, V = np.dtype(arch.dtype), arch.vocabulary_size
        file.check({
            "vocabulary": (np.dtype(np.uint32), (V,)),
            **{name: (real, shape) for name, shape in arch.shapes().items()},
            "training.theta": (real, (P,)),
            "training.moments": (real, (slots, P)),
            "training.state": (real, (B, arch.state_size)),
        })
        codes = file.read_into(1, np.empty(V, np.uint32))
        if (codes[1:] <= codes[:-1]).any() or codes[-1] >= CODE_POINTS or (codes >> 11 == 27).any():
            raise ValueError("its vocabulary is not one of characters in order")
        if settings["level"] == "byte" and not np.array_equal(codes, np.arange(256)):
            raise ValueError("its vocabulary is not that of bytes")
        replaces = int(str(settings["min_count"])) > 1
        if replaces and REPLACEMENT not in codes:
            raise ValueError("its vocabulary has nothing for rare characters")
        best, last = Parameters(arch), Parameters(arch)
        for position, view in enumerate(best.named.values(), start=2):
            file.read_into(position, view)
        after = 2 + len(best.named)
        file.read_into(after, last.flat)
        return Checkpoint(
            settings=settings,
            changed=[key for key in config.FIELDS if key in meta["changed"]],
            vocabulary=Vocabulary(codes, str(settings["level"]), replaces),
            best=best,
            last=last,
            moments=file.read_into(after + 1, np.empty((slots, P), real)),
            state=file.read_into(after + 2, np.empty((B, arch.state_size), real)),
            progress=_progress(meta["progress"]),
            corpus=_text(meta["corpus"]),
            origin=_origin(meta["origin"]),
            threads=_whole(meta["threads"], 1, MAX_THREADS),
            processes=_whole(meta.get("processes", 1), 1, 2**31),
            history=_history(meta["history"]),
            samples=_samples(meta.get("samples", [])),
            digest=file.digest.decode(),
        )


def _meta(path: Path, data: bytes) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads(data)
    if meta["format"] != FORMAT:
        raise ValueError(f"its format is {meta['format']!r:.40}")
    if meta["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format {meta['format_version']!r:.40}, of another version of charrnn; "
            f"this one, {charrnn.__version__}, reads format {FORMAT_VERSION}"
        )
    return meta


def _settings(settings: dict[str, Any]) -> dict[str, config.Value]:
    """Settings of a file, each of the type and in the range that it has today."""
    unknown = set(settings) - set(config.FIELDS)
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]!r:.40} is not a setting that this version knows")
    checked: dict[str, config.Value] = {}
    for key, known in config.FIELDS.items():
        value = settings[key] if key in settings else ABSENT[key]
        if isinstance(value, str) != (known.type == "str"):
            raise ValueError(f"{key} is of the wrong type")
        if value is not None:
            try:
                checked[key] = config.parse(key, str(value))
            except UsageError as error:
                raise ValueError(f"{key}: {error}") from None
        elif known.default is None:
            checked[key] = None
        else:
            raise ValueError(f"{key} has no value")
    return checked


def _progress(values: dict[str, Any]) -> Progress:
    names = [known.name for known in fields(Progress)]
    if sorted(values) != sorted(names):
        raise ValueError("its progress has other entries")
    for name, value in values.items():
        if name in ("minutes", "best_nats"):
            _number(value, or_none=True)
        elif name in ("losses", "norms"):
            _number(value)
        else:
            _whole(value, 0, config.LARGEST)
    return Progress(**values)


def _history(rows: list[list[Any]]) -> list[list[float | None]]:
    if len(rows) > MAX_HISTORY or any(len(row) != 5 for row in rows):
        raise ValueError("its history has another form")
    return [[_number(x, or_none=column == 2) for column, x in enumerate(row)] for row in rows]


def _samples(rows: list[list[Any]]) -> list[list[Any]]:
    if len(rows) > MAX_SAMPLES or any(len(row) != 2 for row in rows):
        raise ValueError("its samples have another form")
    return [[_whole(step, 0, config.LARGEST), _text(text)] for step, text in rows]


def _origin(values: dict[str, Any]) -> dict[str, str | None]:
    if sorted(values) != sorted(ORIGINS) or not isinstance(values["corpus"], str):
        raise ValueError("its origin has another form")
    if not all(value is None or DIGEST.fullmatch(str(value)) for value in values.values()):
        raise ValueError("its origin is no digest")
    return dict(values)


def _number(value: Any, or_none: bool = False) -> float | None:
    if value is None and or_none:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is not a number")
    return value  # type: ignore[no-any-return]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not text")
    return value


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{value!r:.40} is not a whole number from {low} to {high}")
    return value
