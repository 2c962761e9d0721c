"""The vanilla cell (Elman 1990): h_t = tanh(x_t W_xh + b_h + h_(t-1) W_hh).

    T  time steps of a window     B  sequences of the batch     H  hidden units of a layer

    forward     a_t = (x_t W_xh + b_h) + h_(t-1) W_hh           h_t = tanh(a_t)
    backward    da_t = (1 - h_t^2) * (dh_t + da_(t+1) W_hh')

``cell`` documents the arrays and which of them may be overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy import ndarray

from charrnn.nn.matmul import repeated_product


def slope_of_tanh(h: ndarray, out: ndarray) -> None:
    """The derivative of tanh at the point where tanh is ``h``."""
    np.multiply(h, h, out=out)
    np.subtract(1, out, out=out)


def relu(a: ndarray, out: ndarray) -> None:
    """max(a, 0), entry by entry."""
    np.maximum(a, 0, out=out)


def slope_of_relu(h: ndarray, out: ndarray) -> None:
    """The derivative of relu at the point where relu is ``h``; 0 where that is 0."""
    np.greater(h, 0, out=out, casting="unsafe")


# Each activation, and its derivative as a function of the activation's value; both fill ``out``.
ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "tanh": (np.tanh, slope_of_tanh), "relu": (relu, slope_of_relu),
}


class Rnn:
    """h_t = activation(x_t W_xh + b_h + h_(t-1) W_hh), with tanh or relu as ``activation``."""

    n_blocks, n_states, n_saved = 1, 1, 0
    gates: Mapping[str, int] = MappingProxyType({})

    def __init__(self, activation: str) -> None:
        self.activate, self.slope = ACTIVATIONS[activation]

    def shapes(self, inputs: int, H: int) -> dict[str, tuple[int, ...]]:
        """Shapes of W_xh, W_hh and b_h in a layer that reads rows of ``inputs`` numbers."""
        return {"W_xh": (inputs, H), "W_hh": (H, H), "b_h": (H,)}

    def initialize(
        self, W_xh: ndarray, W_hh: ndarray, b_h: ndarray, rng: np.random.Generator, one_hot: bool
    ) -> None:
        """Fill the parameters of a layer: Gaussian W_xh, orthogonal W_hh, zero biases.

        An orthogonal W_hh preserves the norm of the vectors it multiplies (Saxe et al. 2014;
        Henaff et al. 2016 for RNNs). W_xh is scaled so that the input part has variance 1 in
        the first layer, whose inputs are ``one_hot``, and less than 1 in the layers above,
        whose inputs are states between -1 and 1.
        """
        # A one-hot input selects one row; a state of H entries sums over H rows.
        W_xh[:] = rng.normal(0.0, 1.0 if one_hot else len(W_xh) ** -0.5, W_xh.shape)
        W_hh[:] = orthogonal(len(W_hh), rng)
        b_h[:] = 0

    def forward(
        self, state: ndarray, a: ndarray, W_hh: ndarray, saved: ndarray,
        reset: ndarray | None = None,
    ) -> None:
        """Fill ``state[:, 1:]`` from ``state[:, 0]``, time step by time step."""
        (h,), (a,), (W_hh,) = state, a, W_hh
        recurrent = repeated_product(W_hh, B=a.shape[1])
        for t, (a_t, before, after) in enumerate(zip(a, h[:-1], h[1:], strict=True)):
            product = recurrent(before)
            if reset is not None:
                product[reset[t]] = 0
            product += a_t
            self.activate(product, out=after)

    def backward(
        self, state: ndarray, dh: ndarray, W_hh: ndarray, saved: ndarray, da: ndarray,
        scratch: ndarray, reset: ndarray | None = None,
    ) -> tuple[ndarray, ndarray]:
        """The same time steps from the last to the first; fills ``da``.

        Returns the gradient of the recurrent product, (k, T, B, H), here ``da`` itself, and that
        of the carried state, (S, B, H). The gradient from beyond the last step is zero.
        """
        (h,), (W_hh,) = state, W_hh
        self.slope(h[1:], out=scratch)  # of the activation
        carried: ndarray = np.zeros_like(dh[0])
        to_before = repeated_product(W_hh.T, B=len(carried))
        steps = zip(da[0, ::-1], dh[::-1], scratch[::-1], strict=True)
        for t, (da_t, dh_t, slope_t) in enumerate(steps):
            carried += dh_t
            np.multiply(carried, slope_t, out=da_t)
            carried = to_before(da_t)
            if reset is not None:
                carried[reset[-1 - t]] = 0
        return da, carried[None]

    def stepper(
        self, state: Sequence[ndarray], a: ndarray, product: ndarray
    ) -> Callable[[], None]:
        """A function that does one time step in place, for sampling.

        Each call updates the S parts of ``state``, (B, H) each, from the current values of the
        input part ``a`` (k, B, H) and of h W_hh, ``product`` (k, B, H), and may overwrite both.
        """
        (h,), (a,), (product,) = state, a, product

        def step() -> None:
            np.add(a, product, h)  # positional: a keyword would add a tenth to the call's time
            self.activate(h, h)

        return step


def orthogonal(H: int, rng: np.random.Generator) -> ndarray:
    """A random orthogonal matrix, (H, H)."""
    q, r = np.linalg.qr(rng.normal(size=(H, H)))
    # The sign makes the distribution uniform over the orthogonal group (Mezzadri 2007).
    W: ndarray = q * np.sign(np.diag(r))
    return W
