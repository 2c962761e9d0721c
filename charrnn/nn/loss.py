"""Softmax and cross-entropy: from logits to nats per character, and to their gradient."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

# States may overflow. Callers check the results for it, so NumPy's warnings at every line
# would add nothing. The setting affects the calling thread only.
quiet_overflow = np.errstate(over="ignore", invalid="ignore")


@quiet_overflow
def cross_entropy(logits: ndarray, y: ndarray, chars: int | None = None) -> float:
    """Mean of -ln p[y] in nats per character; overwrites ``logits`` with its gradient.

    ``logits`` (T*B, V) becomes dz = (p - onehot(y)) / (T*B). ``y`` is (T, B). If these
    sequences are only part of a batch, ``chars`` is T*B of the whole batch; the caller then
    sums the partial means, and the partial gradients, over the parts.
    """
    N, targets = chars or len(logits), y.ravel()
    nats, totals = surprisal(logits, targets)
    logits *= (1 / (N * totals))[:, None]
    logits[np.arange(len(logits)), targets] -= 1 / N
    return float(np.sum(nats, dtype=np.float64) / N)


@quiet_overflow
def surprisal(logits: ndarray, y: ndarray) -> tuple[ndarray, ndarray]:
    """-ln p[y] of each row in nats, and ``totals``, both (N,); ``y`` is (N,).

    Overwrites ``logits`` (N, V) with the softmax before normalization: totals * p.
    """
    logits -= logits.max(axis=1, keepdims=True)  # exp cannot overflow; p does not change
    chosen = logits[np.arange(len(y)), y]
    np.exp(logits, out=logits)
    totals = logits @ np.ones(logits.shape[1], logits.dtype)  # much faster than sum(axis=1)
    return np.log(totals) - chosen, totals
