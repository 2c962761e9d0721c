"""The training and the validation part of a text, computed in this one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from charrnn.text.corpus import Text

CONTEXT = 128  # symbols before a part that are read first and not scored
LARGEST_VALIDATION = 1_000_000  # characters held out, by default, of a long text


@dataclass(frozen=True)
class DocumentStarts:
    """Where documents start inside a text, and with that where the state is reset.

    At each of ``positions`` (K,), in ascending order, stands the first symbol of a document. To
    predict it, the network reads ``symbol`` from the zero state, not the character before.
    """

    positions: ndarray
    symbol: int

    def shifted(self, by: int) -> DocumentStarts:
        """The same places in a text that begins ``by`` symbols later."""
        return DocumentStarts(self.positions - by, self.symbol)

    def apply(self, x: ndarray, following: ndarray) -> ndarray:
        """Put ``symbol`` wherever a document starts after ``x``; say where, in bool.

        ``following`` are the positions of the symbols after those of ``x``, of its shape.
        """
        reset = self.among(following)
        x[reset] = self.symbol
        return reset

    def among(self, positions: ndarray) -> ndarray:
        """At which of some positions a document starts, bool of the same shape."""
        if len(self.positions) == 0:
            return np.zeros(positions.shape, bool)
        nearest = np.searchsorted(self.positions, positions).clip(max=len(self.positions) - 1)
        found: ndarray = self.positions[nearest] == positions
        return found


@dataclass(frozen=True)
class Split:
    """A part of a text: the symbols that are learned from or scored, and what precedes them."""

    ids: ndarray  # (N,)
    context: ndarray  # symbols read before, at least one
    resets: DocumentStarts | None = None  # positions in ids

    def __len__(self) -> int:
        return len(self.ids)


def whole(text: Text, reset: bool) -> Split:
    """All of a text, after the start symbol; with ``reset``, every file starts a document."""
    vocabulary = text.vocabulary
    start = np.array([vocabulary.start], vocabulary.dtype)
    resets = None
    if reset:
        resets = DocumentStarts(np.array(text.begins, np.int64), vocabulary.start)
    return Split(text.ids, start, resets)


def split(text: Text, val_fraction: float | None, reset: bool) -> tuple[Split, Split]:
    """The training part of a text, and its tail for validation, which may be empty.

    The tail follows the training part, whose last symbols are its context.
    """
    full, train = whole(text, reset), training_size(len(text), val_fraction)
    context = np.concatenate([full.context, full.ids[:train][-CONTEXT:]])
    resets = full.resets and full.resets.shifted(train)
    return (Split(full.ids[:train], full.context, full.resets),
            Split(full.ids[train:], context, resets))


def training_size(size: int, val_fraction: float | None) -> int:
    """How many of ``size`` symbols are for training; the others are for validation.

    Validation needs two symbols; where fewer are left, all are for training.
    """
    if val_fraction is None:
        val_fraction = default_fraction(size)
    train = int(size * (1 - val_fraction) + 1e-6)  # 1 - 0.9 is a little less than 0.1
    return size if size - train < 2 else train


def default_fraction(size: int) -> float:
    """The share of ``size`` symbols that is for validation where none was set.

    A tenth, and at most LARGEST_VALIDATION symbols: more would take longer to score, and the
    score is exact enough.
    """
    return min(0.1, LARGEST_VALIDATION / max(1, size))
