"""How far back the loss depends on the state of a network: vanishing gradients, measured."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy import ndarray

from charrnn.analysis.diagnostics import LARGE
from charrnn.nn.loss import quiet_overflow, surprisal
from charrnn.nn.network import Activations, backward, forward
from charrnn.nn.parameters import Parameters

REACH = 64  # steps back that gradients are followed
PLACES = 64  # positions of the text from which they are followed


@quiet_overflow
def reach(params: Parameters, ids: ndarray) -> list[list[float]]:
    """How strongly a loss depends on the state k steps before it, for k = 1 .. REACH, per layer.

    Row k is the norm of dL_t/dh_(t-k), in an LSTM of the derivatives by h and c together, as root
    mean square over PLACES positions of ``ids`` (N,), relative to row 1: it shows vanishing
    gradients. Empty if the text is too short.
    """
    context = REACH
    if len(ids) < context + REACH + 2:
        return []
    ends = np.linspace(context + REACH, len(ids) - 2, PLACES).astype(np.intp)
    passages = np.stack([ids[end - context - REACH : end + 1] for end in ends], axis=1)
    narrow = params.arch.vocabulary_size > LARGE
    if narrow:
        params, passages = _narrowed(params, passages)
    arch = params.arch
    activations, grad = Activations(arch, context + REACH, PLACES), Parameters(arch)
    forward(params, passages[:-1], params.zero_state(PLACES), activations)
    states = [activations.state(t) for t in range(context, context + REACH)]
    norms = []
    for k in range(1, REACH + 1):
        x = passages[-1 - k : -1]
        logits, _ = forward(params, x, states[-k], activations)
        last = logits[-PLACES:]
        if narrow:
            last[:] = np.eye(PLACES, arch.vocabulary_size)
        else:
            _to_gradient(last, passages[-1])
        logits[:-PLACES] = 0  # only the loss of the last step counts
        dstate = backward(params, x, logits, activations, grad)
        squares = (dstate ** 2).reshape(PLACES, -1, arch.layers, arch.hidden_size)
        norms.append(np.sqrt(squares.sum(axis=(1, 3)).mean(axis=0)).tolist())
    if not np.isfinite(norms).all():
        return []
    first = [max(norm, 1e-30) for norm in norms[0]]
    return [[norm / one for norm, one in zip(row, first, strict=True)] for row in norms]


def _to_gradient(logits: ndarray, y: ndarray) -> None:
    """Overwrite ``logits`` (N, V) with p - onehot(y), the gradient of each row's loss."""
    _, totals = surprisal(logits, y)
    logits /= totals[:, None]
    logits[np.arange(len(y)), y] -= 1


def _narrowed(params: Parameters, passages: ndarray) -> tuple[Parameters, ndarray]:
    """A network with a small vocabulary and the same gradients, to save memory in ``reach``.

    Its vocabulary is the symbols in ``passages`` (T+1, B), renumbered. The loss is that of the
    last step, so its gradient with respect to the last h, (B, L*H), is computed here: row b
    becomes column b of the new W_hy. The backward pass then starts from a 1 in that column.
    """
    T, B = len(passages) - 1, passages.shape[1]
    found, x = np.unique(passages[:-1], return_inverse=True)
    arch = dataclasses.replace(params.arch, vocabulary_size=max(len(found), B))
    narrowed = Parameters(arch)
    for name, new in narrowed.named.items():
        if name == "W_xh0":
            new[: len(found)] = params.W_xh[0][found]
        elif name not in ("W_hy", "b_y"):
            new[:] = params.named[name]
    x = x.reshape(T, B)
    activations = Activations(arch, T, B)
    forward(narrowed, x, narrowed.zero_state(B), activations)
    logits = activations.hs[-1] @ params.W_hy + params.b_y
    _to_gradient(logits, passages[-1])
    narrowed.W_hy[:, :B] = (logits @ params.W_hy.T).T
    return narrowed, np.concatenate([x, np.zeros((1, B), x.dtype)])
