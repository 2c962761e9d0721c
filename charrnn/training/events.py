"""The events of a run: plain values, made by ``loop`` and shown by the command line.

``train --json`` prints each as an object with the name of its class, in small letters, as
``event``; the fields here are that format.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened after ``step`` of ``steps`` updates, ``epoch`` passes."""

    step: int
    steps: int
    epoch: float

    def as_json(self) -> dict[str, Any]:
        """The object that ``--json`` prints."""
        return {"event": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True)
class Start(Event):
    corpus: str
    chars: int
    distinct: int
    level: str
    train_chars: int
    val_chars: int
    left_over: int  # characters at the ends of the training text that an epoch leaves out
    dropout: float
    batch_size: int
    seq_length: int
    steps_per_epoch: int
    parameters: int
    memory_bytes: int  # of each process
    processes: int
    threads: int  # of each process
    continued: bool
    path: str
    settings: dict[str, Any] = field(default_factory=dict)  # that differ from the defaults
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step(Event):
    nats_per_char: float  # of this window, before the update
    grad_norm: float  # before clipping
    learning_rate: float
    chars_per_second: float


@dataclass(frozen=True)
class Eval(Event):
    nats_per_char: float | None  # None where it is not finite
    best_nats_per_char: float | None
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
    best_nats_per_char: float | None
    best_step: int
    path: str
    signal: int | None = None
