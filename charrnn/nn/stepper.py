"""The network one character at a time, for sampling."""

from __future__ import annotations

import functools

import numpy as np
from numpy import ndarray

from charrnn.nn.cells.cell import by_block
from charrnn.nn.loss import quiet_overflow
from charrnn.nn.matmul import repeated_product
from charrnn.nn.parameters import Parameters


class Stepper:
    """``network.forward`` one step at a time, starting from ``state`` (B, S*L*H).

    In each layer the matrices that multiply h are joined side by side: W_hh for the next step,
    W_xh of the layer above, and the layer's rows of W_hy. The last row of the joined matrix
    holds the biases, and h has a column of ones for it. So each layer is one product per step.
    Its result is kept, because it contains the recurrent product h W_hh of the next step.
    """

    @quiet_overflow
    def __init__(self, params: Parameters, state: ndarray) -> None:
        arch, (B, _) = params.arch, state.shape
        cell, H, V, kH = arch.cell, arch.hidden_size, arch.vocabulary_size, len(params.b_h[0])
        carried = state.reshape(B, cell.n_states, -1).swapaxes(0, 1)
        self.input, self.read = params.W_xh[0] + params.b_h[0], np.empty((B, kH), state.dtype)
        a = by_block(self.read, cell.n_blocks)
        self.layers, self.logits = [], []
        for layer in range(arch.layers):
            mine = arch.columns(layer)
            above = slice(layer + 1, layer + 2)  # empty for the top layer
            weights = [params.W_hh[layer], *params.W_xh[above], params.W_hy[mine]]
            biases = [np.zeros(kH, state.dtype), *params.b_h[above], params.b_y * (layer == 0)]
            times = repeated_product(np.vstack([np.hstack(weights), np.hstack(biases)]), B)
            padded = np.ones((B, H + 1), state.dtype)  # h, and the column of ones
            padded[:, :H] = carried[0, :, mine]
            product = times(padded)
            parts = [padded[:, :H], *carried[1:, :, mine].copy()]
            recurrent = by_block(product[:, :kH], cell.n_blocks)
            self.layers.append((cell.stepper(parts, a, recurrent), times, padded))
            self.logits.append(product[:, -V:])
            if layer < arch.layers - 1:  # the step above may overwrite a
                a = by_block(product[:, kH : 2 * kH], cell.n_blocks)

    def __call__(self, x: ndarray) -> ndarray:
        """Read one symbol per sequence, ``x`` (B,); returns the logits (B, V) of the next.

        The next call may overwrite them. Call it within ``quiet_overflow``.
        """
        # "clip" lets take write without a buffer. Positional arguments: a keyword would add a
        # tenth to the time of a short call.
        self.input.take(x, 0, self.read, "clip")
        for step, times, padded in self.layers:
            step()
            times(padded)
        logits: ndarray = functools.reduce(np.add, self.logits)
        return logits
