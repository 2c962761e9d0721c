"""Score a text: how many nats the model needs per character, and how often it is right.

The states of an RNN depend on everything read before, which would allow only one stream.
Here a text is cut at fixed positions into segments of 1,024 characters; each is read side by
side with others, from the zero state, after up to 128 characters before it that are not
scored. The result depends neither on the batch nor on the training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint import Checkpoint
from charrnn.corpus import Text
from charrnn.errors import UsageError, overflowed
from charrnn.lanes import Resets, split
from charrnn.model import Tape, forward, surprisal
from charrnn.parallel import Alone, Ranks
from charrnn.parameters import Parameters

Array = NDArray[Any]

SEGMENT = 1024  # characters that are scored together
CONTEXT = 128  # characters read before each segment
LANES = 32  # segments read side by side, by each of the threads
WINDOW = 64  # time steps whose logits are in memory at once


@dataclass(frozen=True)
class Score:
    """Sums over the characters of a text; the rates follow from them."""

    chars: int
    nats: float  # sum of -ln p over the characters
    right: int  # characters that were the likeliest

    def __add__(self, other: Score) -> Score:
        return Score(self.chars + other.chars, self.nats + other.nats, self.right + other.right)

    def __str__(self) -> str:
        return (
            f"{self.nats_per_char:.4f} nats/char, {self.bits_per_char:.4f} bits/char, "
            f"perplexity {self.perplexity:.3f}, accuracy {100 * self.accuracy:.2f} %, "
            f"{self.chars:,} characters"
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


NOTHING = Score(0, 0.0, 0)


def part_of(run: Checkpoint, text: Text, part: str | None) -> tuple[Array, Array, Resets | None]:
    """The symbols of a part ("all", "train" or "val") of a text, and what is read before them.

    With it come the places where the network begins anew. The parts are those of the corpus of
    ``run``, which the text has to be.
    """
    start = np.array([run.vocabulary.start], run.vocabulary.dtype)
    resets = resets_in(run.settings, text)
    if part in ("train", "val"):
        if text.digest != run.origin["corpus"]:
            raise UsageError(f"{text.name} is not the text that the model was trained on, and "
                             f"only that has a --split {part}; leave --split out")
        if run.origin["val"]:
            if part == "val":
                raise UsageError("this model was validated on a file of its own: score that "
                                 "file without --split")
            return text.ids, start, resets
        fraction = run.settings["val_fraction"]
        train, val = split(text.ids, None if fraction is None else float(fraction))
        if part == "train":
            return train, start, resets
        before = np.concatenate([start, train[-CONTEXT:]])
        return val, before, resets and resets.moved(len(train))
    return text.ids, start, resets


def resets_in(settings: Mapping[str, Any], text: Text) -> Resets | None:
    """Where the network begins anew in a text, if the settings have it do so at all."""
    if settings["borders"] == "ignore":
        return None
    return Resets(np.array(text.begins, np.int64), text.vocabulary.start)


def score(
    params: Parameters,
    text: Array,
    before: Array,
    threads: int = 1,
    resets: Resets | None = None,
    ranks: Ranks | None = None,
) -> Score:
    """The score of all symbols of ``text`` (N,), which follows ``before`` (at least one).

    ``threads``, and the processes of ``ranks``, share the work; the result is the same for any
    number of them.
    """
    ranks = ranks or Ranks(Alone())
    share = slice(ranks.rank, None, ranks.size)
    mine = [score_of(*block) for block in surprisals(params, text, before, threads, resets, share)]
    # The blocks are dealt out like cards, and summed in their order.
    rounds = itertools.zip_longest(*ranks.all(mine), fillvalue=NOTHING)
    return sum(itertools.chain.from_iterable(rounds), start=NOTHING)


def total(blocks: Iterable[tuple[Array, Array]]) -> Score:
    """The score of all symbols in blocks of (nats, right), each of shape (n,)."""
    return sum(itertools.starmap(score_of, blocks), start=NOTHING)


def score_of(nats: Array, right: Array) -> Score:
    """The score of the symbols of one block."""
    return Score(len(nats), float(nats.sum(dtype=np.float64)), int(right.sum()))


def finite(blocks: Iterable[tuple[Array, Array]], name: str) -> Iterator[tuple[Array, Array]]:
    """Pass on blocks of (nats, right); DivergedError at a symbol of ``name`` with no score."""
    before = 0
    for nats, right in blocks:
        good = np.isfinite(nats)
        if not good.all():
            where = before + int(good.argmin()) + 1
            raise overflowed(f"in {name}, at symbol {where:,} of what is scored")
        before += len(nats)
        yield nats, right


def surprisals(
    params: Parameters,
    text: Array,
    before: Array,
    threads: int = 1,
    resets: Resets | None = None,
    share: slice = slice(None),
) -> Iterator[tuple[Array, Array]]:
    """For each symbol of ``text`` in order: -ln p, and whether it was the likeliest.

    Yields blocks of up to LANES segments, as (nats, right), each of shape (n,); all of them
    or a ``share``. ``before`` holds the symbols read before the text, of which the last
    CONTEXT are used.
    """
    assert len(before) > 0, "the first symbol has to follow something"
    before = before[-CONTEXT:]
    segments = -(-len(text) // SEGMENT)
    # Blocks of about the same size, so that threads have about the same to do.
    lanes = -(-segments // -(-segments // LANES)) if segments else LANES

    def block(first: int) -> tuple[Array, Array]:
        start, stop = first * SEGMENT, min(len(text), (first + lanes) * SEGMENT)
        # The block's symbols and what comes before them, as one stretch of text.
        known = before if first == 0 else text[start - CONTEXT : start]
        tape = Tape(params.arch, WINDOW, min(lanes, segments - first))
        stretch = np.concatenate([known, text[start:stop]])
        begins = resets and resets.moved(start - len(known))
        return _score_block(params, stretch, len(known), tape, begins)

    blocks = range(0, segments, lanes)[share]
    if threads == 1 or len(blocks) <= 1:
        yield from map(block, blocks)
    else:  # NumPy lets other threads run while it computes
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(block, blocks)


def streamed(
    params: Parameters, pieces: Iterable[Array], before: Array, threads: int = 1,
    restart: bool = False,
) -> Iterator[tuple[Array, Array]]:
    """``surprisals`` of a text that comes in pieces and need not end, in constant memory.

    The blocks do not depend on how the text is cut into pieces. An empty piece ends a document;
    with ``restart`` the next one is read like the first.
    """
    waiting, context = before[:0], before
    for piece in pieces:
        waiting = np.concatenate([waiting, piece])
        ended = restart and len(piece) == 0
        count = len(waiting) if ended else len(waiting) // (LANES * SEGMENT) * (LANES * SEGMENT)
        yield from surprisals(params, waiting[:count], context, threads)
        context = before if ended else np.concatenate([context, waiting[:count]])[-CONTEXT:]
        waiting = waiting[count:]
    yield from surprisals(params, waiting, context, threads)


def _score_block(
    params: Parameters, stretch: Array, context: int, tape: Tape, resets: Resets | None
) -> tuple[Array, Array]:
    """Score ``stretch[context:]``, segment by segment side by side."""
    length = len(stretch) - context
    B = -(-length // SEGMENT)
    # at[b] is where the context of segment b begins; the first may lack some of it.
    at = context - CONTEXT + SEGMENT * np.arange(B)
    h = params.zero_state(B)
    nats = np.empty((SEGMENT, B))
    right = np.empty((SEGMENT, B), bool)

    def window(where: Array) -> Array:
        # Steps before the text's beginning and after its end read any symbol: the state
        # of the former is replaced, the scores of the latter are dropped.
        symbols: Array = stretch[where.clip(0, len(stretch) - 1)]
        return symbols

    def read(where: Array, h: Array) -> tuple[Array, Array]:
        x, fresh = window(where), None
        if resets is not None:
            fresh = resets.begin(x, where + 1)
        return forward(params, x, h, tape, fresh=fresh)

    steps = np.arange(SEGMENT)[:, None]
    for t in range(0, CONTEXT - 1, WINDOW):
        h = read(at + steps[t : min(t + WINDOW, CONTEXT - 1)], h)[1]
    h[0] = 0.0
    for t in range(0, context - 1, WINDOW):
        h[:1] = read(steps[t : min(t + WINDOW, context - 1)], h[:1])[1]

    for t in range(0, SEGMENT, WINDOW):
        where = at + CONTEXT - 1 + steps[t : t + WINDOW]
        y = window(where + 1)
        logits, h = read(where, h)
        right[t : t + WINDOW] = (logits.argmax(axis=1) == y.ravel()).reshape(WINDOW, B)
        nats[t : t + WINDOW] = surprisal(logits, y.ravel())[0].reshape(WINDOW, B)
    return nats.T.ravel()[:length], right.T.ravel()[:length]


def score_lines(params: Parameters, lines: list[Array], start: int) -> list[Score]:
    """The score of each of ``lines``, every one read from the zero state after ``start``."""
    scores = [NOTHING] * len(lines)
    tape = Tape(params.arch, WINDOW, LANES)
    # Lines of like length are read side by side; those that have ended drop out in front.
    order = sorted((i for i in range(len(lines)) if len(lines[i])), key=lambda i: len(lines[i]))
    for first in range(0, len(order), LANES):
        group = order[first : first + LANES]
        h = params.zero_state(len(group))
        for t in range(0, len(lines[group[-1]]), WINDOW):
            ended = sum(len(lines[i]) <= t for i in group)
            group, h = group[ended:], h[ended:]
            T = min(WINDOW, len(lines[group[-1]]) - t)
            x, y = np.full((2, T, len(group)), start, np.intp)
            for lane, i in enumerate(group):
                read, expected = lines[i][max(0, t - 1) : t + T - 1], lines[i][t : t + T]
                x[(t == 0) : (t == 0) + len(read), lane] = read
                y[: len(expected), lane] = expected
            logits, h = forward(params, x, h, tape)
            right = (logits.argmax(axis=1) == y.ravel()).reshape(y.shape)
            nats = surprisal(logits, y.ravel())[0].reshape(y.shape)
            for lane, i in enumerate(group):
                n = min(T, len(lines[i]) - t)
                some = nats[:n, lane].sum(dtype=np.float64)
                scores[i] += Score(n, float(some), int(right[:n, lane].sum()))
    return scores
