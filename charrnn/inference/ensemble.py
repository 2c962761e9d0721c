"""What scoring and sampling run: a network, or several whose probabilities are averaged.

The mean of the probabilities of several networks is usually a better prediction than that of any
one of them. It is taken before temperature, top-k and top-p.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy import ndarray

from charrnn.nn.loss import quiet_overflow
from charrnn.nn.network import Activations, forward
from charrnn.nn.parameters import Parameters
from charrnn.nn.stepper import Stepper

Read = Callable[..., tuple[ndarray, ndarray]]  # (x, state, reset=None) -> logits and state


class Ensemble:
    """Networks with the same V symbols; their carried states are side by side in one array."""

    def __init__(self, members: Sequence[Parameters]) -> None:
        self.members, self.vocabulary_size = members, members[0].vocabulary_size
        sizes = [member.vocabulary_size for member in members]
        assert len(set(sizes)) == 1, sizes

    def zero_state(self, B: int) -> ndarray:
        """The state before the first symbol, (B, sum of all S*L*H)."""
        return np.hstack([member.zero_state(B) for member in self.members])

    def states(self, state: ndarray) -> Iterator[ndarray]:
        """The part of each member in ``state``, in the type of its weights."""
        ends = np.cumsum([member.arch.state_size for member in self.members])
        for member, part in zip(self.members, np.split(state, ends[:-1], axis=1), strict=True):
            yield part.astype(member.arch.dtype, copy=False)


Network = Parameters | Ensemble


def reader(network: Network, T: int, B: int) -> Read:
    """A function that reads windows of up to (T, B) symbols, as ``network.forward`` does."""
    if isinstance(network, Parameters):
        activations = Activations(network.arch, T, B)
        return lambda x, state, reset=None: forward(network, x, state, activations, reset=reset)
    reads = [reader(member, T, B) for member in network.members]

    def read(x: ndarray, state: ndarray, reset: ndarray | None = None) -> tuple[ndarray, ndarray]:
        found = [each(x, part, reset)
                 for each, part in zip(reads, network.states(state), strict=True)]
        return log_mean([z for z, _ in found]), np.hstack([after for _, after in found])

    return read


def stepper(network: Network, state: ndarray) -> Callable[[ndarray], ndarray]:
    """A function that reads one symbol per sequence, as a ``Stepper`` does."""
    if isinstance(network, Parameters):
        return Stepper(network, state)
    steps = [Stepper(member, part)
             for member, part in zip(network.members, network.states(state), strict=True)]
    return lambda x: log_mean([step(x) for step in steps])


@quiet_overflow
def log_mean(logits: Sequence[ndarray]) -> ndarray:
    """ln of the mean of softmax(z) over all z of ``logits``, (N, V) each: logits of that mean."""
    logs = [z - z.max(axis=1, keepdims=True) for z in logits]
    for z in logs:
        z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
    mean: ndarray = functools.reduce(np.logaddexp, logs) - math.log(len(logs))
    return mean
