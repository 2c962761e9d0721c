"""A run: what was asked for, and everything that training needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from charrnn.config.settings import Config
from charrnn.storage.checkpoint import Checkpoint
from charrnn.text.batches import Batches
from charrnn.text.corpus import Text
from charrnn.text.files import is_compressed
from charrnn.text.split import Split
from charrnn.training.processes import ProcessGroup


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


@dataclass
class Run:
    """Everything that training needs; ``checkpoint`` is what changes on the way."""

    config: Config
    path: Path
    text: Text
    train: Split
    validation: Split  # empty where nothing is held out
    batches: Batches
    checkpoint: Checkpoint
    memory: int  # bytes that training takes, estimated
    resumed: bool  # the checkpoint already holds steps
    processes: ProcessGroup
    notes: list[str] = field(default_factory=list)

    @property
    def eval_every(self) -> int:
        """Steps between validations: as set, else so many that they cost little.

        Scoring is more than twice as fast as training; reading five times as much in
        training as in validation keeps the latter below a tenth of the time.
        """
        chars_per_step = self.batches.T * self.batches.B
        return self.config.eval_every or max(50, -(-5 * len(self.validation) // chars_per_step))

    @property
    def dropout(self) -> float:
        """As set, else 0.3 up to 67,000 characters to learn from, falling to none at 4 million.

        Measured best, beside the default weight decay: 0.25 for 76,000, 0.1 for 300,000, 0 to
        0.02 for 900,000 (docs/experiments.md).
        """
        if self.config.dropout is not None:
            return self.config.dropout
        return round(min(0.3, 20_000 / len(self.train)), 2)

    @property
    def default_steps(self) -> int:
        """The budget of a run that names none: 6,000 steps, at most 30 epochs."""
        return min(6000, 30 * self.batches.windows)


def shard_count(batches: Batches, threads: int, processes: int, deterministic: bool) -> int:
    """Into how many shards all processes divide the batch, each with a gradient of its own.

    As many as there are threads in all processes, or, where the run is to be the same for any
    number of them, as many as there can be.
    """
    if deterministic:
        return batches.max_shards
    return processes * max(1, min(threads, batches.max_shards // processes))


def default_checkpoint(corpora: Sequence[str]) -> Path:
    """checkpoints/CORPUS.npz, named after the first text and the number of the others."""
    first = Path(os.path.abspath(corpora[0]))
    stem = "stdin" if corpora[0] == "-" else first.name if first.is_dir() else first.stem
    if is_compressed(first.name) and not first.is_dir():
        stem = Path(stem).stem
    more = f"+{len(corpora) - 1}" if len(corpora) > 1 else ""
    return Path("checkpoints") / f"{stem}{more}.npz"
