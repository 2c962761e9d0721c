"""A naive reference implementation of one step of the network."""

from __future__ import annotations

import numpy as np


def step(params, x, state):
    """One step for symbols ``x`` (B,) from the carried ``state`` (B, L*H), as in the equations.

    Returns the logits (B, V) and the new state. Only for the vanilla cell, whose state is h.
    """
    arch, new = params.arch, np.empty_like(state)
    for layer in range(arch.layers):
        own = arch.columns(layer)
        if layer == 0:
            a = params.W_xh[0][x]
        else:
            a = new[:, arch.columns(layer - 1)] @ params.W_xh[layer]
        a = a + state[:, own] @ params.W_hh[layer] + params.b_h[layer]
        new[:, own] = np.tanh(a) if arch.activation == "tanh" else np.maximum(a, 0)
    return new @ params.W_hy + params.b_y, new
