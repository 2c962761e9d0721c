"""Novelty: which passages of a sample occur verbatim in a text.

All stretches of some length are compared by a polynomial hash of 64 bits (Karp & Rabin 1987),
which is put together from shorter ones by doubling: a few passes over the text. What the hash
finds is looked at, symbol by symbol, so a collision costs time and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

WIDTH = 20  # symbols of a window that may be copied
CHUNK = 1 << 18  # symbols that are hashed at once
BASE = 0x9E3779B97F4A7C15  # odd; 2^64 over the golden ratio: its powers spread well


@dataclass(frozen=True)
class Copied:
    """What of a sample occurs in a text."""

    longest: int  # symbols of the longest passage
    start: int  # where it begins in the sample
    windows: int  # the sample's windows of WIDTH symbols
    found: int  # those that occur in the text

    @property
    def share(self) -> float:
        """Of the windows, from 0 to 1."""
        return self.found / self.windows if self.windows else 0.0


def copied(sample: ndarray, text: ndarray) -> Copied:
    """What of ``sample`` (M,) occurs in ``text`` (N,); both hold symbols of one vocabulary.

    What is no symbol of it, such as V for an unknown character, may be in the text, and matches
    nothing.
    """
    windows = max(0, len(sample) - WIDTH + 1)
    found = int(np.count_nonzero(_occurring(sample, text, WIDTH)))
    # Of a passage that occurs in the text every shorter part does: the length can be bisected.
    low, high = (WIDTH, len(sample) + 1) if found else (0, min(WIDTH, len(sample) + 1))
    if found:  # most passages are short: look where they end before the middle of all
        while 2 * low < high and _occurring(sample, text, 2 * low, first=True).any():
            low *= 2
        high = min(high, 2 * low)
    while high - low > 1:  # a passage of ``low`` symbols occurs there, and none of ``high``
        middle = (low + high) // 2
        if _occurring(sample, text, middle, first=True).any():
            low = middle
        else:
            high = middle
    start = int(_occurring(sample, text, low, first=True).argmax()) if low else 0
    return Copied(low, start, windows, found)


def _occurring(sample: ndarray, text: ndarray, width: int, first: bool = False) -> ndarray:
    """Which windows of ``width`` symbols of the sample occur in the text, (M-width+1,).

    With ``first`` the search ends with the first piece of the text that has any of them.
    """
    if len(sample) < width or len(text) < width:
        return np.zeros(max(0, len(sample) - width + 1), bool)
    wanted, place, which = np.unique(
        _hashes(sample, width), return_index=True, return_inverse=True
    )
    found = np.zeros(len(wanted), bool)
    small = np.zeros(1 << 16, bool)  # most hashes are told to be others by their last 16 bits
    small[(wanted & np.uint64(0xFFFF)).astype(np.intp)] = True
    for begin in range(0, len(text) - width + 1, CHUNK):
        hashes = _hashes(text[begin : begin + CHUNK + width - 1], width)
        candidates = np.flatnonzero(small[(hashes & np.uint64(0xFFFF)).astype(np.intp)])
        rank = np.searchsorted(wanted, hashes[candidates]).clip(max=len(wanted) - 1)
        hit = wanted[rank] == hashes[candidates]
        # One place in this piece for each hash; the symbols themselves have the last word.
        ranks, at = np.unique(rank[hit], return_index=True)
        for one, there in zip(ranks, begin + candidates[hit][at], strict=True):
            if not found[one]:
                here = place[one]
                found[one] = np.array_equal(sample[here : here + width],
                                            text[there : there + width])
        if first and found.any():
            break
    return found[which.ravel()]


def _hashes(symbols: ndarray, width: int) -> ndarray:
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
