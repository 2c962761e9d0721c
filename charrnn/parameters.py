"""What is learned: the shapes of a network's parameters, and one flat vector that holds them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Architecture:
    """What fixes the shape of every parameter."""

    vocabulary_size: int  # V
    hidden_size: int  # H
    layers: int = 1  # L
    activation: str = "tanh"  # or "relu"
    dtype: str = "float32"  # or "float64"

    @property
    def state_size(self) -> int:
        """Width of the carried state: the states of all layers side by side, L*H."""
        return self.layers * self.hidden_size

    def columns(self, layer: int) -> slice:
        """Where the states of ``layer`` stand in a row of L*H."""
        return slice(layer * self.hidden_size, (layer + 1) * self.hidden_size)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in the order in which they are stored."""
        V, H = self.vocabulary_size, self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.layers):
            shapes[f"W_xh{layer}"] = (H if layer else V, H)
            shapes[f"W_hh{layer}"] = (H, H)
            shapes[f"b_h{layer}"] = (H,)
        shapes["W_hy"] = (self.state_size, V)
        shapes["b_y"] = (V,)
        return shapes

    @property
    def size(self) -> int:
        """Number of parameters."""
        # Python's integers count absurd sizes, too, where NumPy's would wrap round.
        return sum(map(math.prod, self.shapes().values()))


class Parameters:
    """Named views of one flat vector; a gradient is the same type over its own vector.

    ``W_xh[l]`` is (V, H) for the first layer and (H, H) above it, ``W_hh[l]`` (H, H),
    ``b_h[l]`` (H,), ``W_hy`` (L*H, V), ``b_y`` (V,).
    """

    def __init__(self, arch: Architecture, flat: Array | None = None) -> None:
        self.arch = arch
        self.flat = np.zeros(arch.size, arch.dtype) if flat is None else flat
        assert self.flat.shape == (arch.size,), (self.flat.shape, arch.size)
        self.named: dict[str, Array] = {}
        start = 0
        for name, shape in arch.shapes().items():
            stop = start + math.prod(shape)
            self.named[name] = self.flat[start:stop].reshape(shape)
            start = stop
        layers = range(arch.layers)
        self.W_xh = [self.named[f"W_xh{layer}"] for layer in layers]
        self.W_hh = [self.named[f"W_hh{layer}"] for layer in layers]
        self.b_h = [self.named[f"b_h{layer}"] for layer in layers]
        self.W_hy = self.named["W_hy"]
        self.matrices = [*self.W_xh, *self.W_hh, self.W_hy]
        self.b_y = self.named["b_y"]

    def copy(self) -> Parameters:
        """The same values in a vector of their own."""
        return Parameters(self.arch, self.flat.copy())

    def zero_state(self, B: int) -> Array:
        """The state before anything was read, (B, L*H)."""
        return np.zeros((B, self.arch.state_size), self.arch.dtype)


def initialise(arch: Architecture, rng: np.random.Generator) -> Parameters:
    """Parameters at step 0: orthogonal W_hh, Gaussian W_xh and W_hy, zero biases.

    An orthogonal W_hh neither shrinks nor stretches what it carries from step to step
    (Saxe et al. 2014; Henaff et al. 2016 for RNNs). The input weights are scaled so that
    what they send into a unit has variance 1 in the first layer, which reads one-hot rows,
    and less than that in the layers above, which read states between -1 and 1.
    """
    params = Parameters(arch)
    H = arch.hidden_size
    for layer in range(arch.layers):
        # A one-hot input picks a single row; a state of H entries sums over H rows.
        spread = 1.0 if layer == 0 else H**-0.5
        params.W_xh[layer][:] = rng.normal(0.0, spread, params.W_xh[layer].shape)
        q, r = np.linalg.qr(rng.normal(size=(H, H)))
        # The sign makes the distribution uniform over the orthogonal group (Mezzadri 2007).
        params.W_hh[layer][:] = q * np.sign(np.diag(r))
    params.W_hy[:] = rng.normal(0.0, arch.state_size**-0.5, params.W_hy.shape)
    return params
