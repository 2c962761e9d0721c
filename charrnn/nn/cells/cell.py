"""The contract that every recurrent cell keeps, so that ``network`` need not know which it is.

    T  time steps of a window     B  sequences of the batch     H  hidden units of a layer

What a layer receives from below, x_t W_xh + b_h, needs no earlier step: ``network`` computes
it for all time steps in one product and passes it in as the input part ``a``. The cell makes
the recurrent product h_(t-1) W_hh itself. The two stay apart because a GRU multiplies one block
of the recurrent product by its reset gate before it adds the input part.

The arrays of ``forward`` and ``backward`` belong to ``network``, which allocates them once:

    state   (S, T+1, B, H)  [:, 0] is carried in, forward fills [:, t+1] by step t; strided, since
                            the layers lie side by side: index it, never reshape it
    a       (T, B, kH)      the input part; forward may overwrite it
    saved   (T, B, n_saved*H)  forward fills it, backward may overwrite it: in a GRU the gradients
                            of the input part and of the product differ, and the latter can
                            take the place of the gates
    dh      (T, B, H)       the gradient of each h from outside the loop; strided as well; may be
                            overwritten
    da      (T, B, kH)      backward fills it: the gradient of the input part, in the memory of a
    scratch (T, B, H)       backward may use it
    reset   (T, B) or None  where true, step t starts from zero in all S states, and nothing flows
                            back to them; state[:, t] itself is left alone, being the output of
                            step t-1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy import ndarray


class Cell(Protocol):
    """What goes on inside a layer: its parameters, and the way through time."""

    @property
    def n_blocks(self) -> int:
        """k, blocks of H columns in the pre-activation: 1 in the vanilla cell, 3 in a GRU
        (r, z, n), 4 in an LSTM (i, f, g, o)."""

    @property
    def n_states(self) -> int:
        """S, parts of the state carried through time: 1 (h), in an LSTM 2 (h, c). The first is
        h, and h alone is handed to the layers above and to the output layer."""

    @property
    def n_saved(self) -> int:
        """Blocks of H numbers that ``forward`` stores for each step, for ``backward``: none in
        the vanilla cell, where the slope of tanh follows from h; the gates, in the others."""

    def shapes(self, inputs: int, H: int) -> dict[str, tuple[int, ...]]:
        """Shapes of W_xh, W_hh and b_h in a layer that reads rows of ``inputs`` numbers.

        (inputs, kH), (H, kH) and (kH,): block j of each is its columns jH to (j+1)H.
        """

    def initialize(
        self, W_xh: ndarray, W_hh: ndarray, b_h: ndarray, rng: np.random.Generator, one_hot: bool
    ) -> None:
        """Fill the parameters of a layer, whose rows are ``one_hot`` in the first."""

    def forward(
        self, state: ndarray, a: ndarray, W_hh: ndarray, saved: ndarray,
        reset: ndarray | None = None,
    ) -> None:
        """Fill ``state[:, 1:]`` from ``state[:, 0]``, one time step after the other."""

    def backward(
        self, state: ndarray, dh: ndarray, W_hh: ndarray, saved: ndarray, da: ndarray,
        scratch: ndarray, reset: ndarray | None = None,
    ) -> tuple[ndarray, ndarray]:
        """The same time steps from the last to the first; fills ``da``.

        Returns the gradient of the recurrent product, (T, B, kH), which may be ``da`` itself, and
        that of the carried state, (S, B, H). After the last step no gradient is carried.
        """

    def step(self, state: Sequence[ndarray], a: ndarray, product: ndarray) -> None:
        """``forward`` for T = 1: update the S parts of ``state``, (B, H) each, in place.

        ``a`` (B, kH) is the input part, ``product`` (B, kH) that of h and W_hh; both may be
        overwritten.
        """
