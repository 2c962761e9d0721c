"""The events of a run: plain values, made by ``loop`` and shown by the command line.

``train --json`` prints each as an object: its key ``event`` is the name of the class in lower
case, the other keys are the fields below, and each score in nats is followed by the one in bits.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

# The keys in bits of scores whose keys in nats do not contain the unit.
BITS_OF_NGRAMS = {key: f"{key}_bits_per_char" for key in ("unigram", "trigram")}

NOT_IN_JSON = ("validations",)  # each was in its own event


@dataclass(frozen=True)
class Event:
    """Something that happened after ``step`` of ``steps`` updates, ``epoch`` passes.

    ``elapsed_seconds`` are counted from the beginning of ``loop.train`` in this process, when the
    text has been read. They differ between processes, so comparisons ignore them.
    """

    step: int
    steps: int
    epoch: float
    elapsed_seconds: float = field(compare=False)

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        found: dict[str, Any] = {"event": type(self).__name__.lower()}
        for key, value in asdict(self).items():
            if key in NOT_IN_JSON:
                continue
            found[key] = value
            bits_key = BITS_OF_NGRAMS.get(key, key.replace("nats_per_char", "bits_per_char"))
            if bits_key != key:
                found[bits_key] = None if value is None else value / math.log(2)
        return found


@dataclass(frozen=True)
class Start(Event):
    corpus: str
    chars: int
    distinct: int
    level: str
    train_chars: int
    val_chars: int
    left_over: int  # characters at the ends of the training text that an epoch leaves out
    cell: str
    layers: int
    hidden_size: int
    learning_rate: float  # the peak
    dropout: float
    weight_decay: float
    eval_every: int  # steps
    batch_size: int
    seq_length: int
    steps_per_epoch: int
    parameters: int
    memory_bytes: int  # of each process
    processes: int
    threads: int  # of each process
    continued: bool  # the run is resumed: its checkpoint already has steps
    path: str
    settings: dict[str, Any] = field(default_factory=dict)  # that differ from the defaults
    notes: list[str] = field(default_factory=list)
    # The validation scores in the history of the run; None for a row without one.
    validations: list[float | None] = field(default_factory=list)


@dataclass(frozen=True)
class Step(Event):
    nats_per_char: float  # training loss of this window, with dropout, before the update
    grad_norm: float  # before clipping
    learning_rate: float
    chars_per_second: float
    training_nats_per_char: float  # mean of the losses since the last validation, this one included


@dataclass(frozen=True)
class Eval(Event):
    nats_per_char: float | None  # of the validation part; None where it is not finite
    training_nats_per_char: float  # mean training loss, with dropout, since the last validation
    best_nats_per_char: float | None  # None before the first finite validation
    improved: bool
    unigram: float  # the same text under n-grams of the training text, nats per character
    trigram: float


@dataclass(frozen=True)
class Sample(Event):
    text: str


@dataclass(frozen=True)
class Save(Event):
    path: str


@dataclass(frozen=True)
class End(Event):
    reason: str  # "done", "patience", "stopped" or "already trained"
    best_nats_per_char: float | None  # None without a finite validation
    best_step: int | None  # None where there is validation, but no finite score yet
    path: str
    signal: int | None = None  # number of the signal that stopped the run
