"""The checkpoint, one file with the whole run: its contents, their order, and their checks.

docs/checkpoint.md describes the format; ``archive`` writes and reads the file, ``metadata``
its JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy import ndarray

from charrnn.config.settings import Value, changed
from charrnn.nn.optimizers import OPTIMIZERS
from charrnn.nn.parameters import Architecture, Parameters
from charrnn.storage import archive, metadata
from charrnn.storage.metadata import (
    FORMAT_VERSION,
    MAX_HISTORY,
    MAX_META,
    MAX_SAMPLES,
    Metadata,
    Progress,
)
from charrnn.text.vocabulary import CODE_POINTS, REPLACEMENT, Vocabulary

M = TypeVar("M")


@dataclass
class Checkpoint:
    """The state of a run between two steps."""

    settings: dict[str, Value]  # all of them, as the run uses them
    explicit: list[str]  # those that a config file or an option set
    vocabulary: Vocabulary
    best: Parameters
    last: Parameters
    moments: ndarray  # (k, P): the moments of the optimizer
    state: ndarray  # (B, S*L*H): the carried state
    progress: Progress
    corpus: str  # name of the text
    origin: dict[str, str | None]  # digests of the corpus, a validation file, a first checkpoint
    # Digest of where files begin in the text, if the state is reset there.
    documents: str | None = None
    threads: int = 1  # of each process; all of them share the batch
    processes: int = 1
    # rows of step, training nats/char, validation nats/char or None, gradient norm, rate
    history: list[list[float | None]] = field(default_factory=list)
    samples: list[list[Any]] = field(default_factory=list)  # rows of step, text generated then
    undecodable: int = 0  # byte sequences of both texts that were replaced or skipped
    # These describe the file from which the checkpoint was read, if any:
    digest: str = ""
    versions: dict[str, str] = field(default_factory=dict)  # of the programs that wrote it
    format_version: int = FORMAT_VERSION
    # False for a run from before this was recorded: ``explicit`` are then the settings that
    # differed from the defaults, and a default that follows from the text may be None.
    explicit_recorded: bool = True

    @property
    def changed(self) -> list[str]:
        """The settings that differ from the defaults."""
        return changed(self.settings, self.explicit) if self.explicit_recorded else self.explicit

    @property
    def nbytes(self) -> int:
        """The size of its arrays in bytes."""
        arrays = (self.best.flat, self.last.flat, self.moments, self.state)
        return sum(array.nbytes for array in arrays)

    def remember(self, row: list[float | None]) -> None:
        """Add a row to the history, which keeps at most MAX_HISTORY rows."""
        self.history.append(row)
        _shorten(self.history, MAX_HISTORY)

    def remember_sample(self, step: int, text: str) -> None:
        """Add a text generated at a step to the samples, which are at most MAX_SAMPLES."""
        self.samples.append([step, text])
        _shorten(self.samples, MAX_SAMPLES)


def _shorten(rows: list[list[Any]], most: int) -> None:
    """If there are more rows than ``most``, drop the one that leaves the smallest gap in steps.

    The rows that are left then span the run.
    """
    if len(rows) > most:
        gaps = [after[0] - before[0] for before, after in zip(rows, rows[2:], strict=False)]
        del rows[1 + gaps.index(min(gaps))]


def architecture(settings: Mapping[str, Any], vocabulary_size: int) -> Architecture:
    """The shape of the model, from its settings and the size of the vocabulary."""
    return Architecture(
        vocabulary_size,
        hidden_size=settings["hidden_size"],
        layers=settings["layers"],
        activation=settings["activation"],
        dtype=settings["dtype"],
        cell_type=settings["cell"],
    )


def members(
    vocabulary: M, best: Mapping[str, M], theta: M, moments: M, state: M
) -> dict[str, M]:
    """The members after the metadata, by name, in the order of the file.

    The value of each is what the caller passes: its array, or its dtype and shape.
    """
    return {
        "vocabulary": vocabulary,
        **best,
        "training.theta": theta,
        "training.moments": moments,
        "training.state": state,
    }


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Replace ``path`` by the checkpoint, atomically; see ``archive.write`` for errors."""
    # A deterministic run writes the same file with any number of threads and processes.
    counts = not checkpoint.settings["deterministic"]
    settings = checkpoint.settings | ({} if counts else {"threads": 0})
    explicit = [key for key in checkpoint.explicit if counts or key != "threads"]
    recorded = checkpoint.explicit_recorded
    meta = Metadata(
        settings=settings,
        changed=changed(settings, explicit) if recorded else explicit,
        explicit=explicit if recorded else None,
        vocabulary_size=len(checkpoint.vocabulary),
        lanes=len(checkpoint.state),
        progress=checkpoint.progress,
        corpus=checkpoint.corpus,
        origin=checkpoint.origin,
        documents=checkpoint.documents,
        threads=checkpoint.threads if counts else 1,
        processes=checkpoint.processes if counts else 1,
        versions={},  # written by ``encode``
        history=checkpoint.history,
        samples=checkpoint.samples,
        undecodable=checkpoint.undecodable,
    )
    archive.write(path, {
        "meta": np.frombuffer(metadata.encode(meta), np.uint8),
        **members(checkpoint.vocabulary.codes, checkpoint.best.named, checkpoint.last.flat,
                  checkpoint.moments, checkpoint.state),
    })


