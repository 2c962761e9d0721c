"""Dynamic evaluation: score a text, and learn from each piece of it once it is scored.

Every character is predicted by weights that have learned from the text before it and from
nothing after, so this is an honest score, but of another thing: of the model together with its
way of learning. It is never to be compared with the score of fixed weights (Mikolov et al.
2010; Krause et al. 2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.evaluation import CONTEXT
from charrnn.lanes import Resets
from charrnn.model import Tape, backward, cross_entropy, forward, quiet_overflow, surprisal
from charrnn.parameters import Parameters

Array = NDArray[Any]

WINDOW = 16  # characters scored before they are learned from
RATE = 1e-4
EPSILON = 1e-5


def surprisals(
    params: Parameters, text: Array, before: Array, resets: Resets | None = None
) -> Iterator[tuple[Array, Array]]:
    """For each symbol of ``text`` in order: -ln p, and whether it was the likeliest.

    Yields windows, as (nats, right), each of shape (n,). ``before`` holds the symbols read
    before the text, at least one; ``params`` stays as it is. The state is carried from one
    end to the other. The step is that of Krause et al. 2018 without its decay towards the
    first weights: a gradient is taken relative to its usual size, entry by entry, the root
    of its mean square. That mean is over the windows so far and not over the text that was
    learned from, which a checkpoint does not hold; the first steps are longer for it.
    """
    arch, params = params.arch, params.copy()
    tape, grad = Tape(arch, CONTEXT, 1), Parameters(arch)
    mean_square = np.zeros_like(params.flat)
    stretch = np.concatenate([before[-CONTEXT:], text])[:, None]  # one lane
    start = len(stretch) - len(text) - 1
    xs, h, fresh = stretch[:-1].copy(), params.zero_state(1), None
    if resets is not None:
        fresh = resets.moved(-start - 1).begin(xs, 1 + np.arange(len(xs))[:, None])
    if start:
        begun = None if fresh is None else fresh[:start]
        h = forward(params, xs[:start], h, tape, fresh=begun)[1]
    for count, t in enumerate(range(start, len(stretch) - 1, WINDOW), start=1):
        y = stretch[t + 1 : t + 1 + WINDOW]
        x = xs[t : t + len(y)]
        begun = None if fresh is None else fresh[t : t + len(y)]
        logits, h = forward(params, x, h, tape, fresh=begun)
        right = logits.argmax(axis=1) == y.ravel()
        yield surprisal(logits.copy(), y.ravel())[0], right

        cross_entropy(logits, y)
        backward(params, x, logits, tape, grad, fresh=begun)
        learn(params.flat, grad.flat, mean_square, count)


@quiet_overflow
def learn(theta: Array, g: Array, mean_square: Array, count: int) -> None:
    """Update ``theta`` (P,) by its gradient ``g`` and ``mean_square``, the ``count``-th time."""
    mean_square += (g * g - mean_square) / count
    theta -= RATE * g / (np.sqrt(mean_square) + EPSILON)
