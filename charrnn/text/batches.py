"""A text as B parallel sequences, read side by side in windows of T."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from charrnn.errors import CorpusError
from charrnn.text.display import count
from charrnn.text.split import DocumentStarts


class Batches:
    """A text cut into B contiguous sequences that are read side by side, in windows of T.

    Sequence b holds the n characters from offset + b*n on; each has its true successor in the
    text as target, also across the ends of windows and sequences. Every epoch may start at
    another ``offset``, 0 to ``max_offset``, so that its windows divide the text at other places.
    Window and batch shrink to fit short texts: an epoch has M = N-1-max_offset characters, and
    T = min(seq_length, M), B = min(batch_size, M // T), n = M // B.
    """

    SEQUENCES_PER_SHARD = 8  # at least; fewer rows make slow products

    def __init__(
        self, ids: ndarray, seq_length: int, batch_size: int,
        resets: DocumentStarts | None = None,
    ) -> None:
        pairs = len(ids) - 1
        if pairs < 1:
            raise CorpusError(
                f"there {'is' if len(ids) == 1 else 'are'} {count(len(ids), 'character')} to "
                "train on; at least 2 are needed"
            )
        self.ids, self.resets = ids, resets
        # Windows can begin anywhere, but a short text must not lose much to that.
        self.max_offset = min(seq_length - 1, pairs // 20)
        pairs -= self.max_offset
        self.T = min(seq_length, pairs)
        self.B = min(batch_size, pairs // self.T)
        self.length = pairs // self.B  # n
        self.left_over = len(ids) - 1 - self.B * self.length  # characters that an epoch omits
        self.windows = -(-self.length // self.T)  # of an epoch; the last may be shorter

    @property
    def max_shards(self) -> int:
        """The largest number of groups of sequences, for threads and processes."""
        return max(1, self.B // self.SEQUENCES_PER_SHARD)

    def window(
        self, index: int, offset: int = 0, sequences: slice = slice(None)
    ) -> tuple[ndarray, ndarray, ndarray | None]:
        """Inputs and targets of one window of an epoch, each (T, B), and where to reset the state.

        The last is bool (T, B), true where the target is the first symbol of a document and the
        input is the start symbol; None if no document starts. With ``sequences``, only those
        columns, and nothing else is read.
        """
        assert 0 <= offset <= self.max_offset, (offset, self.max_offset)
        stop = offset + self.B * self.length
        span = slice(index * self.T, (index + 1) * self.T)
        inputs = self.ids[offset:stop].reshape(self.B, self.length)[sequences, span]
        targets = self.ids[offset + 1 : stop + 1].reshape(self.B, self.length)[sequences, span]
        x, y = inputs.T.copy(), targets.T.copy()  # copies: the text must not change
        if self.resets is None:
            return x, y, None
        first = offset + self.length * np.arange(self.B)[sequences] + span.start + 1  # of targets
        reset = self.resets.apply(x, first + np.arange(len(x))[:, None])
        return x, y, reset if reset.any() else None
