"""The network: layers of cells with skip connections, forward and beside that backward.

    T  time steps of a window     V  symbols of the vocabulary     L  layers
    B  sequences of the batch     H  hidden units of a layer

Forward (row vectors; x_t, one-hot, is what the first layer reads; ``cells`` has the inside of
a layer, here that of the vanilla cell):

    a^l_t = h^(l-1)_t W_xh^l + b_h^l + h^l_(t-1) W_hh^l         h^l_t = tanh(a^l_t)
    z_t = [h^1_t .. h^L_t] W_hy + b_y                           p_t = softmax(z_t)

Backward, from the loss = mean over T*B of -log p_t[y_t]; ' is the transpose, and W_hy^l
the rows of W_hy that layer l meets:

    dz_t   = (p_t - onehot(y_t)) / (T*B)
    dh^l_t = dz_t W_hy^l' + da^(l+1)_t W_xh^(l+1)' + da^l_(t+1) W_hh^l'
    da^l_t = (1 - (h^l_t)^2) * dh^l_t

docs/derivation.md derives them. Only the recurrent product and the activation need the step
before, so only they are in a cell's loop over time; everything else is one matrix product over
T*B rows.

One array ``hs`` of shape (T+1, B, L*H) holds h of all layers side by side: ``hs[0]`` is the
carried state, ``hs[t+1]`` the state after reading ``x[t]``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray

from charrnn.nn.loss import quiet_overflow
from charrnn.nn.parameters import Architecture, Parameters

WINDOW = 64  # steps that are read at once where nothing is learned from them


class Activations:
    """What ``forward`` saves for ``backward``, for windows of at most T steps and B sequences.

    All memory is allocated once, so that the loops over time allocate nothing; ``lay_out``
    places the named buffers in it for a window of (T, B), as ``forward`` does first.
    """

    def __init__(self, arch: Architecture, T: int, B: int) -> None:
        self.arch, self._shape = arch, (0, 0)
        self._memory = {
            name: np.zeros((T + 1) * B * width, arch.dtype)
            for name, width in self.widths(arch).items()
        }

    @staticmethod
    def widths(arch: Architecture) -> dict[str, int]:
        """The buffers, and how many numbers they hold for each character."""
        cell, H, LH = arch.cell, arch.hidden_size, arch.output_size
        return {
            "states": arch.state_size,  # the carried state, then those after each step: T+1
            "saved": cell.n_saved * LH,  # what the cells save besides
            "out": LH,  # h as it leaves the layers, where dropout changes it
            "a": cell.n_blocks * H,  # forward: the input part of a layer; backward: its gradient
            "dh": LH,
            "scratch": H,  # backward: for the cell, then for what a layer sends down
            "logits": arch.vocabulary_size,
        }

    @classmethod
    def entries(cls, arch: Architecture, T: int, B: int) -> int:
        """Numbers that the activations of windows of (T, B) hold."""
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
        self.saved = view("saved", L, T, B, cell.n_saved * H)
        self.out, self.dh = view("out", T, B, LH), view("dh", T, B, LH)
        self.a, self.scratch = view("a", T, B, cell.n_blocks * H), view("scratch", T, B, H)
        self.logits = view("logits", T, B, arch.vocabulary_size)

    def state(self, t: int) -> ndarray:
        """The carried state after t symbols, (B, S*L*H), a copy."""
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
    """Read the window ``x`` (T, B) of symbols from the carried ``state`` (B, S*L*H).

    ``mask`` multiplies h as it leaves a layer, upwards and to the output but not to the next
    time step (dropout as in Zaremba et al. 2014); it broadcasts to (T, B, L*H). Where ``reset``
    (T, B) is true, the symbol is read from the zero state: a document starts.
    Returns the logits (T*B, V), a view into ``activations``, and the last state, a copy.
    """
    arch, cell, (T, B) = params.arch, params.arch.cell, x.shape
    activations.lay_out(T, B)
    states, hs, a = activations.states, activations.hs, activations.a
    out = hs[1:] if mask is None else activations.out
    states[:, 0] = state.reshape(B, cell.n_states, -1).swapaxes(0, 1)
    for layer in range(arch.layers):
        mine = arch.columns(layer)
        if layer == 0:
            # A one-hot row times a matrix is one of its rows; the bias rides along.
            np.take(params.W_xh[0] + params.b_h[0], x, axis=0, out=a, mode="clip")
        else:
            below = rows(out)[:, arch.columns(layer - 1)]
            np.matmul(below, params.W_xh[layer], out=rows(a))
            a += params.b_h[layer]
        saved = activations.saved[layer]
        cell.forward(states[..., mine], a, params.W_hh[layer], saved, reset)
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
    """Derivatives of the loss: ``forward`` read backwards. Fills ``grad``.

    ``x``, ``activations``, ``mask`` and ``reset`` are those of the ``forward`` before,
    ``dlogits`` (T*B, V) is what ``cross_entropy`` made of its logits. Returns the gradient of
    the carried state, (B, S*L*H); it is not passed on to the window before (truncated BPTT:
    Werbos 1990, Williams & Peng 1990).
    """
    arch, cell, (T, B) = params.arch, params.arch.cell, x.shape
    states, hs, da, dh = activations.states, activations.hs, activations.a, activations.dh
    out = hs[1:] if mask is None else activations.out
    dstate: ndarray = np.empty_like(states[:, 0])

    ones = np.ones(T * B, dlogits.dtype)  # a product with it: faster than sum(axis=0)
    np.matmul(ones, dlogits, out=grad.b_y)
    np.matmul(rows(out).T, dlogits, out=grad.W_hy)
    np.matmul(dlogits, params.W_hy.T, out=rows(dh))
    for layer in reversed(range(arch.layers)):
        mine, scratch = arch.columns(layer), activations.scratch
        if layer < arch.layers - 1:
            # What the layer above, whose da is still in the buffer, sends down.
            rows(dh)[:, mine] += np.matmul(rows(da), params.W_xh[layer + 1].T, out=rows(scratch))
        if mask is not None:
            dh[..., mine] *= mask[..., mine]
        saved = activations.saved[layer]
        dproduct, dstate[..., mine] = cell.backward(
            states[..., mine], dh[..., mine], params.W_hh[layer], saved, da, scratch, reset
        )
        np.matmul(ones, rows(da), out=grad.b_h[layer])
        before = rows(hs)[: T * B, mine]
        if reset is not None:
            before = np.where(reset.reshape(-1, 1), 0, before)
        np.matmul(before.T, rows(dproduct), out=grad.W_hh[layer])
        if layer > 0:
            below = rows(out)[:, arch.columns(layer - 1)]
            np.matmul(below.T, rows(da), out=grad.W_xh[layer])
        else:
            add_by_symbol(x.ravel(), rows(da), out=grad.W_xh[0])
    return dstate.swapaxes(0, 1).reshape(B, -1)


def add_by_symbol(x: ndarray, da: ndarray, out: ndarray) -> None:
    """``out[v]`` = sum of the rows of ``da`` at which ``x`` is v: onehot(x)' da."""
    if len(out) <= 128:  # a small product is faster than sorting; measured at B*T = 2048
        onehot = np.zeros((len(x), len(out)), da.dtype)
        onehot[np.arange(len(x)), x] = 1
        np.matmul(onehot.T, da, out=out)
    else:
        order = np.argsort(x, kind="stable")
        symbols, starts = np.unique(x[order], return_index=True)
        out[:] = 0
        out[symbols] = np.add.reduceat(da[order], starts, axis=0)


def rows(array: ndarray) -> ndarray:
    """A view of (T, B, ...) as (T*B, ...): one row per character, for one product."""
    return array.reshape(-1, array.shape[-1])
