"""Dynamic evaluation: score a text chunk by chunk, and train on each chunk after scoring it.

Every character is predicted by weights that were trained only on text before it, so the score
is valid, but it measures the model together with this update rule. It cannot be compared with
the score of fixed weights (Mikolov et al. 2010; Krause et al. 2018).
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

UPDATE_EVERY = 16  # characters between updates
RATE = 1e-4  # learning rate
EPSILON = 1e-5  # added to the root mean square of the gradient


def evaluate(params: Parameters, part: Split) -> Iterator[Scored]:
    """Score the symbols of a part in order, UPDATE_EVERY at a time, with an update after each.

    ``params`` do not change; a copy is updated. The state is carried through the whole part.
    The update is that of Krause et al. 2018 without its decay toward the original weights: each
    entry of the gradient is divided by its root mean square. The mean is over the updates so
    far, not over the training text, which a checkpoint does not contain; this makes the first
    updates larger.
    """
    arch, params = params.arch, params.copy()
    activations, grad = Activations(arch, CONTEXT, 1), Parameters(arch)
    mean_square = np.zeros_like(params.flat)
    text = np.concatenate([part.context[-CONTEXT:], part.ids])[:, None]  # one sequence
    start = len(text) - len(part) - 1
    xs, state, reset = text[:-1].copy(), params.zero_state(1), None
    if part.resets is not None:
        reset = part.resets.shifted(-start - 1).apply(xs, 1 + np.arange(len(xs))[:, None])
    if start:
        resets = None if reset is None else reset[:start]
        state = forward(params, xs[:start], state, activations, reset=resets)[1]
    for count, t in enumerate(range(start, len(text) - 1, UPDATE_EVERY), start=1):
        y = text[t + 1 : t + 1 + UPDATE_EVERY]
        x = xs[t : t + len(y)]
        resets = None if reset is None else reset[t : t + len(y)]
        logits, state = forward(params, x, state, activations, reset=resets)
        correct = logits.argmax(axis=1) == y.ravel()
        yield Scored(surprisal(logits.copy(), y.ravel())[0], correct)

        cross_entropy(logits, y)
        backward(params, x, logits, activations, grad, reset=resets)
        update(params.flat, grad.flat, mean_square, count)


@quiet_overflow
def update(theta: ndarray, g: ndarray, mean_square: ndarray, count: int) -> None:
    """Update number ``count``, from 1: ``theta`` and ``mean_square`` change in place.

    ``g`` is the gradient, ``mean_square`` the mean of its squares so far; all are (P,).
    """
    mean_square += (g * g - mean_square) / count
    theta -= RATE * g / (np.sqrt(mean_square) + EPSILON)
