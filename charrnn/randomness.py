"""Random numbers as a function of what they are for.

There is no generator whose state could be disturbed, carried along or lost: the numbers of
step 7 are those of step 7, whatever was drawn before. Philox (Salmon et al. 2011) turns a key
and a counter into random bits; here (seed, purpose) is the key, and the counter begins with the
number. What is drawn for a step is drawn for all lanes: whoever works on some of them takes
their rows.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What numbers are drawn for; part of what a seed means, so never renumbered."""

    PARAMETERS = 0
    DROPOUT = 1
    SAMPLING = 2
    CUTS = 3


def generator(seed: int, purpose: Purpose, number: int = 0) -> np.random.Generator:
    """The generator for one purpose of a seed, and for its ``number``-th use (step, sample)."""
    # The counter's low words count the draws, so two uses cannot overlap.
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, number, 0]))
