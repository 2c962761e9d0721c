"""Novelty: which passages of a sample occur verbatim in a text.

Windows of a given width are compared by a 64-bit polynomial hash (Karp & Rabin 1987). Hashes of
wide windows are combined from those of narrow ones by doubling, in a few passes over the text.
Every match is verified symbol by symbol, so a collision costs time but cannot change the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

WIDTH = 20  # symbols of a window that counts as copied
CHUNK = 1 << 18  # symbols that are hashed at once
BASE = 0x9E3779B97F4A7C15  # odd; 2^64 / golden ratio: its powers are well distributed


@dataclass(frozen=True)
class Copied:
    """How much of a sample occurs verbatim in a text."""

    longest: int  # symbols of the longest passage that does
    start: int  # its first position in the sample
    windows: int  # how many windows of WIDTH symbols the sample has
    found: int  # how many of them occur in the text

    @property
    def share(self) -> float:
        """The share of the windows that occur in the text, from 0 to 1."""
        return self.found / self.windows if self.windows else 0.0


def copied(sample: ndarray, text: ndarray) -> Copied:
    """How much of ``sample`` (M,) occurs in ``text`` (N,); both are ids of one vocabulary.

    ``text`` may contain other ids, such as V for an unknown character; they match nothing.
    """
    windows = max(0, len(sample) - WIDTH + 1)
    found = int(np.count_nonzero(_occurring(sample, text, WIDTH)))
    # Every part of a passage that occurs in the text occurs too, so the length can be bisected.
    low, high = (WIDTH, len(sample) + 1) if found else (0, min(WIDTH, len(sample) + 1))
    if found:  # most passages are short, so double the length first to find an upper bound
        while 2 * low < high and _occurring(sample, text, 2 * low, first=True).any():
            low *= 2
        high = min(high, 2 * low)
    while high - low > 1:  # a passage of ``low`` symbols occurs, none of ``high`` symbols does
        middle = (low + high) // 2
        if _occurring(sample, text, middle, first=True).any():
            low = middle
        else:
            high = middle
    start = int(_occurring(sample, text, low, first=True).argmax()) if low else 0
    return Copied(low, start, windows, found)


def _occurring(sample: ndarray, text: ndarray, width: int, first: bool = False) -> ndarray:
    """Which windows of ``width`` symbols of the sample occur in the text, (M-width+1,) bool.

    With ``first``, the search ends after the first chunk of the text that contains one.
    """
    if len(sample) < width or len(text) < width:
        return np.zeros(max(0, len(sample) - width + 1), bool)
    wanted, place, which = np.unique(
        _hashes(sample, width), return_index=True, return_inverse=True
    )
    found = np.zeros(len(wanted), bool)
    small = np.zeros(1 << 16, bool)  # the last 16 bits rule out most hashes
    small[(wanted & np.uint64(0xFFFF)).astype(np.intp)] = True
    for begin in range(0, len(text) - width + 1, CHUNK):
        hashes = _hashes(text[begin : begin + CHUNK + width - 1], width)
        candidates = np.flatnonzero(small[(hashes & np.uint64(0xFFFF)).astype(np.intp)])
        rank = np.searchsorted(wanted, hashes[candidates]).clip(max=len(wanted) - 1)
        hit = wanted[rank] == hashes[candidates]
        # One position in this chunk for each hash; then compare the symbols themselves.
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
    """The hash of each window of ``width`` of the ``symbols`` (N,), (N-width+1,) uint64."""
    block, length = symbols.astype(np.uint64) + np.uint64(1), 1
    total, done = np.zeros(len(symbols) + 1, np.uint64), 0  # hashes of windows of ``done`` symbols
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
