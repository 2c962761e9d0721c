"""The GRU (Cho et al. 2014), with the reset gate after the product, as in cuDNN and PyTorch.

    T  time steps of a window     B  sequences of the batch     H  hidden units of a layer

With a = x_t W_xh + b_h and p = h_(t-1) W_hh, each in blocks r, z, n:

    forward     r_t = sigmoid(a_r + p_r)                    z_t = sigmoid(a_z + p_z)
                n_t = tanh(a_n + r_t * p_n)                 h_t = (1 - z_t) * n_t + z_t * h_(t-1)
    backward    da_n = dh_t * (1 - z_t) * (1 - n_t^2)       dp_n = da_n * r_t
                da_z = dh_t * (h_(t-1) - n_t) * z_t * (1 - z_t)             dp_z = da_z
                da_r = da_n * p_n * r_t * (1 - r_t)         dp_r = da_r
                dh_(t-1) = (from outside the loop) + dh_t * z_t + dp_t W_hh'

Cho et al. multiply h by the reset gate before the product; after it, one product serves all
three blocks. ``cell`` describes the arrays and who may overwrite which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy import ndarray

from charrnn.nn.cells.gates import initialize_gates, scales, sigmoid_from_tanh
from charrnn.nn.matmul import repeated_product, sum_of_products


class Gru:
    """h_t between h_(t-1) and a candidate n_t; the blocks are r (reset), z (update), n."""

    n_blocks, n_states, n_saved = 3, 1, 4  # saved: r, z, n and the product of block n
    gates: Mapping[str, int] = MappingProxyType({"reset": 0, "update": 1})

    def shapes(self, inputs: int, H: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of each parameter of a layer that reads rows of ``inputs`` numbers."""
        return {"W_xh": (inputs, 3 * H), "W_hh": (H, 3 * H), "b_h": (3 * H,)}

    def initialize(
        self, W_xh: ndarray, W_hh: ndarray, b_h: ndarray, rng: np.random.Generator, one_hot: bool
    ) -> None:
        """Fill the parameters of a layer."""
        initialize_gates(W_xh, W_hh, b_h, rng, one_hot)

    def forward(
        self, state: ndarray, a: ndarray, W_hh: ndarray, saved: ndarray,
        reset: ndarray | None = None,
    ) -> None:
        """Fill ``state[:, 1:]`` from ``state[:, 0]``, one time step after the other."""
        (h,), scale = state, scales("rzn", a.dtype)
        recurrent = repeated_product(W_hh * scale, B=a.shape[2])
        a *= scale[..., None]  # halves the sigmoid blocks, as W_hh above: see scales
        for t in range(a.shape[1]):
            gates, (r, z, n, p_n), h_t = saved[:2, t], saved[:, t], h[t + 1]
            product = recurrent(h[t])
            if reset is not None:
                product[:, reset[t]] = 0
            np.add(product[:2], a[:2, t], out=gates)
            np.tanh(gates, out=gates)
            sigmoid_from_tanh(gates)
            p_n[:] = product[2]
            np.multiply(r, p_n, out=n)
            n += a[2, t]
            np.tanh(n, out=n)
            np.subtract(h[t], n, out=h_t)
            if reset is not None:
                h_t[reset[t]] = -n[reset[t]]  # h - n from the zero state
            h_t *= z
            h_t += n

    def backward(
        self, state: ndarray, dh: ndarray, W_hh: ndarray, saved: ndarray, da: ndarray,
        scratch: ndarray, reset: ndarray | None = None,
    ) -> tuple[ndarray, ndarray]:
        """The same time steps from the last to the first; fills ``da``.

        Returns the gradient of the recurrent product, (k, T, B, H), in the place of the gates, and
        that of the carried state, (S, B, H). After the last step no gradient is carried.
        """
        (h,), dproduct = state, saved[:3]
        carried: ndarray = np.zeros_like(dh[0])
        slope, kept = np.empty_like(carried), np.empty_like(carried)
        to_before = sum_of_products(W_hh.swapaxes(1, 2), B=len(carried))
        for t in reversed(range(da.shape[1])):
            (r, z, n, p_n), (dr, dz, dn) = saved[:, t], da[:, t]
            carried += dh[t]
            np.multiply(carried, z, out=kept)  # what passes by the candidate
            np.subtract(h[t], n, out=dz)
            if reset is not None:
                dz[reset[t]] = -n[reset[t]]  # h - n from the zero state
            np.subtract(carried, kept, out=dn)  # carried * (1 - z)
            dz *= z
            dz *= dn
            np.multiply(n, n, out=slope)
            np.subtract(1, slope, out=slope)
            dn *= slope
            np.multiply(dn, r, out=n)  # the gradients take the place of the gates
            np.multiply(n, p_n, out=dr)
            np.subtract(1, r, out=slope)
            dr *= slope
            r[:], z[:] = dr, dz
            carried = to_before(dproduct[:, t])
            carried += kept
            if reset is not None:
                carried[reset[t]] = 0
        return dproduct, carried[None]

    def stepper(
        self, state: Sequence[ndarray], a: ndarray, product: ndarray
    ) -> Callable[[], None]:
        """A function that does one time step in place, for sampling.

        Each call updates the S parts of ``state``, (B, H) each, from the current values of the
        input part ``a`` (k, B, H) and of h W_hh, ``product`` (k, B, H), and may overwrite both.
        """
        (h,), gates, (r, z, n) = state, a[:2], a
        p_gates, p_n = product[:2], product[2]

        def step() -> None:
            np.add(gates, p_gates, gates)
            np.multiply(gates, 0.5, gates)
            np.tanh(gates, gates)
            sigmoid_from_tanh(gates)
            np.multiply(r, p_n, r)
            np.add(n, r, n)
            np.tanh(n, n)
            np.subtract(h, n, h)
            np.multiply(h, z, h)
            np.add(h, n, h)

        return step
