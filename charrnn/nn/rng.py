"""Random numbers by seed and purpose.

There is no generator whose state could be disturbed, carried along or lost: the numbers of
step 7 are the same whatever was drawn before. Philox (Salmon et al. 2011) turns a key
and a counter into random bits; here (seed, purpose) is the key, and the counter begins with the
number. What is drawn for a step is drawn for the whole batch: whoever works on some of its
sequences takes their rows.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy import ndarray


class Purpose(IntEnum):
    """What numbers are drawn for; part of what a seed means, so never renumbered."""

    PARAMETERS = 0
    DROPOUT = 1
    SAMPLING = 2
    WINDOW_OFFSET = 3


BLOCK = 8  # float32 numbers that Philox makes of one count


def generator(
    seed: int, purpose: Purpose, number: int = 0, block: int = 0
) -> np.random.Generator:
    """The generator for one purpose of a seed, and for its ``number``-th use (step, sample).

    The first ``block`` times BLOCK float32 numbers are skipped.
    """
    # The counter's low words count the draws, so two uses cannot overlap.
    counter = [block, 0, number, 0]
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=counter))


def uniform_rows(
    seed: int, purpose: Purpose, number: int, rows: slice, width: int
) -> ndarray:
    """Some rows of an array of uniform float32 numbers, (.., ``width``), without the others."""
    block, before = divmod(rows.start * width, BLOCK)
    count = (rows.stop - rows.start) * width
    draws = generator(seed, purpose, number, block).random(before + count, np.float32)
    chosen: ndarray = draws[before:].reshape(-1, width)
    return chosen
