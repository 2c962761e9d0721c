"""The network: forward and backward through layers of cells with skip connections.

    T  time steps of a window     V  symbols of the vocabulary     L  layers
    B  sequences of the batch     H  hidden units of a layer

Forward (row vectors; the first layer reads the one-hot x_t; the equations of a layer are in
``cells``, shown here for the vanilla cell):

    a^l_t = h^(l-1)_t W_xh^l + b_h^l + h^l_(t-1) W_hh^l         h^l_t = tanh(a^l_t)
    z_t = [h^1_t .. h^L_t] W_hy + b_y                           p_t = softmax(z_t)

Backward, from the loss = mean over T*B of -ln p_t[y_t]; ' is the transpose, and W_hy^l are
the rows of W_hy that multiply h^l:

    dz_t   = (p_t - onehot(y_t)) / (T*B)
    dh^l_t = dz_t W_hy^l' + da^(l+1)_t W_xh^(l+1)' + da^l_(t+1) W_hh^l'
    da^l_t = (1 - (h^l_t)^2) * dh^l_t

docs/derivation.md derives these equations. Only the recurrent product and the activation depend
on the previous step, so only they are in a cell's loop over time; everything else is one matrix
product over T*B rows.

One array ``hs`` of shape (T+1, B, L*H) holds h of all layers side by side: ``hs[0]`` is the
carried state, ``hs[t+1]`` the state after reading ``x[t]``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray

from charrnn.nn.cells.cell import by_block
from charrnn.nn.loss import quiet_overflow
from charrnn.nn.parameters import Architecture, Parameters

WINDOW = 64  # steps per call of ``forward`` outside training


class Activations:
    """What ``forward`` saves for ``backward``, for windows of at most T steps and B sequences.

    All memory is allocated once, so that the loops over time allocate nothing. ``lay_out``,
    which ``forward`` calls first, places the named buffers in it for a window of (T, B).
    """

    def __init__(self, arch: Architecture, T: int, B: int) -> None:
        self.arch, self._shape = arch, (0, 0)
        self._memory = {
            name: np.zeros((T + 1) * B * width, arch.dtype)
            for name, width in self.widths(arch).items()
        }

    @staticmethod
    def widths(arch: Architecture) -> dict[str, int]:
        """The name of each buffer, and how many numbers it holds per character."""
        cell, H, LH = arch.cell, arch.hidden_size, arch.output_size
        return {
            "states": arch.state_size,  # the carried state, then the state after each step: T+1
            "saved": cell.n_saved * LH,  # what else the cells save
            "out": LH,  # the outputs of the layers: h after dropout; unused without dropout
            "a": cell.n_blocks * H,  # forward: the input part of a layer; backward: its gradient
            "dh": LH,
            "scratch": H,  # backward: for the cell, then for the gradient of the layer below
            "logits": arch.vocabulary_size,
        }

    @classmethod
    def entries(cls, arch: Architecture, T: int, B: int) -> int:
        """How many numbers the buffers for windows of (T, B) hold together."""
        return (T + 1) * B * sum(cls.widths(arch).values())

    def lay_out(self, T: int, B: int) -> None:
        """Lay out every buffer contiguously for T steps of B sequences."""
        if self._shape == (T, B):
            return
        arch, cell, self._shape = self.arch, self.arch.cell, (T, B)
        L, H, LH = arch.layers, arch.hidden_size, arch.output_size

        def view(name: str, *shape: int) -> ndarray:
            return self._memory[name][: math.prod(shape)].reshape(shape)

        self.states = view("states", cell.n_states, T + 1, B, LH)
        self.hs = self.states[0]
        self.saved = view("saved", L, cell.n_saved, T, B, H)
        self.out, self.dh = view("out", T, B, LH), view("dh", T, B, LH)
        self.a, self.scratch = view("a", cell.n_blocks, T, B, H), view("scratch", T, B, H)
        self.logits = view("logits", T, B, arch.vocabulary_size)

    def state(self, t: int) -> ndarray:
        """A copy of the carried state after t symbols, (B, S*L*H)."""
        after = self.states[:, t].swapaxes(0, 1)
        return after.reshape(len(after), -1).copy()


@quiet_overflow
def forward(
    params: Parameters,
    x: ndarray,
    state: ndarray,
    activations: Activations,
    mask: ndarray | None = None,
    reset: ndarray | None = None,
) -> tuple[ndarray, ndarray]:
    """Read the window ``x`` (T, B) of symbols, starting from the carried ``state`` (B, S*L*H).

    ``mask`` broadcasts to (T, B, L*H) and multiplies h on its way to the next layer and to the
    output layer, but not to the next time step (dropout as in Zaremba et al. 2014). Where
    ``reset`` (T, B) is true, a document starts, and the symbol is read from the zero state.
    Returns the logits (T*B, V), a view into ``activations``, and a copy of the final state.
    """
    arch, cell, k, (T, B) = params.arch, params.arch.cell, params.arch.cell.n_blocks, x.shape
    activations.lay_out(T, B)
    states, hs, a = activations.states, activations.hs, activations.a
    out = hs[1:] if mask is None else activations.out
    states[:, 0] = state.reshape(B, cell.n_states, -1).swapaxes(0, 1)
    for layer in range(arch.layers):
        mine = arch.columns(layer)
        if layer == 0:
            # A one-hot row times a matrix is one row of the matrix; the bias is already added.
            table = by_block(params.W_xh[0] + params.b_h[0], k)
            np.take(table, x, axis=1, out=a, mode="clip")
        else:
            below = rows(out)[:, arch.columns(layer - 1)]
            np.matmul(below, by_block(params.W_xh[layer], k), out=blocks(a))
            a += params.b_h[layer].reshape(k, 1, 1, -1)
        W_hh, saved = by_block(params.W_hh[layer], k), activations.saved[layer]
        cell.forward(states[..., mine], a, W_hh, saved, reset)
        if mask is not None:
            np.multiply(hs[1:, :, mine], mask[..., mine], out=out[..., mine])
    logits = rows(activations.logits)
    np.matmul(rows(out), params.W_hy, out=logits)
    logits += params.b_y
    return logits, activations.state(T)


@quiet_overflow
def backward(
    params: Parameters,
    x: ndarray,
    dlogits: ndarray,
    activations: Activations,
    grad: Parameters,
    mask: ndarray | None = None,
    reset: ndarray | None = None,
) -> ndarray:
    """Derivatives of the loss, in the reverse order of ``forward``. Fills ``grad``.

    ``x``, ``activations``, ``mask`` and ``reset`` are those of the preceding ``forward``;
    ``dlogits`` (T*B, V) are its logits after ``cross_entropy``. Returns the gradient of the
    carried state, (B, S*L*H). Training does not pass it on to the previous window (truncated
    BPTT: Werbos 1990, Williams & Peng 1990).
    """
    arch, cell, k, (T, B) = params.arch, params.arch.cell, params.arch.cell.n_blocks, x.shape
    states, hs, da, dh = activations.states, activations.hs, activations.a, activations.dh
    out = hs[1:] if mask is None else activations.out
    dstate: ndarray = np.empty_like(states[:, 0])

    ones = np.ones(T * B, dlogits.dtype)  # a product with it is faster than sum(axis=0)
    np.matmul(ones, dlogits, out=grad.b_y)
    np.matmul(rows(out).T, dlogits, out=grad.W_hy)
    np.matmul(dlogits, params.W_hy.T, out=rows(dh))
    for layer in reversed(range(arch.layers)):
        mine, scratch = arch.columns(layer), activations.scratch
        if layer < arch.layers - 1:
            # The gradient from the layer above, whose da is still in the buffer.
            for block, W_xh in zip(blocks(da), by_block(params.W_xh[layer + 1], k), strict=True):
                rows(dh)[:, mine] += np.matmul(block, W_xh.T, out=rows(scratch))
        if mask is not None:
            dh[..., mine] *= mask[..., mine]
        W_hh, saved = by_block(params.W_hh[layer], k), activations.saved[layer]
        dproduct, dstate[..., mine] = cell.backward(
            states[..., mine], dh[..., mine], W_hh, saved, da, scratch, reset
        )
        np.matmul(ones, blocks(da), out=grad.b_h[layer].reshape(k, -1))
        before = rows(hs)[: T * B, mine]
        if reset is not None:
            before = np.where(reset.reshape(-1, 1), 0, before)
        np.matmul(before.T, blocks(dproduct), out=by_block(grad.W_hh[layer], k))
        if layer > 0:
            below = rows(out)[:, arch.columns(layer - 1)]
            np.matmul(below.T, blocks(da), out=by_block(grad.W_xh[layer], k))
        else:
            add_by_symbol(x.ravel(), blocks(da), out=by_block(grad.W_xh[0], k))
    return dstate.swapaxes(0, 1).reshape(B, -1)


def add_by_symbol(x: ndarray, da: ndarray, out: ndarray) -> None:
    """Row v of each block of ``out`` = sum of the rows of ``da`` where ``x`` is v: onehot(x)' da.

    ``x`` is (N,), ``da`` (k, N, H), ``out`` (k, V, H).
    """
    V = out.shape[1]
    if V <= 128:  # a small product is faster than sorting; measured at B*T = 2048
        onehot = np.zeros((len(x), V), da.dtype)
        onehot[np.arange(len(x)), x] = 1
        np.matmul(onehot.T, da, out=out)
    else:
        order = np.argsort(x, kind="stable")
        symbols, starts = np.unique(x[order], return_index=True)
        out[:] = 0
        for block, rows_of_da in zip(out, da, strict=True):
            block[symbols] = np.add.reduceat(rows_of_da[order], starts, axis=0)


def blocks(array: ndarray) -> ndarray:
    """A view of (k, T, B, H) as (k, T*B, H): one product for each block."""
    k, _, _, H = array.shape
    return array.reshape(k, -1, H)


def rows(array: ndarray) -> ndarray:
    """A view of (T, B, ...) as (T*B, ...): one row per character, for one product."""
    return array.reshape(-1, array.shape[-1])
