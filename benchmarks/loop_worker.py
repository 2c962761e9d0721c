"""The plain NumPy program of tutorials such as min-char-rnn: one character at a time.

Column vectors and a batch of 1; a Python loop over the steps forward, and another one backward
that accumulates every gradient; then clipping and Adam, matrix by matrix.
"""

from __future__ import annotations

import numpy as np
from worker import Work, serve


def train(threads: int, L: int, H: int, B: int, T: int, V: int) -> Work:
    assert (L, B) == (1, 1), "the plain loop has one layer and a batch of 1"
    rng = np.random.default_rng(1)
    shapes = {"W_xh": (H, V), "W_hh": (H, H), "W_hy": (V, H), "b_h": (H, 1), "b_y": (V, 1)}
    weights = {name: rng.normal(0, 0.01, shape).astype(np.float32)
               for name, shape in shapes.items()}
    first = {name: np.zeros_like(w) for name, w in weights.items()}
    second = {name: np.zeros_like(w) for name, w in weights.items()}
    text = rng.integers(V, size=100 * T + 1)
    state, at, steps = np.zeros((H, 1), np.float32), 0, 0

    def step() -> int:
        nonlocal state, at, steps
        x, y = text[at : at + T], text[at + 1 : at + T + 1]
        at, steps = (at + T) % (100 * T), steps + 1
        W_xh, W_hh, W_hy, b_h, b_y = weights.values()
        onehot, h, p = {}, {-1: state}, {}
        loss = 0.0
        for t in range(T):
            onehot[t] = np.zeros((V, 1), np.float32)
            onehot[t][x[t]] = 1
            h[t] = np.tanh(W_xh @ onehot[t] + W_hh @ h[t - 1] + b_h)
            z = W_hy @ h[t] + b_y
            p[t] = np.exp(z - z.max())
            p[t] /= p[t].sum()
            loss -= np.log(p[t][y[t], 0]) / T
        grad = {name: np.zeros_like(w) for name, w in weights.items()}
        from_next = np.zeros_like(state)
        for t in reversed(range(T)):
            dz = p[t].copy()
            dz[y[t]] -= 1
            dz /= T
            grad["W_hy"] += dz @ h[t].T
            grad["b_y"] += dz
            da = (1 - h[t] * h[t]) * (W_hy.T @ dz + from_next)
            grad["b_h"] += da
            grad["W_xh"] += da @ onehot[t].T
            grad["W_hh"] += da @ h[t - 1].T
            from_next = W_hh.T @ da
        state = h[T - 1]
        norm = np.sqrt(sum(float((g * g).sum()) for g in grad.values()))
        for name, g in grad.items():
            g *= min(1.0, 1.0 / norm)
            first[name] += 0.1 * (g - first[name])
            second[name] += 0.01 * (g * g - second[name])
            m, v = first[name] / (1 - 0.9**steps), second[name] / (1 - 0.99**steps)
            weights[name] -= 1e-4 * m / (np.sqrt(v) + 1e-8)
        return T

    return step


if __name__ == "__main__":
    serve({"train": train})
