"""Dynamic evaluation: score a text, and learn from each piece of it once it is scored.

Every character is predicted by weights that have learned from the text before it and from
nothing after, so this is an honest score, but of something else: of the model together with
its way of learning. It cannot be compared with the score of fixed weights (Mikolov et al.
2010; Krause et al. 2018).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy import ndarray

from charrnn.inference.scoring import Scored
from charrnn.nn.loss import cross_entropy, quiet_overflow, surprisal
from charrnn.nn.network import Activations, backward, forward
from charrnn.nn.parameters import Parameters
from charrnn.text.split import CONTEXT, Split

UPDATE_EVERY = 16  # characters that are scored before they are learned from
RATE = 1e-4
EPSILON = 1e-5


def evaluate(params: Parameters, part: Split) -> Iterator[Scored]:
    """Score the symbols of a part in order, UPDATE_EVERY at a time, learning from them after.

    ``params`` stay as they are; a copy learns. The state is carried from one end to the other.
    The update is that of Krause et al. 2018 without its decay towards the first weights: a
    gradient is taken relative to its usual size, entry by entry, the root of its mean square.
    That mean is over the updates so far and not over the training text, which a checkpoint does
    not hold; the first updates are larger for it.
    """
    arch, params = params.arch, params.copy()
    activations, grad = Activations(arch, CONTEXT, 1), Parameters(arch)
    mean_square = np.zeros_like(params.flat)
    stretch = np.concatenate([part.context[-CONTEXT:], part.ids])[:, None]  # one sequence
    start = len(stretch) - len(part) - 1
    xs, state, reset = stretch[:-1].copy(), params.zero_state(1), None
    if part.resets is not None:
        reset = part.resets.shifted(-start - 1).apply(xs, 1 + np.arange(len(xs))[:, None])
    if start:
        resets = None if reset is None else reset[:start]
        state = forward(params, xs[:start], state, activations, reset=resets)[1]
    for count, t in enumerate(range(start, len(stretch) - 1, UPDATE_EVERY), start=1):
        y = stretch[t + 1 : t + 1 + UPDATE_EVERY]
        x = xs[t : t + len(y)]
        resets = None if reset is None else reset[t : t + len(y)]
        logits, state = forward(params, x, state, activations, reset=resets)
        right = logits.argmax(axis=1) == y.ravel()
        yield Scored(surprisal(logits.copy(), y.ravel())[0], right)

        cross_entropy(logits, y)
        backward(params, x, logits, activations, grad, reset=resets)
        learn(params.flat, grad.flat, mean_square, count)


@quiet_overflow
def learn(theta: ndarray, g: ndarray, mean_square: ndarray, count: int) -> None:
    """Update ``theta`` (P,) by its gradient ``g`` and ``mean_square``, the ``count``-th time."""
    mean_square += (g * g - mean_square) / count
    theta -= RATE * g / (np.sqrt(mean_square) + EPSILON)
