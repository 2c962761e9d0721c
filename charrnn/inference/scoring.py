"""Score a text: the model's nats per character, and how often its top prediction is correct.

The state of an RNN depends on everything before it, so a text as a whole is a single sequence.
To score it in parallel, it is divided at fixed positions into segments of SEGMENT characters.
Each segment starts from the zero state and first reads up to CONTEXT characters before it, which
are not scored again. The score depends neither on the batch size nor on how the model was trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from charrnn.errors import no_threads, overflowed
from charrnn.inference.ensemble import Network, Read, reader
from charrnn.nn.loss import surprisal
from charrnn.nn.network import WINDOW
from charrnn.text.display import count, symbol
from charrnn.text.split import CONTEXT, DocumentStarts, Split

SEGMENT = 1024  # characters of a segment
SEGMENTS_AT_ONCE = 32  # largest number of segments of a block, the batch that one thread reads
LARGE = 8192  # symbols of a vocabulary; with a larger one, fewer steps are read at once


def steps_at_once(V: int) -> int:
    """Steps per call of ``forward``: WINDOW, or fewer if V > LARGE, to bound the logits."""
    return max(1, min(WINDOW, WINDOW * LARGE // V))


@dataclass(frozen=True)
class Score:
    """How well a text is predicted: sums over its characters, and the rates computed from them.

    ``chars`` is the number of characters, ``nats`` the sum of -ln p over them, and ``right`` how
    many of them the model ranked first. ``nats_per_char``, ``bits_per_char`` and ``perplexity``
    are per character; ``accuracy`` is the share from 0 to 1 that was right.
    """

    chars: int
    nats: float
    right: int

    def __add__(self, other: Score) -> Score:
        return Score(self.chars + other.chars, self.nats + other.nats, self.right + other.right)

    def __str__(self) -> str:
        return self.text("char")

    def text(self, level: str) -> str:
        """The score for people; the ``level`` of the model, char or byte, names its unit."""
        return (
            f"{self.bits_per_char:.4f} bits/{level} ({self.nats_per_char:.4f} nats/{level}), "
            f"perplexity {self.perplexity:.3f}, accuracy {100 * self.accuracy:.2f} %, "
            f"{count(self.chars, symbol(level))}"
        )

    @property
    def nats_per_char(self) -> float:
        return self.nats / self.chars if self.chars else math.nan

    @property
    def bits_per_char(self) -> float:
        return self.nats_per_char / math.log(2)

    @property
    def perplexity(self) -> float:
        return math.exp(self.nats_per_char) if self.nats_per_char < 700 else math.inf

    @property
    def accuracy(self) -> float:
        return self.right / self.chars if self.chars else math.nan


NO_SCORE = Score(0, 0.0, 0)


class Scored(NamedTuple):
    """The scores of n consecutive symbols of a text."""

    nats: ndarray  # (n,) -ln p of each symbol
    right: ndarray  # (n,) bool, whether it was the most likely symbol

    @property
    def score(self) -> Score:
        """The sums over these symbols."""
        nats = float(self.nats.sum(dtype=np.float64))
        return Score(len(self.nats), nats, int(self.right.sum()))


def score(network: Network, part: Split, threads: int = 1) -> Score:
    """The score of all symbols of a part; it does not depend on the number of threads."""
    return total(score_blocks(network, part, threads))


def total(blocks: Iterable[Scored]) -> Score:
    """The sums over the symbols of all blocks, added in order."""
    return sum((block.score for block in blocks), start=NO_SCORE)


def check_finite(blocks: Iterable[Scored], name: str) -> Iterator[Scored]:
    """Yield ``blocks`` unchanged; raises DivergedError if a score is not finite.

    ``name`` is the name of the text, for the message.
    """
    before = 0
    for block in blocks:
        finite = np.isfinite(block.nats)
        if not finite.all():
            where = before + int(finite.argmin()) + 1
            raise overflowed(f"in {name}, at symbol {where:,} of the scored text")
        before += len(block.nats)
        yield block


def score_blocks(
    network: Network, part: Split, threads: int = 1, share: slice = slice(None)
) -> Iterator[Scored]:
    """Score the symbols of a part in order, in blocks of up to SEGMENTS_AT_ONCE segments.

    Yields all blocks, or those that the slice ``share`` selects. Uses the last CONTEXT symbols of
    the part's context. Segments are counted from the beginning of the part; document starts
    inside it only reset the state. ``score_stream`` with ``restart`` counts the segments of each
    document from its own beginning.
    """
    ids, before = part.ids, part.context[-CONTEXT:]
    assert len(before) > 0, "the first symbol needs at least one symbol of context"
    segments, width = shares(len(ids))

    def block(first: int) -> Scored:
        start, stop = first * SEGMENT, min(len(ids), (first + width) * SEGMENT)
        # The block's symbols, with their context in front.
        context = before if first == 0 else ids[start - CONTEXT : start]
        at_once = steps_at_once(network.vocabulary_size)
        read_window = reader(network, at_once, min(width, segments - first))
        text = np.concatenate([context, ids[start:stop]])
        resets = part.resets and part.resets.shifted(start - len(context))
        return _score_block(network, text, len(context), read_window, resets)

    blocks = range(0, segments, width)[share]
    if threads == 1 or len(blocks) <= 1:
        yield from map(block, blocks)
    else:  # NumPy lets other threads run while it computes
        from concurrent.futures import ThreadPoolExecutor  # takes 4 ms; one thread needs none

        with ThreadPoolExecutor(threads) as pool:
            try:
                scored = pool.map(block, blocks)
            except RuntimeError:
                raise no_threads(threads) from None
            yield from scored


def shares(symbols: int) -> tuple[int, int]:
    """How many segments a part of ``symbols`` symbols has, and how many segments a block has.

    Blocks have about equal sizes, so that threads have about equal work.
    """
    segments = -(-symbols // SEGMENT)
    if segments == 0:
        return 0, SEGMENTS_AT_ONCE
    return segments, -(-segments // -(-segments // SEGMENTS_AT_ONCE))


def score_stream(
    network: Network, chunks: Iterable[ndarray], start: ndarray, threads: int = 1,
    restart: bool = False,
) -> Iterator[Scored]:
    """``score_blocks`` for a text of any length that arrives in chunks, in constant memory.

    ``start`` is read before the text. The blocks do not depend on where the chunks end. An empty
    chunk ends a document; with ``restart`` the next document is scored like the first, with its
    segments counted from its own beginning.
    """
    waiting, context, size = start[:0], start, SEGMENTS_AT_ONCE * SEGMENT
    for chunk in chunks:
        waiting = np.concatenate([waiting, chunk])
        ended = restart and len(chunk) == 0
        count = len(waiting) if ended else len(waiting) // size * size
        yield from score_blocks(network, Split(waiting[:count], context), threads)
        context = start if ended else np.concatenate([context, waiting[:count]])[-CONTEXT:]
        waiting = waiting[count:]
    yield from score_blocks(network, Split(waiting, context), threads)


def _score_block(
    network: Network, text: ndarray, context: int, read_window: Read,
    resets: DocumentStarts | None,
) -> Scored:
    """Score ``text[context:]``, with its segments as the sequences of a batch."""
    length = len(text) - context
    B = -(-length // SEGMENT)
    # at[b] is where the context of segment b begins; for the first it may be negative.
    at = context - CONTEXT + SEGMENT * np.arange(B)
    state, at_once = network.zero_state(B), steps_at_once(network.vocabulary_size)
    nats = np.empty((SEGMENT, B))
    right = np.empty((SEGMENT, B), bool)

    def window(where: ndarray) -> ndarray:
        # Steps before the beginning of the text and after its end read an arbitrary symbol:
        # the state after the former is replaced, the scores of the latter are dropped.
        symbols: ndarray = text[where.clip(0, len(text) - 1)]
        return symbols

    def read(where: ndarray, state: ndarray) -> tuple[ndarray, ndarray]:
        x, reset = window(where), None
        if resets is not None:
            reset = resets.apply(x, where + 1)
        return read_window(x, state, reset)

    steps = np.arange(SEGMENT)[:, None]
    if B > 1:  # the first segment has its own context, below
        for t in range(0, CONTEXT - 1, at_once):
            state = read(at + steps[t : min(t + at_once, CONTEXT - 1)], state)[1]
    state[0] = 0.0
    for t in range(0, context - 1, at_once):
        state[:1] = read(steps[t : min(t + at_once, context - 1)], state[:1])[1]

    # A window is always read in full: the last bits of a product depend on its number of rows.
    for t in range(0, min(SEGMENT, length), at_once):
        where = at + CONTEXT - 1 + steps[t : t + at_once]
        y = window(where + 1)
        logits, state = read(where, state)
        right[t : t + at_once] = (logits.argmax(axis=1) == y.ravel()).reshape(y.shape)
        nats[t : t + at_once] = surprisal(logits, y.ravel())[0].reshape(y.shape)
    return Scored(nats.T.ravel()[:length], right.T.ravel()[:length])


def score_lines(network: Network, lines: list[ndarray], start: int) -> list[Score]:
    """The score of each of ``lines``: each is read from the zero state after symbol ``start``."""
    scores = [NO_SCORE] * len(lines)
    at_once = steps_at_once(network.vocabulary_size)
    read_window = reader(network, at_once, SEGMENTS_AT_ONCE)
    # Lines of similar length form a batch, the shortest first; finished lines leave at the front.
    order = sorted((i for i in range(len(lines)) if len(lines[i])), key=lambda i: len(lines[i]))
    for first in range(0, len(order), SEGMENTS_AT_ONCE):
        group = order[first : first + SEGMENTS_AT_ONCE]
        state = network.zero_state(len(group))
        for t in range(0, len(lines[group[-1]]), at_once):
            ended = sum(len(lines[i]) <= t for i in group)
            group, state = group[ended:], state[ended:]
            T = min(at_once, len(lines[group[-1]]) - t)
            x, y = np.full((2, T, len(group)), start, np.intp)
            for column, i in enumerate(group):
                read, expected = lines[i][max(0, t - 1) : t + T - 1], lines[i][t : t + T]
                x[(t == 0) : (t == 0) + len(read), column] = read
                y[: len(expected), column] = expected
            logits, state = read_window(x, state)
            right = (logits.argmax(axis=1) == y.ravel()).reshape(y.shape)
            nats = surprisal(logits, y.ravel())[0].reshape(y.shape)
            for column, i in enumerate(group):
                n = min(T, len(lines[i]) - t)
                some = nats[:n, column].sum(dtype=np.float64)
                scores[i] += Score(n, float(some), int(right[:n, column].sum()))
    return scores
