"""The training and the validation part of a text, computed in this one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from charrnn.text.corpus import Text

CONTEXT = 128  # symbols before a part that are read first, but not scored
LARGEST_VALIDATION = 1_000_000  # largest default size of the validation part, in characters


@dataclass(frozen=True)
class DocumentStarts:
    """Where documents start inside a text, and so where the state is reset.

    The first symbols of the documents are at ``positions``, in ascending order. To predict such a
    symbol, the network reads ``symbol`` from the zero state instead of the character before it.
    """

    positions: ndarray
    symbol: int

    def shifted(self, by: int) -> DocumentStarts:
        """The same document starts in the text without its first ``by`` symbols."""
        return DocumentStarts(self.positions - by, self.symbol)

    def apply(self, x: ndarray, following: ndarray) -> ndarray:
        """Put ``symbol`` wherever a document starts after ``x``; return where, as bool.

        ``following`` are the positions of the symbols after those of ``x``, in the same shape.
        """
        reset = self.among(following)
        x[reset] = self.symbol
        return reset

    def among(self, positions: ndarray) -> ndarray:
        """Whether a document starts at each of some positions, bool of the same shape."""
        if len(self.positions) == 0:
            return np.zeros(positions.shape, bool)
        nearest = np.searchsorted(self.positions, positions).clip(max=len(self.positions) - 1)
        found: ndarray = self.positions[nearest] == positions
        return found


@dataclass(frozen=True)
class Split:
    """A part of a text: the symbols to train on or to score, and what precedes them."""

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
    """The training part of a text, and the rest, the validation part, which may be empty.

    The last symbols of the training part are the context of the validation part.
    """
    full, train = whole(text, reset), training_size(len(text), val_fraction)
    context = np.concatenate([full.context, full.ids[:train][-CONTEXT:]])
    resets = full.resets and full.resets.shifted(train)
    return (Split(full.ids[:train], full.context, full.resets),
            Split(full.ids[train:], context, resets))


def training_size(size: int, val_fraction: float | None) -> int:
    """How many of ``size`` symbols are for training; the others are for validation.

    Validation needs two symbols; if fewer would be left, all are for training.
    """
    if val_fraction is None:
        val_fraction = default_fraction(size)
    train = int(size * (1 - val_fraction) + 1e-6)  # in floats, 1 - 0.9 is slightly less than 0.1
    return size if size - train < 2 else train


def default_fraction(size: int) -> float:
    """The share of ``size`` symbols that are for validation if no share was set.

    A tenth, but at most LARGEST_VALIDATION symbols: more would take longer to score, and the score
    would hardly be more precise.
    """
    return min(0.1, LARGEST_VALIDATION / max(1, size))
