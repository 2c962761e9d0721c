"""A text on its way to the network: its held-out tail cut off, the rest seen in windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError, UsageError

Array = NDArray[Any]


LANES_PER_SHARD = 8  # at least; fewer rows make slow products
HELD_OUT = 1_000_000  # characters that are held out, by default, of a long text


@dataclass(frozen=True)
class Resets:
    """Where a network begins anew: it reads ``symbol`` from the zero state, not what was before.

    ``at`` (K,) are the positions of the symbols that come next, in ascending order.
    """

    at: Array
    symbol: int

    def moved(self, by: int) -> Resets:
        """The same places in a text that begins ``by`` symbols later."""
        return Resets(self.at - by, self.symbol)

    def begin(self, x: Array, next: Array) -> Array:
        """Put ``symbol`` wherever ``x`` is followed by a position of ``at``; say where, in bool.

        ``next`` are the positions that follow, of the shape of ``x``.
        """
        fresh = self.among(next)
        x[fresh] = self.symbol
        return fresh

    def among(self, positions: Array) -> Array:
        """Which of some positions these are, of the same shape."""
        if len(self.at) == 0:
            return np.zeros(positions.shape, bool)
        nearest = np.searchsorted(self.at, positions).clip(max=len(self.at) - 1)
        found: Array = self.at[nearest] == positions
        return found


def split(text: Array, val_fraction: float | None) -> tuple[Array, Array]:
    """The text without its tail, and the tail that is held out.

    By default that is a tenth, and at most HELD_OUT: more would take longer to score, and the
    score is exact enough. Two characters are the least that can be validated on; with fewer
    none are held out.
    """
    if val_fraction is None:
        val_fraction = min(0.1, HELD_OUT / max(1, len(text)))
    train = int(len(text) * (1 - val_fraction) + 1e-6)  # 1 - 0.9 is a little less than 0.1
    if len(text) - train < 2:
        train = len(text)
    return text[:train], text[train:]


class Lanes:
    """A text cut into B contiguous lanes that are read side by side, in windows of T.

    Lane b holds the n characters from start + b*n on; each has its true successor in the
    text as target, across the ends of windows and lanes too. Every epoch may ``start`` at
    another of the first characters, 0 to ``slack``, so that its windows cut the text at other
    places. Window and batch shrink to fit short texts: of the M = N-1-slack characters that
    every epoch has, T = min(seq_length, M), B = min(batch_size, M // T), n = M // B.
    """

    def __init__(
        self, text: Array, seq_length: int, batch_size: int, resets: Resets | None = None
    ) -> None:
        pairs = len(text) - 1
        if pairs < 1:
            raise CorpusError(
                f"there are {len(text)} characters to train on; at least 2 are needed"
            )
        self.text, self.resets = text, resets
        # Every cut within a window is possible, but a short text is not left unread for it.
        self.slack = min(seq_length - 1, pairs // 20)
        pairs -= self.slack
        self.T = min(seq_length, pairs)
        self.B = min(batch_size, pairs // self.T)
        self.length = pairs // self.B  # n
        self.left_over = len(text) - 1 - self.B * self.length  # that an epoch leaves out
        self.windows = -(-self.length // self.T)  # of an epoch; the last may be shorter

    @property
    def shards(self) -> int:
        """Into how many groups the lanes are cut, for threads and processes, at most."""
        return max(1, self.B // LANES_PER_SHARD)

    def check_shares(self, processes: int, deterministic: bool) -> None:
        """Raise UsageError where the processes would not all have as much to do."""
        shards, least, why = self.B, 1, ""
        if deterministic and self.B % processes == 0:
            shards, least = self.shards, LANES_PER_SHARD
            many = "s" * (shards > 1)
            why = f" are summed in {shards} shard{many} with --deterministic, which"
        if shards % processes:
            raise UsageError(
                f"{self.B} lanes{why} cannot be shared evenly by {processes} processes: choose a "
                f"--batch-size that is a multiple of {least * processes}, for which the text has "
                "to be long enough"
            )

    def window(
        self, index: int, start: int = 0, lanes: slice = slice(None)
    ) -> tuple[Array, Array]:
        """Inputs and targets of one window of an epoch, each (T, B), time-major.

        Or those of some of the ``lanes``; of the others nothing is read.
        """
        assert 0 <= start <= self.slack, (start, self.slack)
        stop = start + self.B * self.length
        span = slice(index * self.T, (index + 1) * self.T)
        inputs = self.text[start:stop].reshape(self.B, self.length)[lanes, span]
        targets = self.text[start + 1 : stop + 1].reshape(self.B, self.length)[lanes, span]
        return inputs.T.copy(), targets.T.copy()  # never a view: the text stays as it is

    def fresh(self, index: int, start: int, lanes: slice = slice(None)) -> Array | None:
        """At which steps of a window which lanes begin anew, (T, B) of bool; None where none do."""
        if self.resets is None:
            return None
        first = start + self.length * np.arange(self.B)[lanes] + index * self.T + 1  # targets
        steps = np.arange(min(self.T, self.length - index * self.T))
        found = self.resets.among(first + steps[:, None])
        return found if found.any() else None
