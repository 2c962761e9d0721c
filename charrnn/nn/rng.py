"""Random numbers by seed and purpose.

No generator is carried through a run: the numbers of step 7 are the same whatever was drawn
before. Philox (Salmon et al. 2011) turns a key and a counter into random bits; here
(seed, purpose) is the key, and the number of the step or sample is one word of the counter.
Numbers for a step are defined for the whole batch: a thread or process that works on some
of its sequences uses their rows.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy import ndarray


class Purpose(IntEnum):
    """What numbers are drawn for. Never renumber: that would change what a seed gives."""

    PARAMETERS = 0
    DROPOUT = 1
    SAMPLING = 2
    WINDOW_OFFSET = 3


BLOCK = 8  # float32 numbers that Philox makes from one value of the counter


def generator(
    seed: int, purpose: Purpose, number: int = 0, block: int = 0
) -> np.random.Generator:
    """The generator for a seed, a purpose and the ``number`` of a step, sample or epoch.

    It skips the first ``block`` * BLOCK float32 numbers.
    """
    # The lower words of the counter count the draws, so those of two ``number``s cannot overlap.
    counter = [block, 0, number, 0]
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=counter))


def uniform_rows(
    seed: int, purpose: Purpose, number: int, rows: slice, width: int
) -> ndarray:
    """``rows`` of an array of uniform float32 numbers in [0, 1) with ``width`` columns.

    The other rows are not drawn. Returns (rows.stop - rows.start, width).
    """
    block, before = divmod(rows.start * width, BLOCK)
    count = (rows.stop - rows.start) * width
    draws = generator(seed, purpose, number, block).random(before + count, np.float32)
    chosen: ndarray = draws[before:].reshape(-1, width)
    return chosen
