"""What the gated cells share: the sigmoid in place, and the initial values of their blocks.

    H  hidden units of a layer     k  blocks of H columns: 3 in a GRU, 4 in an LSTM
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy import ndarray

from charrnn.nn.cells.cell import by_block
from charrnn.nn.cells.rnn import orthogonal


def initialize_gates(
    W_xh: ndarray, W_hh: ndarray, b_h: ndarray, rng: np.random.Generator, one_hot: bool
) -> None:
    """Gaussian W_xh, W_hh with orthogonal blocks, zero biases."""
    H = len(W_hh)
    W_xh[:] = rng.normal(0.0, 1.0 if one_hot else len(W_xh) ** -0.5, W_xh.shape)
    for block in by_block(W_hh, W_hh.shape[1] // H):
        block[:] = orthogonal(H, rng)
    b_h[:] = 0


@functools.cache
def scales(gates: str, dtype: Any) -> ndarray:
    """(k, 1, 1), 1 for a tanh block, "g" or "n", and 1/2 for a sigmoid.

    Since sigmoid(x) = (1 + tanh(x/2)) / 2, one call of tanh then serves all blocks of a step.
    """
    found = np.array([1.0 if gate in "gn" else 0.5 for gate in gates], dtype)[:, None, None]
    found.flags.writeable = False
    return found


def sigmoid_from_tanh(x: ndarray) -> None:
    """Turn tanh(x/2) into sigmoid(x), in place."""
    np.multiply(x, 0.5, x)
    np.add(x, 0.5, x)
