"""The vanilla cell: its loops over time allocate nothing."""

from __future__ import annotations

import tracemalloc

import numpy as np

from charrnn.nn.cells.rnn import Rnn


def test_the_loops_over_time_allocate_nothing():
    T, B, H = 50, 32, 64
    rng, cell = np.random.default_rng(0), Rnn("tanh")
    state, a = rng.normal(size=(1, T + 1, B, H)), rng.normal(size=(1, T, B, H))
    W_hh, one_step = rng.normal(size=(1, H, H)), a[0, 0].nbytes
    saved, scratch = np.empty((0, T, B, H)), np.empty((T, B, H))
    cell.forward(state, a, W_hh, saved)
    tracemalloc.start()
    cell.forward(state, a, W_hh, saved)
    forward_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    cell.backward(state, state[0, 1:], W_hh, saved, a, scratch)
    backward_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The product with W_hh; in backward also the transpose of W_hh and the carried gradient.
    assert forward_peak < 2 * one_step
    assert backward_peak < W_hh.nbytes + 3 * one_step
