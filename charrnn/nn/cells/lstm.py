"""The LSTM (Hochreiter & Schmidhuber 1997) with forget gate (Gers et al. 2000), no peepholes.

    T  time steps of a window     B  sequences of the batch     H  hidden units of a layer

    forward     [a_i a_f a_g a_o] = (x_t W_xh + b_h) + h_(t-1) W_hh, in blocks
                i_t, f_t, o_t = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)    g_t = tanh(a_g)
                c_t = f_t * c_(t-1) + i_t * g_t                 h_t = o_t * tanh(c_t)
    backward    dc_t = dh_t * o_t * (1 - tanh(c_t)^2) + dc_(t+1) * f_(t+1)
                da_t = [dc_t * g_t * i_t * (1 - i_t)            dc_t * c_(t-1) * f_t * (1 - f_t)
                        dc_t * i_t * (1 - g_t^2)                dh_t * tanh(c_t) * o_t * (1 - o_t)]
                dh_t = (from outside the loop) + da_(t+1) W_hh'

``cell`` describes the arrays and who may overwrite which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy import ndarray

from charrnn.nn.cells.gates import initialize_gates, scales, sigmoid_from_tanh
from charrnn.nn.matmul import repeated_product, sum_of_products


class Lstm:
    """h_t and c_t through input, forget and output gates; the blocks are i, f, g, o."""

    n_blocks, n_states, n_saved = 4, 2, 5  # saved: i, f, g, o and tanh(c)
    gates: Mapping[str, int] = MappingProxyType({"input": 0, "forget": 1, "output": 3})

    def shapes(self, inputs: int, H: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter of a layer that reads rows of ``inputs`` numbers."""
        return {"W_xh": (inputs, 4 * H), "W_hh": (H, 4 * H), "b_h": (4 * H,)}

    def initialize(
        self, W_xh: ndarray, W_hh: ndarray, b_h: ndarray, rng: np.random.Generator, one_hot: bool
    ) -> None:
        """Fill the parameters of a layer; the forget gate starts with a bias of 1.

        So a cell forgets less before it has learned what to forget (Jozefowicz et al. 2015).
        """
        initialize_gates(W_xh, W_hh, b_h, rng, one_hot)
        b_h[len(W_hh) : 2 * len(W_hh)] = 1

    def forward(
        self, state: ndarray, a: ndarray, W_hh: ndarray, saved: ndarray,
        reset: ndarray | None = None,
    ) -> None:
        """Fill ``state[:, 1:]`` from ``state[:, 0]``, one time step after the other."""
        (h, c), scale = state, scales("ifgo", a.dtype)
        recurrent = repeated_product(W_hh * scale, B=a.shape[2])
        a *= scale[..., None]  # halves the sigmoid blocks, as W_hh above: see scales
        for t in range(a.shape[1]):
            (i, f, g, o, tanh_c), c_t = saved[:, t], c[t + 1]
            product = recurrent(h[t])
            if reset is not None:
                product[:, reset[t]] = 0
            product += a[:, t]
            np.tanh(product, out=saved[:4, t])
            sigmoid_from_tanh(saved[:2, t])
            sigmoid_from_tanh(o)
            np.multiply(f, c[t], out=c_t)
            if reset is not None:
                c_t[reset[t]] = 0
            np.multiply(i, g, out=tanh_c)
            c_t += tanh_c
            np.tanh(c_t, out=tanh_c)
            np.multiply(o, tanh_c, out=h[t + 1])

    def backward(
        self, state: ndarray, dh: ndarray, W_hh: ndarray, saved: ndarray, da: ndarray,
        scratch: ndarray, reset: ndarray | None = None,
    ) -> tuple[ndarray, ndarray]:
        """The same time steps from the last to the first; fills ``da``.

        Returns the gradient of the recurrent product, (k, T, B, H), here ``da`` itself, and that
        of the carried state, (S, B, H). After the last step no gradient is carried.
        """
        _, c = state
        carried, dc = np.zeros((2, *dh[0].shape), dh.dtype)
        slope, of_c = np.empty_like(dc), np.empty_like(dc)
        to_before = sum_of_products(W_hh.swapaxes(1, 2), B=len(dc))
        for t in reversed(range(da.shape[1])):
            (i, f, g, o, tanh_c), (di, df, dg, do) = saved[:, t], da[:, t]
            carried += dh[t]
            # dc += carried * o * (1 - tanh_c^2), and carried * o * tanh_c is also a part of do
            np.multiply(carried, o, out=of_c)
            np.multiply(of_c, tanh_c, out=do)
            np.multiply(do, tanh_c, out=slope)
            of_c -= slope
            dc += of_c
            np.subtract(1, o, out=slope)
            do *= slope
            times_slope_of_sigmoid(np.multiply(dc, g, out=di), i, slope)
            times_slope_of_sigmoid(np.multiply(dc, c[t], out=df), f, slope)
            np.multiply(dc, i, out=dg)
            np.multiply(g, g, out=slope)
            np.subtract(1, slope, out=slope)
            dg *= slope
            dc *= f
            if reset is not None:
                df[reset[t]] = 0
                dc[reset[t]] = 0
            carried = to_before(da[:, t])
            if reset is not None:
                carried[reset[t]] = 0
        return da, np.stack([carried, dc])

    def stepper(
        self, state: Sequence[ndarray], a: ndarray, product: ndarray
    ) -> Callable[[], None]:
        """A function that does one time step in place, for sampling.

        Each call updates the S parts of ``state``, (B, H) each, from the current values of the
        input part ``a`` (k, B, H) and of h W_hh, ``product`` (k, B, H), and may overwrite both.
        """
        (h, c), (i, f, g, o), scale = state, a, scales("ifgo", a.dtype)
        i_and_f = a[:2]

        def step() -> None:
            np.add(a, product, a)
            np.multiply(a, scale, a)
            np.tanh(a, a)
            sigmoid_from_tanh(i_and_f)
            sigmoid_from_tanh(o)
            np.multiply(c, f, c)
            np.multiply(i, g, i)
            np.add(c, i, c)
            np.tanh(c, g)
            np.multiply(o, g, h)

        return step


def times_slope_of_sigmoid(d: ndarray, gate: ndarray, scratch: ndarray) -> None:
    """Multiply ``d`` by the derivative of the sigmoid where its value is ``gate``."""
    np.subtract(1, gate, out=scratch)
    scratch *= gate
    d *= scratch
