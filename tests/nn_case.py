"""A small network and a window of symbols, for the tests of charrnn.nn."""

from __future__ import annotations

import numpy as np

from charrnn.nn.loss import cross_entropy
from charrnn.nn.network import Activations, backward, forward
from charrnn.nn.parameters import Architecture, Parameters, initialize

T, B, H, V = 5, 3, 4, 6


class Case:
    """A small network with nonzero parameters, and a window to read."""

    def __init__(self, layers, activation, masked=False, V=V, reset=None):
        rng = np.random.default_rng(7)
        self.arch = Architecture(V, H, layers, activation, "float64")
        self.params = initialize(self.arch, rng)
        self.params.flat += rng.normal(0, 0.3, self.arch.size)
        self.x = rng.integers(0, V, (T, B))
        self.y = rng.integers(0, V, (T, B))
        self.state = rng.normal(0, 0.5, (B, self.arch.state_size))
        shape = B, self.arch.output_size
        self.mask = (rng.random(shape) > 0.3) / 0.7 if masked else None
        self.activations = Activations(self.arch, T, B)
        self.reset = reset

    def forward(self):
        return forward(self.params, self.x, self.state, self.activations, self.mask, self.reset)

    def loss(self):
        logits, _ = self.forward()
        return cross_entropy(logits, self.y)

    def gradient(self):
        grad = Parameters(self.arch)
        logits, _ = self.forward()
        cross_entropy(logits, self.y)
        dstate = backward(
            self.params, self.x, logits, self.activations, grad, self.mask, self.reset
        )
        return grad, dstate


def central_differences(loss, array, epsilon=1e-5):
    """d loss / d array, one element at a time."""
    result = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        kept = array[i]
        array[i] = kept + epsilon
        above = loss()
        array[i] = kept - epsilon
        below = loss()
        array[i] = kept
        result[i] = (above - below) / (2 * epsilon)
    return result
