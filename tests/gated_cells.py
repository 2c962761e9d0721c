"""A GRU and an LSTM for tests of the cell contract: short, not fast.

Equations and gate order are those of PyTorch, without its second bias. GRU: r, z, n, with the reset
gate applied after the recurrent product. LSTM: i, f, g, o.
"""

from __future__ import annotations

import numpy as np

from charrnn.nn.cells.rnn import orthogonal


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unless(reset, t, array):
    """``array`` (B, n), with the rows of the sequences that are reset at step t set to zero."""
    return array if reset is None else np.where(reset[t][:, None], 0, array)


class Gated:
    """The shapes and initial values that both cells share."""

    def __init__(self, activation):
        assert activation == "tanh"

    def shapes(self, inputs, H):
        kH = self.n_blocks * H
        return {"W_xh": (inputs, kH), "W_hh": (H, kH), "b_h": (kH,)}

    def initialize(self, W_xh, W_hh, b_h, rng, one_hot):
        H = len(W_hh)
        W_xh[:] = rng.normal(0, 1 if one_hot else H**-0.5, W_xh.shape)
        for block in range(self.n_blocks):
            W_hh[:, block * H : (block + 1) * H] = orthogonal(H, rng)
        b_h[:] = 0


class Gru(Gated):
    n_blocks, n_states, n_saved = 3, 1, 4  # r, z, n, and the recurrent product of n

    def forward(self, state, a, W_hh, saved, reset=None):
        (h,) = state
        for t in range(a.shape[1]):
            before = unless(reset, t, h[t])
            product_r, product_z, product_n = (before @ W for W in W_hh)
            r, z = sigmoid(a[0, t] + product_r), sigmoid(a[1, t] + product_z)
            n = np.tanh(a[2, t] + r * product_n)
            h[t + 1] = (1 - z) * n + z * before
            saved[:, t] = r, z, n, product_n

    def backward(self, state, dh, W_hh, saved, da, scratch, reset=None):
        (h,) = state
        dproduct, carried = np.empty_like(da), np.zeros_like(h[0])
        for t in reversed(range(da.shape[1])):
            dh_t = dh[t] + carried
            r, z, n, product = saved[:, t]
            dn = (1 - z) * dh_t * (1 - n * n)
            dz = (unless(reset, t, h[t]) - n) * dh_t * z * (1 - z)
            dr = dn * product * r * (1 - r)
            da[:, t] = dr, dz, dn
            dproduct[:, t] = dr, dz, dn * r
            before = sum(d @ W.T for d, W in zip(dproduct[:, t], W_hh, strict=True))
            carried = unless(reset, t, before + dh_t * z)
        return dproduct, carried[None]

    def step(self, state, a, product):
        (h,) = state
        r, z = sigmoid(a[0] + product[0]), sigmoid(a[1] + product[1])
        n = np.tanh(a[2] + r * product[2])
        h[:] = (1 - z) * n + z * h


class Lstm(Gated):
    n_blocks, n_states, n_saved = 4, 2, 5  # i, f, g, o, tanh(c)

    def forward(self, state, a, W_hh, saved, reset=None):
        h, c = state
        for t in range(a.shape[1]):
            before = unless(reset, t, h[t])
            i, f, g, o = (a_t + before @ W for a_t, W in zip(a[:, t], W_hh, strict=True))
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            c[t + 1] = f * unless(reset, t, c[t]) + i * g
            h[t + 1] = o * np.tanh(c[t + 1])
            saved[:, t] = i, f, g, o, np.tanh(c[t + 1])

    def backward(self, state, dh, W_hh, saved, da, scratch, reset=None):
        h, c = state
        carried, dc = np.zeros_like(h[0]), np.zeros_like(c[0])
        for t in reversed(range(da.shape[1])):
            i, f, g, o, tanh_c = saved[:, t]
            dh_t = dh[t] + carried
            dc = dc + dh_t * o * (1 - tanh_c * tanh_c)
            da[:, t] = (
                dc * g * i * (1 - i),
                dc * unless(reset, t, c[t]) * f * (1 - f),
                dc * i * (1 - g * g),
                dh_t * tanh_c * o * (1 - o),
            )
            before = sum(d @ W.T for d, W in zip(da[:, t], W_hh, strict=True))
            carried, dc = unless(reset, t, before), unless(reset, t, dc * f)
        return da, np.stack([carried, dc])

    def step(self, state, a, product):
        h, c = state
        i, f, g, o = a + product
        c[:] = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h[:] = sigmoid(o) * np.tanh(c)
