"""Sample text: read a prime, then draw one character after the other."""

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
from charrnn.nn.loss import quiet_overflow
from charrnn.nn.network import WINDOW, Activations, forward
from charrnn.nn.parameters import Parameters
from charrnn.nn.rng import Purpose, generator
from charrnn.nn.stepper import Stepper

# The number of a sample, from 0, and some of its symbols; one for every symbol, so a plain tuple.
Piece = tuple[int, ndarray]

NO_SYMBOLS = np.zeros(0, np.intp)
SAMPLES_AT_ONCE = 32  # samples that a thread writes side by side
SMALLEST = 1e-280  # sum of exp; near the end of float64's range it would lose its last bits
DRAWS = 256  # random numbers drawn at once for each sample


class PrimeReader:
    """Reads symbols from the zero state, piece by piece: what the samples continue from."""

    def __init__(self, params: Parameters) -> None:
        self.params, self.activations = params, Activations(params.arch, WINDOW, 1)
        self.state, self.logits, self.waiting = params.zero_state(1), NO_SYMBOLS, NO_SYMBOLS

    def read(self, ids: ndarray) -> None:
        """Read some symbols more."""
        # In whole windows, so that the result does not depend on how the text is cut.
        self.waiting = np.concatenate([self.waiting, ids])
        while len(self.waiting) >= WINDOW:
            self._window(WINDOW)

    def finish(self) -> tuple[ndarray, ndarray]:
        """The carried state (1, S*L*H) after all symbols, and the logits (1, V) of the next."""
        if len(self.waiting):
            self._window(len(self.waiting))
        return self.state, self.logits[-1:].copy()

    def _window(self, size: int) -> None:
        x, self.waiting = self.waiting[:size, None], self.waiting[size:]
        self.logits, self.state = forward(self.params, x, self.state, self.activations)


def samples(
    params: Parameters,
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
) -> Iterator[Piece]:
    """Pieces of ``count`` samples of up to ``length`` symbols, in order.

    All samples continue from ``prime``: at least one symbol, or a reader that has read some.
    Sample i depends on (seed, i) alone, to rounding. A sample ends before the first occurrence
    of ``stop`` in it. The pieces of the first come as they are drawn; others are drawn
    meanwhile, SAMPLES_AT_ONCE side by side in each of the ``threads``.
    DivergedError where a state overflows, as those of relu units may.
    """
    assert count > 0, count
    if isinstance(prime, np.ndarray):
        reader = PrimeReader(params)
        reader.read(prime)
        prime = reader
    state, logits = prime.finish()
    draw = functools.partial(choose, temperature=temperature, top_k=top_k, top_p=top_p)

    def batch_from(first: int) -> Iterator[Piece]:
        numbers = range(first, min(first + SAMPLES_AT_ONCE, count))
        return batch(params, state, logits, numbers, length, seed, draw, stop)

    if count <= SAMPLES_AT_ONCE:
        yield from batch_from(0)
    else:
        yield from side_by_side(map(batch_from, range(0, count, SAMPLES_AT_ONCE)), threads)


def side_by_side(batches: Iterator[Iterator[Piece]], threads: int) -> Iterator[Piece]:
    """The pieces of all batches, in order.

    Those of the first come as they are written, while the other ``threads`` write ahead. At
    most one batch more than there are threads is in memory.
    """
    from concurrent.futures import Future, ThreadPoolExecutor  # 4 ms, where few samples need it

    closed = threading.Event()
    ahead: deque[Future[list[Piece]]] = deque()

    def until_closed(batch: Iterator[Piece]) -> list[Piece]:
        """Each sample of a batch in one piece."""
        pieces = itertools.takewhile(lambda _: not closed.is_set(), batch)
        return [(number, np.concatenate([ids for _, ids in group]))
                for number, group in itertools.groupby(pieces, key=lambda piece: piece[0])]

    with ThreadPoolExecutor(threads) as pool:
        def write_ahead(count: int) -> None:
            ahead.extend(pool.submit(until_closed, each)
                         for each in itertools.islice(batches, count))
        try:
            first = next(batches)
            write_ahead(threads - 1)
            yield from first
            write_ahead(1)
            while ahead:
                written = ahead.popleft().result()
                write_ahead(1)
                yield from written
        finally:
            closed.set()  # whoever reads has enough


