"""Does a sample copy? What of it stands in a text word for word.

All stretches of some length are compared by a polynomial hash of 64 bits (Karp & Rabin 1987),
which is put together from shorter ones by doubling: a few passes over the text. What the hash
finds is looked at, symbol by symbol, so a collision costs time and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.corpus import Text
from charrnn.vocabulary import Vocabulary

Array = NDArray[Any]

WIDTH = 20  # symbols of a window that may be copied
SHOWN = 200  # characters of a passage
CHUNK = 1 << 18  # symbols that are hashed at once
BASE = 0x9E3779B97F4A7C15  # odd; 2^64 over the golden ratio: its powers spread well


@dataclass(frozen=True)
class Copied:
    """What of a sample stands in a text."""

    longest: int  # symbols of the longest passage
    start: int  # where it begins in the sample
    windows: int  # the sample's windows of WIDTH symbols
    found: int  # those that stand in the text

    @property
    def share(self) -> float:
        """Of the windows, from 0 to 1."""
        return self.found / self.windows if self.windows else 0.0


def copied(sample: Array, text: Array) -> Copied:
    """What of ``sample`` (M,) stands in ``text`` (N,); both hold symbols of one vocabulary."""
    windows = max(0, len(sample) - WIDTH + 1)
    found = np.zeros(windows, bool)
    longest, start = 0, 0
    for at, places in _matches(sample, text, WIDTH):
        found[at] = True
        length = WIDTH
        while len(at):
            longest, start = max((longest, start), (length, int(at[0])), key=lambda pair: pair[0])
            inside = (at + length < len(sample)) & (places + length < len(text))
            at, places = at[inside], places[inside]
            goes_on = sample[at + length] == text[places + length]
            at, places, length = at[goes_on], places[goes_on], length + 1
    if not longest:
        longest, start = _shorter(sample, text)
    return Copied(longest, start, windows, int(np.count_nonzero(found)))


def copied_lines(samples: list[Array], text: Text, vocabulary: Vocabulary) -> Iterator[str]:
    """For each sample a line on what of it stands in ``text``, with the longest passage."""
    for number, sample in enumerate(samples, start=1):
        result = copied(sample, text.ids)
        passage = vocabulary.decode(sample[result.start : result.start + result.longest])
        if isinstance(passage, bytes):
            passage = passage.decode("utf-8", "replace")
        name = f"sample {number}: " if len(samples) > 1 else ""
        shown = repr(passage) if len(passage) <= SHOWN else f"{passage[:SHOWN]!r} ..."
        yield (
            f"{name}the longest passage that stands in {text.name} has {result.longest:,} "
            f"characters: {shown}; of its windows of {WIDTH} characters "
            f"{result.found:,} of {result.windows:,} do ({result.share:.1%})"
        )


def _shorter(sample: Array, text: Array) -> tuple[int, int]:
    """The length and the place of the longest common passage of less than WIDTH symbols."""
    low, high, start = 0, min(WIDTH, len(sample) + 1, len(text) + 1), 0
    while high - low > 1:  # there is one of ``low`` symbols, and none of ``high``
        middle = (low + high) // 2
        first = next(_matches(sample, text, middle), None)
        if first is None:
            high = middle
        else:
            low, start = middle, int(first[0][0])
    return low, start


def _matches(sample: Array, text: Array, width: int) -> Iterator[tuple[Array, Array]]:
    """Pairs of places, in the sample and in the text, where the same ``width`` symbols begin.

    They come in pieces, none of them empty. Every window of the sample that stands in the
    text comes with each of its places there.
    """
    if len(sample) < width or len(text) < width:
        return
    wanted, first, same = np.unique(
        _hashes(sample, width), return_index=True, return_inverse=True
    )
    order = np.argsort(same.ravel(), kind="stable")  # places of the sample, hash by hash
    ends = np.bincount(same.ravel()).cumsum()
    small = np.zeros(1 << 16, bool)  # most hashes are told to be others by their last 16 bits
    small[(wanted & np.uint64(0xFFFF)).astype(np.intp)] = True
    for begin in range(0, len(text) - width + 1, CHUNK):
        hashes = _hashes(text[begin : begin + CHUNK + width - 1], width)
        candidates = np.flatnonzero(small[(hashes & np.uint64(0xFFFF)).astype(np.intp)])
        rank = np.searchsorted(wanted, hashes[candidates]).clip(max=len(wanted) - 1)
        hit = wanted[rank] == hashes[candidates]
        places, rank = begin + candidates[hit], rank[hit]
        steps = np.arange(width)
        alike = (sample[first[rank][:, None] + steps] == text[places[:, None] + steps]).all(axis=1)
        places, rank = places[alike], rank[alike]
        if len(places):
            times = np.diff(ends, prepend=0)[rank]  # how often the sample has it
            nth = np.arange(times.sum()) - np.repeat(times.cumsum() - times, times)
            yield order[np.repeat(ends[rank] - times, times) + nth], np.repeat(places, times)


def _hashes(symbols: Array, width: int) -> Array:
    """The hash of each stretch of ``width`` symbols, (N-width+1,) uint64."""
    block, length = symbols.astype(np.uint64) + np.uint64(1), 1
    total, done = np.zeros(len(symbols) + 1, np.uint64), 0  # of the stretches of ``done`` symbols
    while True:
        factor = np.uint64(pow(BASE, length, 1 << 64))
        if width & length:
            count = len(symbols) - done - length + 1
            total = total[:count] * factor + block[done : done + count]
            done += length
        if done == width:
            return total
        count = len(symbols) - 2 * length + 1
        block = block[:count] * factor + block[length : length + count]
        length *= 2
