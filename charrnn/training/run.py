"""A run: the request for it, and everything that training needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from charrnn.config.settings import Config
from charrnn.errors import UsageError
from charrnn.storage.checkpoint import Checkpoint
from charrnn.text.batches import Batches
from charrnn.text.corpus import Text
from charrnn.text.files import is_compressed
from charrnn.text.split import Split
from charrnn.training.processes import ProcessGroup


@dataclass(frozen=True)
class Request:
    """What the command line or a Python program requests from ``train``."""

    corpora: Sequence[str]
    path: Path  # of the checkpoint
    config: Config
    given: frozenset[str] = frozenset()  # settings that a config file or an option names
    val: str | None = None
    init_from: Path | None = None
    overwrite: bool = False
    config_file: str | None = None
    default_threads: int = 1  # if neither the settings nor the run so far have a number
    cache: Path | None = None  # for large texts; by default the folder of the checkpoint


@dataclass
class Run:
    """Everything that training needs; only ``checkpoint`` and ``notes`` change."""

    config: Config  # with the defaults that follow from the text
    path: Path
    text: Text
    train: Split
    validation: Split  # empty if there is no validation
    batches: Batches
    checkpoint: Checkpoint
    memory: int  # estimated bytes that training takes
    resumed: bool  # the checkpoint already holds steps
    processes: ProcessGroup
    notes: list[str] = field(default_factory=list)

    # Settings that training.defaults has filled in.

    @property
    def eval_every(self) -> int:
        """Steps between validations."""
        assert self.config.eval_every is not None
        return self.config.eval_every

    @property
    def dropout(self) -> float:
        """Share of the states that training hides from the layers above."""
        assert self.config.dropout is not None
        return self.config.dropout

    @property
    def weight_decay(self) -> float:
        """Each step shrinks the weight matrices by its learning rate times this."""
        assert self.config.weight_decay is not None
        return self.config.weight_decay

    @property
    def learning_rate(self) -> float:
        """The peak learning rate."""
        assert self.config.learning_rate is not None
        return self.config.learning_rate


def shard_count(batches: Batches, threads: int, processes: int, deterministic: bool) -> int:
    """The number of shards, with one gradient each, into which all processes divide the batch.

    It is the number of threads in all processes, or, if the result must not depend on that, the
    largest possible number.
    """
    if deterministic:
        return batches.max_shards
    return processes * max(1, min(threads, batches.max_shards // processes))


def checkpoint_path(out: str | None, corpora: Sequence[str]) -> Path:
    """The checkpoint that ``out`` names: a file, or CORPUS.npz in a folder, which need not exist
    if its name ends in a slash. The default folder is checkpoints/.
    A file that does not exist and whose name has no suffix gets .npz.

    CORPUS is the name of the first text, with the number of the others appended. Raises UsageError
    for -: a checkpoint cannot be written to standard output.
    """
    if out == "-":
        raise UsageError("a checkpoint cannot be written to standard output: name a file with -o")
    is_folder = out is not None and (os.path.isdir(out) or out.endswith(("/", os.sep, "/.")))
    if out is not None and not is_folder:
        path = Path(out)
        return path if path.suffix or os.path.lexists(path) else path.with_suffix(".npz")
    first = Path(os.path.abspath(corpora[0]))
    stem = "stdin" if corpora[0] == "-" else first.name if first.is_dir() else first.stem
    if is_compressed(first.name) and not first.is_dir():
        stem = Path(stem).stem
    more = f"+{len(corpora) - 1}" if len(corpora) > 1 else ""
    return Path("checkpoints" if out is None else out) / f"{stem}{more}.npz"