def load(path: Path) -> Checkpoint:
    """Read a checkpoint, and refuse anything that ``save`` would not have written.

    Raises UsageError if there is no file, and CheckpointError if anything is wrong with it.
    Nothing in the file is executed.
    """
    with archive.reading(path) as file:
        meta = metadata.decode(path, file.read_bytes("meta", MAX_META))
        arch = architecture(meta.settings, meta.vocabulary_size)
        slots = OPTIMIZERS[str(meta.settings["optimizer"])].moments
        real = np.dtype(arch.dtype)
        # Shapes first: no array is allocated for a file that cannot fill it.
        file.check(members(
            vocabulary=(np.dtype(np.uint32), (meta.vocabulary_size,)),
            best={name: (real, shape) for name, shape in arch.shapes().items()},
            theta=(real, (arch.size,)),
            moments=(real, (slots, arch.size)),
            state=(real, (meta.lanes, arch.state_size)),
        ))
        codes = np.empty(meta.vocabulary_size, np.uint32)
        best, last = Parameters(arch), Parameters(arch)
        moments = np.empty((slots, arch.size), real)
        state = np.empty((meta.lanes, arch.state_size), real)
        for name, array in members(codes, best.named, last.flat, moments, state).items():
            file.read_into(name, array)
        return Checkpoint(
            settings=meta.settings,
            explicit=meta.changed if meta.explicit is None else meta.explicit,
            explicit_recorded=meta.explicit is not None,
            vocabulary=_vocabulary(codes, meta.settings),
            best=best,
            last=last,
            moments=moments,
            state=state,
            progress=meta.progress,
            corpus=meta.corpus,
            origin=meta.origin,
            documents=meta.documents,
            threads=meta.threads,
            processes=meta.processes,
            history=meta.history,
            samples=meta.samples,
            undecodable=meta.undecodable,
            digest=file.digest.decode(),
            versions=meta.versions,
        )


def _vocabulary(codes: ndarray, settings: Mapping[str, Value]) -> Vocabulary:
    """The vocabulary of ``codes``; ValueError if they cannot be one."""
    if (codes[1:] <= codes[:-1]).any() or codes[-1] >= CODE_POINTS or (codes >> 11 == 27).any():
        raise ValueError("its vocabulary is not a list of characters in ascending order")
    if settings["level"] == "byte" and not np.array_equal(codes, np.arange(256)):
        raise ValueError("its vocabulary is not the 256 bytes")
    replaces = int(str(settings["min_count"])) > 1
    if replaces and REPLACEMENT not in codes:
        raise ValueError("its vocabulary lacks U+FFFD, which replaces rare characters")
    return Vocabulary(codes, str(settings["level"]), replaces)
