"""The cells by name; the shapes and initial values of all parameters in one flat vector."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from charrnn.nn.cells.cell import Cell
from charrnn.nn.cells.rnn import Rnn

# The cells by name; each is made with the name of its activation.
CELLS: dict[str, Callable[[str], Cell]] = {"rnn": Rnn}


@dataclass(frozen=True)
class Architecture:
    """What fixes the shape of every parameter."""

    vocabulary_size: int  # V
    hidden_size: int  # H
    layers: int = 1  # L
    activation: str = "tanh"  # or "relu"
    dtype: str = "float32"  # or "float64"
    cell_type: str = "rnn"  # a key of CELLS

    @functools.cached_property
    def cell(self) -> Cell:
        """The equations of every layer."""
        return CELLS[self.cell_type](self.activation)

    @property
    def output_size(self) -> int:
        """Width of what the output layer reads: h of all layers side by side, L*H."""
        return self.layers * self.hidden_size

    @property
    def state_size(self) -> int:
        """Width of the carried state: h of all layers, then the cell's other states, S*L*H."""
        return self.cell.n_states * self.output_size

    def columns(self, layer: int) -> slice:
        """The columns of ``layer`` in a row of L*H."""
        return slice(layer * self.hidden_size, (layer + 1) * self.hidden_size)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in the order in which they are stored."""
        V, H = self.vocabulary_size, self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.layers):
            for name, shape in self.cell.shapes(H if layer else V, H).items():
                shapes[f"{name}{layer}"] = shape
        shapes["W_hy"] = (self.output_size, V)
        shapes["b_y"] = (V,)
        return shapes

    @property
    def size(self) -> int:
        """Number of parameters."""
        # Python's integers do not overflow for absurd sizes, as NumPy's would.
        return sum(map(math.prod, self.shapes().values()))


class Parameters:
    """Named views of one flat vector; a gradient is the same type over its own vector.

    With k blocks of the cell's pre-activation: ``W_xh[l]`` is (V, kH) for the first layer and
    (H, kH) above it, ``W_hh[l]`` (H, kH), ``b_h[l]`` (kH,), ``W_hy`` (L*H, V), ``b_y`` (V,).
    """

    def __init__(self, arch: Architecture, flat: ndarray | None = None) -> None:
        self.arch = arch
        self.flat = np.zeros(arch.size, arch.dtype) if flat is None else flat
        assert self.flat.shape == (arch.size,), (self.flat.shape, arch.size)
        self.named: dict[str, ndarray] = {}
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

    def zero_state(self, B: int) -> ndarray:
        """The state before anything was read, (B, S*L*H)."""
        return np.zeros((B, self.arch.state_size), self.arch.dtype)


def initialize(arch: Architecture, rng: np.random.Generator) -> Parameters:
    """Parameters at step 0: those of the cells, a Gaussian W_hy of variance 1/(L*H), zero b_y."""
    params = Parameters(arch)
    for layer, weights in enumerate(zip(params.W_xh, params.W_hh, params.b_h, strict=True)):
        arch.cell.initialize(*weights, rng, one_hot=layer == 0)
    params.W_hy[:] = rng.normal(0.0, arch.output_size**-0.5, params.W_hy.shape)
    return params
