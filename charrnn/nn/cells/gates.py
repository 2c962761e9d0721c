"""What the gated cells share: the sigmoid in place, and the initial values of their blocks.

    H  hidden units of a layer     k  blocks of H columns: 3 in a GRU, 4 in an LSTM
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy import ndarray

from charrnn.nn.cells.rnn import orthogonal


def initialize_gates(
    W_xh: ndarray, W_hh: ndarray, b_h: ndarray, rng: np.random.Generator, one_hot: bool
) -> None:
    """Gaussian W_xh, W_hh with an orthogonal block for each gate, zero biases."""
    H = len(W_hh)
    W_xh[:] = rng.normal(0.0, 1.0 if one_hot else len(W_xh) ** -0.5, W_xh.shape)
    for block in blocks(W_hh, W_hh.shape[1] // H):
        block[:] = orthogonal(H, rng)
    b_h[:] = 0


def blocks(array: ndarray, k: int) -> list[ndarray]:
    """The k blocks of H columns of ``array`` (.., kH), as views."""
    H = array.shape[-1] // k
    return [array[..., j * H : (j + 1) * H] for j in range(k)]


@functools.cache
def gate_scale(H: int, gates: str, dtype: Any) -> ndarray:
    """(kH,) 1 in the columns of a tanh block, "g" or "n", and 1/2 in those of a sigmoid.

    Since sigmoid(x) = (1 + tanh(x/2)) / 2, one call of tanh then serves all blocks of a step.
    """
    halves = [1.0 if gate in "gn" else 0.5 for gate in gates]
    scale = np.repeat(np.array(halves, dtype), H)
    scale.flags.writeable = False
    return scale


def sigmoid_from_tanh(x: ndarray) -> None:
    """Turn tanh(x/2) into sigmoid(x), in place."""
    np.multiply(x, 0.5, x)
    np.add(x, 0.5, x)
