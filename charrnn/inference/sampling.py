"""Generate text: read a prime, then draw one character at a time."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
from numpy import ndarray

from charrnn.errors import overflowed
from charrnn.inference.ensemble import Network, reader, stepper
from charrnn.nn.loss import quiet_overflow
from charrnn.nn.network import WINDOW
from charrnn.nn.rng import Purpose, generator

# The number of a sample, from 0, and its next symbols. A plain tuple: one is made per symbol.
Chunk = tuple[int, ndarray]

NO_SYMBOLS = np.zeros(0, np.intp)
SAMPLES_AT_ONCE = 32  # samples that a thread generates as one batch
SMALLEST = 1e-280  # sum of exp; closer to the end of float64's range it would lose precision
DRAWS = 256  # random numbers drawn at once for each sample


class PrimeReader:
    """Reads the prime, chunk by chunk, from the zero state; samples continue from its end."""

    def __init__(self, network: Network) -> None:
        self.read_window = reader(network, WINDOW, 1)
        self.state, self.logits, self.waiting = network.zero_state(1), NO_SYMBOLS, NO_SYMBOLS

    def read(self, ids: ndarray) -> None:
        """Read the next symbols, (n,)."""
        # In whole windows, so that the result does not depend on how the text is chunked.
        self.waiting = np.concatenate([self.waiting, ids])
        while len(self.waiting) >= WINDOW:
            self._window(WINDOW)

    def finish(self) -> tuple[ndarray, ndarray]:
        """The state (1, S*L*H) after all symbols, and the logits (1, V) of the next symbol."""
        if len(self.waiting):
            self._window(len(self.waiting))
        return self.state, self.logits[-1:].copy()

    def _window(self, size: int) -> None:
        x, self.waiting = self.waiting[:size, None], self.waiting[size:]
        self.logits, self.state = self.read_window(x, self.state)


def samples(
    network: Network,
    prime: ndarray | PrimeReader,
    *,
    count: int,
    length: int,
    seed: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: ndarray | None = None,
    threads: int = 1,
) -> Iterator[Chunk]:
    """Generate ``count`` samples of up to ``length`` symbols; yields their chunks in order.

    All samples continue from ``prime``: at least one symbol, or a reader that has read at least
    one. Up to rounding, sample i depends only on (seed, i). A sample ends before the first
    occurrence of ``stop`` in it. The chunks of the first sample are yielded as they are drawn.
    Meanwhile ``threads`` threads draw the others, SAMPLES_AT_ONCE per batch.
    Raises DivergedError if a state overflows, as those of relu units may.
    """
    assert count > 0, count
    if isinstance(prime, np.ndarray):
        prefix = PrimeReader(network)
        prefix.read(prime)
        prime = prefix
    state, logits = prime.finish()
    draw = functools.partial(choose, temperature=temperature, top_k=top_k, top_p=top_p)

    def batch_from(first: int) -> Iterator[Chunk]:
        numbers = range(first, min(first + SAMPLES_AT_ONCE, count))
        return batch(network, state, logits, numbers, length, seed, draw, stop)

    if count <= SAMPLES_AT_ONCE:
        yield from batch_from(0)
    else:
        yield from in_parallel(map(batch_from, range(0, count, SAMPLES_AT_ONCE)), threads)


def in_parallel(batches: Iterator[Iterator[Chunk]], threads: int) -> Iterator[Chunk]:
    """The chunks of all batches, in order.

    The chunks of the first batch are yielded as they are drawn, while the other ``threads``
    generate the next batches. At most ``threads`` + 1 batches are in memory.
    """
    from concurrent.futures import Future, ThreadPoolExecutor  # takes 4 ms; few samples need none

    closed = threading.Event()
    ahead: deque[Future[list[Chunk]]] = deque()

    def until_closed(batch: Iterator[Chunk]) -> list[Chunk]:
        """The batch, with each sample as one chunk."""
        chunks = itertools.takewhile(lambda _: not closed.is_set(), batch)
        return [(number, np.concatenate([ids for _, ids in group]))
                for number, group in itertools.groupby(chunks, key=lambda chunk: chunk[0])]

    with ThreadPoolExecutor(threads) as pool:
        def start_next(count: int) -> None:
            ahead.extend(pool.submit(until_closed, each)
                         for each in itertools.islice(batches, count))
        try:
            first = next(batches)
            start_next(threads - 1)
            yield from first
            start_next(1)
            while ahead:
                finished = ahead.popleft().result()
                start_next(1)
                yield from finished
        finally:
            closed.set()  # the caller needs no more chunks


def batch(
    network: Network,
    state: ndarray,
    logits: ndarray,
    numbers: range,
    length: int,
    seed: int,
    draw: Callable[[ndarray, ndarray], ndarray],
    stop: ndarray | None,
) -> Iterator[Chunk]:
    """Draw the samples ``numbers`` as one batch; yields the chunks of the first as it is drawn.

    All of them continue from ``state`` (1, S*L*H) and the ``logits`` (1, V) of its next symbol.
    """
    B, first = len(numbers), numbers[0]
    step = stepper(network, np.repeat(state, B, axis=0))

    @quiet_overflow
    def after(x: ndarray | None, numbers: ndarray) -> ndarray:
        """The symbols that follow ``x``, or the prime if ``x`` is None; both (B,)."""
        return draw(np.repeat(logits, B, axis=0) if x is None else step(x), numbers)

    width = 1 if stop is None else len(stop)
    uniform = _uniform(seed, numbers)
    drawn: list[ndarray] = []  # (B,) for each step; of a single sample, only what is held back
    lengths = np.full(B, length)
    x = None
    for t in range(length):
        try:
            x = after(x, next(uniform))
        except FloatingPointError:
            raise overflowed(f"after {t:,} symbols") from None
        drawn.append(x)
        if stop is not None and len(drawn) >= width:
            hit = (np.stack(drawn[-width:], axis=1) == stop).all(axis=1)
            lengths[hit] = np.minimum(lengths[hit], t + 1 - width)
            if (lengths < length).all():
                break
        # The last symbols are held back, since they may be the beginning of ``stop``.
        if lengths[0] < length:
            yield first, NO_SYMBOLS  # lets the caller stop, although the first sample has ended
        elif t + 1 >= width:
            yield first, drawn[-width][:1].copy()  # a view would keep the whole array in memory
        if B == 1:
            del drawn[: 1 - width or None]
    if lengths[0] == length:
        rest = [x[0] for x in drawn[len(drawn) - min(width - 1, length) :]]
        yield first, np.array(rest, np.intp)
    elif lengths[0] == 0:
        yield first, NO_SYMBOLS
    for i in range(1, B):
        yield first + i, np.array([x[i] for x in drawn[: lengths[i]]], np.intp)


def _uniform(seed: int, numbers: range) -> Iterator[ndarray]:
    """Uniform numbers in [0, 1), (B,) for each step: one per sample. Never ends."""
    generators = [generator(seed, Purpose.SAMPLING, number) for number in numbers]
    while True:
        yield from np.stack([each.random(DRAWS) for each in generators], axis=1)


def choose(
    logits: ndarray, uniform: ndarray, temperature: float, top_k: int, top_p: float
) -> ndarray:
    """Draw one symbol per row of ``logits`` (B, V), using the numbers ``uniform`` (B,) in [0, 1).

    Temperature 0 selects the most likely symbol. ``top_k`` > 0 draws from the k most likely
    symbols; after that, ``top_p`` < 1 draws from the smallest set of most likely symbols whose
    probabilities sum to at least p (nucleus sampling, Holtzman et al. 2020). Ties are broken in
    favor of the lowest ids. Returns the symbols (B,). Call it within ``quiet_overflow``; raises
    FloatingPointError if a row's largest logit is not finite.
    """
    if temperature == 0:
        if not np.isfinite(logits.max(axis=1)).all():
            raise FloatingPointError
        best: ndarray = logits.argmax(axis=1)
        return best
    z = logits if temperature == 1 else np.divide(logits, temperature, dtype=np.float64)
    p = np.exp(z, dtype=np.float64)  # not normalized, which does not matter below
    if 0 < top_k < logits.shape[1]:
        # The k-th largest logit, before the division by the temperature, which may create ties.
        last = np.partition(logits, -top_k, axis=1)[:, [-top_k]]
        others = logits < last
        if np.count_nonzero(others) < len(logits) * (logits.shape[1] - top_k):  # there are ties
            above = np.count_nonzero(logits > last, axis=1, keepdims=True)
            equal = logits == last
            others |= equal & (equal.cumsum(axis=1) > top_k - above)
        p[others] = 0
    if top_p < 1:
        order = np.argsort(-p, axis=1, kind="stable")
        ranked = np.take_along_axis(p, order, axis=1)
        before = np.cumsum(ranked, axis=1) - ranked
        ranked[before >= top_p * ranked.sum(axis=1, keepdims=True)] = 0
        np.put_along_axis(p, order, ranked, axis=1)
    edges = np.add.accumulate(p, axis=1, out=p)
    if not all(SMALLEST < height < math.inf for height in edges[:, -1].tolist()):
        # The sum of exp(z) is out of float64's range; subtracting the largest logit avoids that.
        if not np.isfinite(logits.max(axis=1)).all():
            raise FloatingPointError
        z = np.subtract(logits, logits.max(axis=1, keepdims=True), dtype=np.float64)
        return choose(z, uniform, temperature, top_k, top_p)
    # Inverse transform sampling: the first edge above the drawn height. A symbol of probability
    # 0 has an interval of width 0 and is never drawn.
    if len(edges) == 1:  # faster for one row; such calls take half the time of a step
        drawn: ndarray = edges[0].searchsorted(uniform * edges[0, -1], side="right")
    else:
        drawn = np.add.reduce(edges <= uniform[:, None] * edges[:, -1:], axis=1)
    return drawn