def batch(
    params: Parameters,
    state: ndarray,
    logits: ndarray,
    numbers: range,
    length: int,
    seed: int,
    draw: Callable[[ndarray, ndarray], ndarray],
    stop: ndarray | None,
) -> Iterator[Piece]:
    """Pieces of the samples ``numbers``, drawn side by side; of the first as it is drawn.

    All of them continue from the carried ``state`` (1, S*L*H) and its ``logits`` (1, V).
    """
    B, first = len(numbers), numbers[0]
    step = Stepper(params, np.repeat(state, B, axis=0))

    @quiet_overflow
    def after(x: ndarray | None, numbers: ndarray) -> ndarray:
        """The symbols that follow ``x``, or the prime."""
        return draw(np.repeat(logits, B, axis=0) if x is None else step(x), numbers)

    width = 1 if stop is None else len(stop)
    uniform = _uniform(seed, numbers)
    drawn: list[ndarray] = []  # (B,) for each step; of a lone sample only what is held back
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
        # The last symbols are held back: they may be the beginning of ``stop``.
        if lengths[0] < length:
            yield first, NO_SYMBOLS  # whoever reads may have enough, also while others go on
        elif t + 1 >= width:
            yield first, drawn[-width][:1].copy()  # a view would keep all in memory
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
    """Uniform numbers in [0, 1), one per sample and step: (B,), without end."""
    generators = [generator(seed, Purpose.SAMPLING, number) for number in numbers]
    while True:
        yield from np.stack([each.random(DRAWS) for each in generators], axis=1)


def choose(
    logits: ndarray, uniform: ndarray, temperature: float, top_k: int, top_p: float
) -> ndarray:
    """Draw one symbol per row of ``logits`` (B, V) with the numbers ``uniform`` (B,).

    Temperature 0 takes the likeliest. ``top_k`` > 0 draws among the k likeliest, ``top_p`` < 1
    among the fewest likeliest whose probabilities reach p together (nucleus sampling, Holtzman
    et al. 2020); of equals, those with the lowest ids. To be called where overflow is quiet;
    FloatingPointError where the largest logit is not finite.
    """
    if temperature == 0:
        if not np.isfinite(logits.max(axis=1)).all():
            raise FloatingPointError
        likeliest: ndarray = logits.argmax(axis=1)
        return likeliest
    z = logits if temperature == 1 else np.divide(logits, temperature, dtype=np.float64)
    p = np.exp(z, dtype=np.float64)  # up to a factor, which does not matter below
    if 0 < top_k < logits.shape[1]:
        last = np.partition(logits, -top_k, axis=1)[:, [-top_k]]  # dividing may make more equal
        others = logits < last
        if np.count_nonzero(others) < len(logits) * (logits.shape[1] - top_k):  # some are equal
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
        # Even float64 cannot hold exp of these; of their distances to the largest it can.
        if not np.isfinite(logits.max(axis=1)).all():
            raise FloatingPointError
        z = np.subtract(logits, logits.max(axis=1, keepdims=True), dtype=np.float64)
        return choose(z, uniform, temperature, top_k, top_p)
    # The first edge beyond the drawn height; symbols of probability 0 have no width.
    if len(edges) == 1:  # half the time of a step is the time of such calls
        drawn: ndarray = edges[0].searchsorted(uniform * edges[0, -1], side="right")
    else:
        drawn = np.add.reduce(edges <= uniform[:, None] * edges[:, -1:], axis=1)
    return drawn
