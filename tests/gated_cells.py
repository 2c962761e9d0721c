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
        (h,), H = state, len(W_hh)
        for t in range(len(a)):
            before = unless(reset, t, h[t])
            product = before @ W_hh
            r, z = np.split(sigmoid(a[t] + product)[:, : 2 * H], 2, axis=1)
            n = np.tanh(a[t][:, 2 * H :] + r * product[:, 2 * H :])
            h[t + 1] = (1 - z) * n + z * before
            saved[t] = np.hstack([r, z, n, product[:, 2 * H :]])

    def backward(self, state, dh, W_hh, saved, da, scratch, reset=None):
        (h,), H = state, len(W_hh)
        dproduct, carried = saved[..., : 3 * H], np.zeros_like(h[0])
        for t in reversed(range(len(da))):
            dh_t = dh[t] + carried
            r, z, n, product = np.split(saved[t].copy(), 4, axis=1)
            dn = (1 - z) * dh_t * (1 - n * n)
            dz = (unless(reset, t, h[t]) - n) * dh_t * z * (1 - z)
            dr = dn * product * r * (1 - r)
            da[t] = np.hstack([dr, dz, dn])
            dproduct[t] = np.hstack([dr, dz, dn * r])
            carried = unless(reset, t, dproduct[t] @ W_hh.T + dh_t * z)
        return dproduct, carried[None]

    def step(self, state, a, product):
        (h,), H = state, len(product[0]) // 3
        r, z = np.split(sigmoid(a + product)[:, : 2 * H], 2, axis=1)
        n = np.tanh(a[:, 2 * H :] + r * product[:, 2 * H :])
        h[:] = (1 - z) * n + z * h


class Lstm(Gated):
    n_blocks, n_states, n_saved = 4, 2, 5  # i, f, g, o, tanh(c)

    def forward(self, state, a, W_hh, saved, reset=None):
        h, c = state
        for t in range(len(a)):
            gates = a[t] + unless(reset, t, h[t]) @ W_hh
            i, f, g, o = np.split(gates, 4, axis=1)
            i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
            c[t + 1] = f * unless(reset, t, c[t]) + i * g
            h[t + 1] = o * np.tanh(c[t + 1])
            saved[t] = np.hstack([i, f, g, o, np.tanh(c[t + 1])])

    def backward(self, state, dh, W_hh, saved, da, scratch, reset=None):
        h, c = state
        carried, dc = np.zeros_like(h[0]), np.zeros_like(c[0])
        for t in reversed(range(len(da))):
            i, f, g, o, tanh_c = np.split(saved[t], 5, axis=1)
            dh_t = dh[t] + carried
            dc = dc + dh_t * o * (1 - tanh_c * tanh_c)
            da[t] = np.hstack([
                dc * g * i * (1 - i),
                dc * unless(reset, t, c[t]) * f * (1 - f),
                dc * i * (1 - g * g),
                dh_t * tanh_c * o * (1 - o),
            ])
            carried, dc = unless(reset, t, da[t] @ W_hh.T), unless(reset, t, dc * f)
        return da, np.stack([carried, dc])

    def step(self, state, a, product):
        h, c = state
        i, f, g, o = np.split(a + product, 4, axis=1)
        c[:] = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h[:] = sigmoid(o) * np.tanh(c)
