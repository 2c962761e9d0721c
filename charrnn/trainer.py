"""One step of training: the gradient of a window, shared out over threads; clip; update."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.config import option
from charrnn.errors import DivergedError
from charrnn.model import Tape, backward, cross_entropy, forward
from charrnn.optim import OPTIMISERS, clip, learning_rate
from charrnn.parameters import Parameters
from charrnn.preparation import Run
from charrnn.randomness import Purpose, generator

Array = NDArray[Any]

LANES_PER_THREAD = 8  # at least; fewer rows make slow products


class Trainer:
    """What is needed for one step after the other: buffers, and the settings that matter."""

    def __init__(self, run: Run) -> None:
        arch, B = run.checkpoint.last.arch, run.lanes.B
        self.run, self.lanes, self.config = run, run.lanes, run.config
        self.optimise = OPTIMISERS[run.config.optimizer][0]
        # Each thread works on lanes of its own, with BLAS on one thread: for the small
        # products of the loop over time that is faster than BLAS sharing out each of them.
        shards = min(run.checkpoint.threads, max(1, B // LANES_PER_THREAD))
        edges = [B * shard // shards for shard in range(shards + 1)]
        self.shards = [slice(a, b) for a, b in pairwise(edges)]
        self.tapes = [Tape(arch, run.lanes.T, b - a) for a, b in pairwise(edges)]
        self.grads = [Parameters(arch) for _ in self.shards]
        self.chars = 0  # that the last step read
        self.began = (-1, 0)  # the epoch, and where its lanes start
        self.others = ThreadPoolExecutor(shards)  # starts its threads when they have work

    def step(
        self, params: Parameters, moments: Array, h: Array, step: int, steps: int
    ) -> tuple[Array, float, float, float]:
        """Update ``params`` and ``moments`` in place by step number ``step``.

        Returns the new state, the loss (nats/char) and the norm of the gradient before the
        update, and the learning rate. Raises DivergedError, nothing updated, where either
        is not finite.
        """
        config = self.config
        with np.errstate(over="ignore", invalid="ignore"):  # looked at here, and in ``save``
            h, loss = self.gradient(params, h, step)
            grad = self.grads[0].flat
            norm = clip(grad, config.clip_norm, config.clip_value)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise diverged(self.run, step, f"loss {loss:g}, gradient norm {norm:g}")
            rate = learning_rate(step, config.learning_rate, config.schedule, config.warmup, steps)
            if config.decay:  # decoupled from the gradient (Loshchilov & Hutter 2019)
                for W in params.matrices:
                    W *= 1 - rate * config.decay
            self.optimise(params.flat, grad, moments, step, rate)
        return h, loss, norm, rate

    def gradient(self, params: Parameters, h: Array, step: int) -> tuple[Array, float]:
        """Read the window of ``step`` from ``h``: the new state and the loss.

        The gradient is left in ``grads[0]``, summed in a fixed order over the shards.
        """
        epoch, index = divmod(step - 1, self.lanes.windows)
        if index == 0:  # an epoch begins with nothing read
            h = np.zeros_like(h)
        x, y = self.lanes.window(index, self.start(epoch))
        mask = self.dropout_mask(step)
        self.chars = x.size

        def work(shard: int) -> tuple[Array, float]:
            mine, tape = self.shards[shard], self.tapes[shard]
            masked = None if mask is None else mask[mine]
            logits, after = forward(params, x[:, mine], h[mine], tape, masked)
            part = cross_entropy(logits, y[:, mine], chars=x.size)
            backward(params, x[:, mine], logits, tape, self.grads[shard], masked)
            return after, part

        # This thread takes the first part itself: one thread less to wake up.
        others = [self.others.submit(work, shard) for shard in range(1, len(self.shards))]
        states, losses = zip(work(0), *(other.result() for other in others), strict=True)
        for other in self.grads[1:]:
            self.grads[0].flat += other.flat
        return np.concatenate(states), sum(losses)

    def start(self, epoch: int) -> int:
        """Where the lanes begin in an epoch, so that its windows cut the text elsewhere."""
        if self.began[0] != epoch:
            draw = generator(self.config.seed, Purpose.CUTS, epoch).integers(self.lanes.slack + 1)
            self.began = epoch, int(draw)
        return self.began[1]

    def dropout_mask(self, step: int) -> Array | None:
        """Zeros, and what keeps the mean: (B, L*H), one mask for all time steps of a window.

        A mask that stays through the window hides units instead of blurring all of them
        (Gal & Ghahramani 2016), and costs T times fewer random numbers.
        """
        p = self.run.dropout
        if p == 0:
            return None
        arch = self.run.checkpoint.last.arch
        draws = generator(self.config.seed, Purpose.DROPOUT, step).random(
            (self.lanes.B, arch.state_size), np.float32
        )
        return ((draws >= p) / (1 - p)).astype(arch.dtype)


def diverged(run: Run, step: int, what: str) -> DivergedError:
    """The error to raise when a run is beyond help, with what to do about it."""
    config = run.config
    clipping = "" if config.clip_norm else ", or clip with --clip-norm 1"
    kept = "no checkpoint was written yet"
    if run.path.exists():
        kept = f"{run.path} is as it was last saved"
    return DivergedError(
        f"training diverged at step {step:,} ({what}): lower {option('learning_rate')} "
        f"(now {config.learning_rate:g}){clipping}; {kept}"
    )
