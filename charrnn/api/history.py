"""The rows of ``Model.history``: the curves of a run."""

from __future__ import annotations

from typing import NamedTuple


class HistoryRow(NamedTuple):
    """One validation of the run, and the means over the steps since the previous one."""

    step: int
    training_bits_per_char: float  # with dropout
    training_nats_per_char: float
    validation_bits_per_char: float | None  # None without validation, or if it overflowed
    validation_nats_per_char: float | None
    grad_norm: float  # before clipping
    learning_rate: float  # of this step
