"""The cells by name; the shapes and initial values of all parameters in one flat vector."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from charrnn.nn.cells.cell import Cell
from charrnn.nn.cells.gru import Gru
from charrnn.nn.cells.lstm import Lstm
from charrnn.nn.cells.rnn import Rnn

# Each entry makes a cell from the name of its activation, of which the gated cells have no choice.
CELLS: dict[str, Callable[[str], Cell]] = {
    "rnn": Rnn, "gru": lambda activation: Gru(), "lstm": lambda activation: Lstm(),
}


@dataclass(frozen=True)
class Architecture:
    """The sizes and choices that determine the equations and the shapes of all parameters."""

    vocabulary_size: int  # V
    hidden_size: int  # H
    layers: int = 1  # L
    activation: str = "tanh"  # or "relu"
    dtype: str = "float32"  # or "float64"
    cell_type: str = "rnn"  # a key of CELLS

    @functools.cached_property
    def cell(self) -> Cell:
        """The cell of every layer."""
        return CELLS[self.cell_type](self.activation)

    @property
    def output_size(self) -> int:
        """L*H, the width of the output layer's input: h of all layers side by side."""
        return self.layers * self.hidden_size

    @property
    def state_size(self) -> int:
        """S*L*H, the width of the carried state: h of all layers, then the cell's other states."""
        return self.cell.n_states * self.output_size

    def columns(self, layer: int) -> slice:
        """The H columns of ``layer`` (from 0) in a row of L*H."""
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
        """P, the number of parameters."""
        # Python's integers do not overflow at absurd sizes, unlike NumPy's.
        return sum(map(math.prod, self.shapes().values()))


class Parameters:
    """Named views of one flat vector (P,); a gradient is the same type over its own vector.

    ``W_xh[l]`` is (V, kH) in the first layer and (H, kH) above it, ``W_hh[l]`` (H, kH),
    ``b_h[l]`` (kH,), ``W_hy`` (L*H, V) and ``b_y`` (V,); k is the cell's ``n_blocks``.
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

    @property
    def vocabulary_size(self) -> int:
        """V, the number of symbols."""
        return self.arch.vocabulary_size

    def copy(self) -> Parameters:
        """The same values over a new flat vector."""
        return Parameters(self.arch, self.flat.copy())

    def zero_state(self, B: int) -> ndarray:
        """The state before the first symbol, (B, S*L*H)."""
        return np.zeros((B, self.arch.state_size), self.arch.dtype)


def initialize(arch: Architecture, rng: np.random.Generator) -> Parameters:
    """Initial parameters: each cell fills its own, W_hy is N(0, 1/(L*H)), b_y is zero."""
    params = Parameters(arch)
    for layer, weights in enumerate(zip(params.W_xh, params.W_hh, params.b_h, strict=True)):
        arch.cell.initialize(*weights, rng, one_hot=layer == 0)
    params.W_hy[:] = rng.normal(0.0, arch.output_size**-0.5, params.W_hy.shape)
    return params
