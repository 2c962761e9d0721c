"""The contract of every recurrent cell, so that ``network`` works with any of them.

    T  time steps of a window     B  sequences of the batch     H  hidden units of a layer

The input part of a layer, a = x_t W_xh + b_h, does not depend on earlier steps: ``network``
computes it for all time steps in one product and passes it in. The cell computes the recurrent
product h_(t-1) W_hh itself. They are separate because a GRU multiplies one block of the
recurrent product by its reset gate before it adds the input part. (In the equations of
``network``, which are those of the vanilla cell, a is the sum of both; they have the same
gradient there.)

The parameters hold the k blocks of a layer side by side, (.., kH). The arrays of the loop over
time hold them one after the other, (k, .., H), since NumPy is twice as fast where a block of a
step is contiguous. ``by_block`` turns the former into the latter.

The arrays of ``forward`` and ``backward`` belong to ``network``, which allocates them once:

    state   (S, T+1, B, H)  [:, 0] is carried in, step t of forward fills [:, t+1]; strided, since
                            the layers are stored side by side: index it, never reshape it
    a       (k, T, B, H)    the input part; forward may overwrite it
    W_hh    (k, H, H)       a view of the parameter: its rows have gaps
    saved   (n_saved, T, B, H)  forward fills it, backward may overwrite it: in a GRU the gradients
                            of the input part and of the recurrent product differ, and the
                            latter can overwrite the gates
    dh      (T, B, H)       the gradient of each h from the layers above and the output layer;
                            also strided; backward may overwrite it
    da      (k, T, B, H)    backward fills it: the gradient of the input part; shares memory with a
    scratch (T, B, H)       backward may use it; only that of the vanilla cell does
    reset   (T, B) or None  where true, step t starts from zero in all S states, and no gradient
                            flows to the step before; state[:, t] is not changed, since it is
                            the output of step t-1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy import ndarray


class Cell(Protocol):
    """The parameters of a layer, and its computation through time."""

    @property
    def n_blocks(self) -> int:
        """k, the number of blocks of H columns in the pre-activation: 1 in the vanilla cell, 3 in
        a GRU (r, z, n), 4 in an LSTM (i, f, g, o)."""

    @property
    def n_states(self) -> int:
        """S, the number of parts of the carried state: 1 (h), in an LSTM 2 (h, c). The first is
        h; the layer above and the output layer read only h."""

    @property
    def n_saved(self) -> int:
        """Blocks of H numbers that ``forward`` saves at each step for ``backward``: 0 in the
        vanilla cell, where the slope of tanh follows from h; in the others, the gates
        and what else the slopes need."""

    @property
    def gates(self) -> Mapping[str, int]:
        """Each gate's name, and which of the ``n_saved`` blocks it is; none in the vanilla cell."""

    def shapes(self, inputs: int, H: int) -> dict[str, tuple[int, ...]]:
        """Shapes of W_xh, W_hh and b_h in a layer that reads rows of ``inputs`` numbers.

        They are (inputs, kH), (H, kH) and (kH,); block j of each is columns jH to (j+1)H - 1.
        """

    def initialize(
        self, W_xh: ndarray, W_hh: ndarray, b_h: ndarray, rng: np.random.Generator, one_hot: bool
    ) -> None:
        """Fill the parameters of a layer; ``one_hot`` if it is the first, with one-hot inputs."""

    def forward(
        self, state: ndarray, a: ndarray, W_hh: ndarray, saved: ndarray,
        reset: ndarray | None = None,
    ) -> None:
        """Fill ``state[:, 1:]`` from ``state[:, 0]``, time step by time step."""

    def backward(
        self, state: ndarray, dh: ndarray, W_hh: ndarray, saved: ndarray, da: ndarray,
        scratch: ndarray, reset: ndarray | None = None,
    ) -> tuple[ndarray, ndarray]:
        """The same time steps from the last to the first; fills ``da``.

        Returns the gradient of the recurrent product, (k, T, B, H), which may be ``da`` itself, and
        that of the carried state, (S, B, H). The gradient from beyond the last step is zero.
        """

    def stepper(
        self, state: Sequence[ndarray], a: ndarray, product: ndarray
    ) -> Callable[[], None]:
        """A function that does what ``forward`` does for T = 1, in place.

        Each call updates the S parts of ``state``, (B, H) each, from the current values of the
        input part ``a`` (k, B, H) and of h W_hh, ``product`` (k, B, H), and may overwrite both.
        """


def by_block(array: ndarray, k: int) -> ndarray:
    """A view of ``array`` (.., kH), k blocks of H columns, as (k, .., H)."""
    *others, kH = array.shape
    return np.moveaxis(array.reshape(*others, k, kH // k), -2, 0)
