"""The network: its equations forward, and beside them their derivatives backward.

    T  time steps of a window          V  symbols of the vocabulary
    B  lanes (parallel streams)        H  hidden units of a layer         L  layers

Forward, layer l at time t (row vectors; h^0_t is the one-hot x_t):

    a^l_t = h^(l-1)_t W_xh^l + h^l_(t-1) W_hh^l + b_h^l         h^l_t = tanh(a^l_t)
    z_t = [h^1_t .. h^L_t] W_hy + b_y                           p_t = softmax(z_t)

Backward, from the loss = mean over T*B of -log p_t[y_t]; ' is the transpose, and W_hy^l
the rows of W_hy that layer l meets:

    dz_t   = (p_t - onehot(y_t)) / (T*B)
    dh^l_t = dz_t W_hy^l' + da^(l+1)_t W_xh^(l+1)' + da^l_(t+1) W_hh^l'
    da^l_t = (1 - (h^l_t)^2) * dh^l_t

docs/derivation.md derives them. Only ``h W_hh`` and the activation need the step before, so
only they are in the loop over time; everything else is one matrix product over T*B rows.

One array ``hs`` of shape (T+1, B, L*H) holds the states of all layers side by side:
``hs[0]`` is the carried state, ``hs[t+1]`` the state after reading ``x[t]``.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.parameters import Architecture, Parameters
from charrnn.products import repeated_product

Array = NDArray[Any]

# States may overflow. What is computed from them tells, and callers look at it; there is no
# need for a warning, too, from each line on the way. It holds in the thread that calls.
quiet_overflow = np.errstate(over="ignore", invalid="ignore")


class Tape:
    """What ``forward`` writes down for ``backward``, for windows of at most T*B characters.

    All memory is taken once, so that the loops over time allocate nothing; ``lay_out``
    places the named buffers in it for a window of (T, B).
    """

    def __init__(self, arch: Architecture, T: int, B: int) -> None:
        self._widths = self.widths(arch)
        self._memory = {
            name: np.zeros((T + 1) * B * width, arch.dtype)
            for name, width in self._widths.items()
        }
        self.lay_out(T, B)

    @staticmethod
    def widths(arch: Architecture) -> dict[str, int]:
        """The buffers, and how many numbers they hold for each character."""
        H, V, LH = arch.hidden_size, arch.vocabulary_size, arch.state_size
        return {
            "hs": LH,  # the carried state, then the states after each step: T+1 of them
            "out": LH,  # the states as they leave the layers, where dropout changes them
            "a": H,  # forward: the input to a layer; backward: its da
            "dh": LH,
            "slope": H,  # derivative of the activation
            "logits": V,
        }

    @classmethod
    def entries(cls, arch: Architecture, T: int, B: int) -> int:
        """Numbers that a tape for windows of (T, B) holds."""
        return (T + 1) * B * sum(cls.widths(arch).values())

    def lay_out(self, T: int, B: int) -> None:
        """Lay out every buffer contiguously for T steps of B lanes."""
        view = {}
        for name, memory in self._memory.items():
            steps, width = T + (name == "hs"), self._widths[name]
            view[name] = memory[: steps * B * width].reshape(steps, B, width)
        self.hs, self.out, self.a = view["hs"], view["out"], view["a"]
        self.dh, self.slope, self.logits = view["dh"], view["slope"], view["logits"]


@quiet_overflow
def forward(
    params: Parameters,
    x: Array,
    h0: Array,
    tape: Tape,
    mask: Array | None = None,
    fresh: Array | None = None,
) -> tuple[Array, Array]:
    """Read the window ``x`` (T, B) of symbols from the state ``h0`` (B, L*H).

    ``mask`` multiplies the states that leave a layer, upwards and to the output but not to
    the next time step (dropout as in Zaremba et al. 2014); it broadcasts to (T, B, L*H).
    Where ``fresh`` (T, B) is true, the symbol is read from the zero state: a text begins.
    Returns the logits (T*B, V), a view into ``tape``, and the last state (B, L*H), a copy.
    """
    arch, (T, B) = params.arch, x.shape
    tape.lay_out(T, B)
    hs, a = tape.hs, tape.a
    out = hs[1:] if mask is None else tape.out
    hs[0] = h0
    for layer in range(arch.layers):
        mine = arch.columns(layer)
        if layer == 0:
            # A one-hot row times a matrix is one of its rows; the bias rides along.
            np.take(params.W_xh[0] + params.b_h[0], x, axis=0, out=a, mode="clip")
        else:
            below = rows(out)[:, arch.columns(layer - 1)]
            np.matmul(below, params.W_xh[layer], out=rows(a))
            a += params.b_h[layer]
        recur(hs[..., mine], a, params.W_hh[layer], arch.activation, fresh)
        if mask is not None:
            np.multiply(hs[1:, :, mine], mask[..., mine], out=out[..., mine])
    logits = rows(tape.logits)
    np.matmul(rows(out), params.W_hy, out=logits)
    logits += params.b_y
    return logits, hs[T].copy()


def recur(h: Array, a: Array, W_hh: Array, activation: str, fresh: Array | None = None) -> None:
    """h_t = act(a_t + h_(t-1) W_hh) for every t: fills ``h[1:]`` from ``h[0]`` and ``a``."""
    from_before = repeated_product(W_hh, B=a.shape[1])
    for t, (a_t, before, after) in enumerate(zip(a, h[:-1], h[1:], strict=True)):
        sent = from_before(before)
        if fresh is not None:
            sent[fresh[t]] = 0
        sent += a_t
        if activation == "tanh":
            np.tanh(sent, out=after)
        else:
            np.maximum(sent, 0, out=after)


@quiet_overflow
def cross_entropy(logits: Array, y: Array, chars: int | None = None) -> float:
    """Mean of -log p[y] in nats per character; turns ``logits`` into its own gradient.

    ``logits`` (T*B, V) comes back as dz = (p - onehot(y)) / (T*B). ``y`` is (T, B). Where
    these lanes are a part of the batch, ``chars`` is the T*B of all of it, and the parts
    of the mean, like those of the gradient, are to be added up.
    """
    N, targets = chars or len(logits), y.ravel()
    nats, totals = surprisal(logits, targets)
    logits *= (1 / (N * totals))[:, None]
    logits[np.arange(len(logits)), targets] -= 1 / N
    return float(np.sum(nats, dtype=np.float64) / N)


@quiet_overflow
def surprisal(logits: Array, y: Array) -> tuple[Array, Array]:
    """-log p[y] of each row, and ``totals``, both (N,); ``logits`` (N, V) become totals * p."""
    logits -= logits.max(axis=1, keepdims=True)  # exp cannot overflow; p does not change
    chosen = logits[np.arange(len(y)), y]
    np.exp(logits, out=logits)
    totals = logits @ np.ones(logits.shape[1], logits.dtype)  # much faster than sum(axis=1)
    return np.log(totals) - chosen, totals


@quiet_overflow
def backward(
    params: Parameters,
    x: Array,
    dlogits: Array,
    tape: Tape,
    grad: Parameters,
    mask: Array | None = None,
    fresh: Array | None = None,
) -> Array:
    """Derivatives of the loss: ``forward`` read backwards. Fills ``grad``.

    ``x``, ``tape``, ``mask`` and ``fresh`` are those of the ``forward`` before, ``dlogits``
    (T*B, V) what ``cross_entropy`` made of its logits. Returns the gradient of h0, (B, L*H); it is
    not carried to the window before (truncated BPTT: Werbos 1990, Williams & Peng 1990).
    """
    arch, (T, B) = params.arch, x.shape
    hs, da, dh, slope = tape.hs, tape.a, tape.dh, tape.slope
    out = hs[1:] if mask is None else tape.out
    dh0: Array = np.empty_like(hs[0])

    ones = np.ones(T * B, dlogits.dtype)  # a product with it: faster than sum(axis=0)
    np.matmul(ones, dlogits, out=grad.b_y)
    np.matmul(rows(out).T, dlogits, out=grad.W_hy)
    np.matmul(dlogits, params.W_hy.T, out=rows(dh))
    for layer in reversed(range(arch.layers)):
        mine = arch.columns(layer)
        if layer < arch.layers - 1:
            # What the layer above, whose da is still in the buffer, sends down.
            rows(dh)[:, mine] += np.matmul(rows(da), params.W_xh[layer + 1].T, out=rows(slope))
        if mask is not None:
            dh[..., mine] *= mask[..., mine]
        h = hs[..., mine]
        if arch.activation == "tanh":
            np.multiply(h[1:], h[1:], out=slope)
            np.subtract(1, slope, out=slope)
        else:
            np.greater(h[1:], 0, out=slope, casting="unsafe")
        dh0[:, mine] = unrecur(da, dh[..., mine], slope, params.W_hh[layer], fresh)

        np.matmul(ones, rows(da), out=grad.b_h[layer])
        before = rows(hs)[: T * B, mine]
        if fresh is not None:
            before = np.where(fresh.reshape(-1, 1), 0, before)
        np.matmul(before.T, rows(da), out=grad.W_hh[layer])
        if layer > 0:
            below = rows(out)[:, arch.columns(layer - 1)]
            np.matmul(below.T, rows(da), out=grad.W_xh[layer])
        else:
            add_by_symbol(x.ravel(), rows(da), out=grad.W_xh[0])
    return dh0


def unrecur(
    da: Array, dh: Array, slope: Array, W_hh: Array, fresh: Array | None = None
) -> Array:
    """da_t = slope_t * (dh_t + da_(t+1) W_hh') from the last t to the first.

    Returns the gradient that arrives at the state before the window, (B, H).
    """
    carried: Array = np.zeros_like(da[0])
    to_before = repeated_product(W_hh.T, B=len(carried))
    for t, (da_t, dh_t, slope_t) in enumerate(zip(da[::-1], dh[::-1], slope[::-1], strict=True)):
        carried += dh_t
        np.multiply(carried, slope_t, out=da_t)
        carried = to_before(da_t)
        if fresh is not None:
            carried[fresh[-1 - t]] = 0
    return carried


def add_by_symbol(x: Array, da: Array, out: Array) -> None:
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


class Stepper:
    """A text being written: ``forward`` one step at a time, from the state ``h`` (B, L*H) on.

    All that a state is multiplied by stands side by side: W_hh for the next step, W_xh for
    the layer above, W_hy for the logits; below them a row of biases, which a column of ones
    beside the state picks up. So each layer is one product a step. Its result stays where
    it is, and with it what is carried to the next step, h W_hh.
    """

    @quiet_overflow
    def __init__(self, params: Parameters, h: Array) -> None:
        arch, (B, _) = params.arch, h.shape
        H, V = arch.hidden_size, arch.vocabulary_size
        self.activate = np.tanh if arch.activation == "tanh" else relu
        self.input = params.W_xh[0] + params.b_h[0]
        self.layers, self.logits = [], []
        for layer in range(arch.layers):
            above = slice(layer + 1, layer + 2)  # nothing, for the highest layer
            weights = [params.W_hh[layer], *params.W_xh[above], params.W_hy[arch.columns(layer)]]
            biases = [np.zeros(H, h.dtype), *params.b_h[above], params.b_y * (layer == 0)]
            times = repeated_product(np.vstack([np.hstack(weights), np.hstack(biases)]), B)
            state = np.ones((B, H + 1), h.dtype)
            state[:, :H] = h[:, arch.columns(layer)]
            product = times(state)
            # The highest layer sends nothing upwards; what stands in that place is not used.
            self.layers.append(
                (times, state, state[:, :H], product[:, :H], product[:, H : 2 * H])
            )
            self.logits.append(product[:, -V:])

    def __call__(self, x: Array) -> Array:
        """Read one symbol per lane, ``x`` (B,): the logits (B, V) of the next.

        They lie in memory that the next call uses again. To be called where overflow is quiet.
        """
        from_below = self.input.take(x, axis=0)
        for times, state, h, from_before, upwards in self.layers:
            np.add(from_below, from_before, out=h)
            self.activate(h, out=h)
            times(state)
            from_below = upwards
        logits: Array = functools.reduce(np.add, self.logits)
        return logits


def relu(a: Array, out: Array) -> Array:
    """The positive part of ``a``."""
    return np.maximum(a, 0, out=out)


def rows(array: Array) -> Array:
    """A view of (T, B, ...) as (T*B, ...): one row per character, for one product."""
    return array.reshape(-1, array.shape[-1])
