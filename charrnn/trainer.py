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
from charrnn.randomness import Purpose, generator, uniform_rows
from charrnn.runtime import Signals, wished

Array = NDArray[Any]

TAIL = 4  # numbers that ride along with a gradient: the loss, and what signals asked for


class Trainer:
    """What is needed for one step after the other: buffers, and the settings that matter.

    The lanes are cut into shards, each with a gradient of its own, and the gradients added up.
    There are as many shards as threads in all processes, or, where the run is to be the same
    for any number of them, as many as there can be.
    """

    def __init__(self, run: Run, signals: Signals | None = None) -> None:
        arch, B = run.checkpoint.last.arch, run.lanes.B
        self.run, self.lanes, self.config, self.ranks = run, run.lanes, run.config, run.ranks
        self.signals = signals or Signals()
        self.optimise = OPTIMISERS[run.config.optimizer][0]
        # Each thread works on lanes of its own, with BLAS on one thread: for the small
        # products of the loop over time that is faster than BLAS sharing out each of them.
        threads, processes = run.checkpoint.threads, self.ranks.size
        if self.config.deterministic:
            shards, self.add = run.lanes.shards, self.ranks.add_in_order
        else:
            shards = processes * max(1, min(threads, run.lanes.shards // processes))
            self.add = self.ranks.add
        edges = self.ranks.mine([*pairwise(B * shard // shards for shard in range(shards + 1))])
        self.mine = slice(edges[0][0], edges[-1][1])  # the lanes of this process
        self.shards = [slice(a - self.mine.start, b - self.mine.start) for a, b in edges]
        width = -(-(arch.size + TAIL) // 16) * 16  # of whole cache lines
        self.parts = np.zeros((len(edges), width), arch.dtype)  # a gradient for each shard
        self.grads = [Parameters(arch, part[: arch.size]) for part in self.parts]
        self.threads = min(threads, len(edges))
        widest = max(b - a for a, b in edges)
        self.tapes = [Tape(arch, run.lanes.T, widest) for _ in range(self.threads)]
        self.chars = 0  # that the last step read
        self.stop: int | None = None  # the signal that asked one of the processes to stop
        self.save = False  # whether one of them was asked to save
        self.began = (-1, 0)  # the epoch, and where its lanes start
        self.others = ThreadPoolExecutor(self.threads)  # starts its threads when they have work

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
            h, loss, grad = self.gradient(params, h, step)
            norm = clip(grad, config.clip_norm, config.clip_value)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise diverged(self.run, step, f"loss {loss:g}, gradient norm {norm:g}")
            rate = learning_rate(step, config.learning_rate, config.schedule, config.warmup, steps)
            if config.decay:  # decoupled from the gradient (Loshchilov & Hutter 2019)
                for W in params.matrices:
                    W *= 1 - rate * config.decay
            self.optimise(params.flat, grad, moments, step, rate)
        return h, loss, norm, rate

    def gradient(self, params: Parameters, h: Array, step: int) -> tuple[Array, float, Array]:
        """Read the window of ``step`` from ``h``: the new state, the loss and its gradient (P,).

        ``h`` is that of this process's lanes, the loss and the gradient are those of all. They
        are summed in a fixed order over the shards, and stay as they are until the next step.
        """
        epoch, index = divmod(step - 1, self.lanes.windows)
        if index == 0:  # an epoch begins with nothing read
            h = np.zeros_like(h)
        x, y = self.lanes.window(index, self.start(epoch), self.mine)
        fresh = self.lanes.fresh(index, self.start(epoch), self.mine)
        if fresh is not None:
            assert self.lanes.resets is not None
            x[fresh] = self.lanes.resets.symbol
        mask = self.dropout_mask(step)
        self.chars = len(x) * self.lanes.B
        after = np.empty_like(h)

        def work(thread: int) -> None:
            for shard in range(thread, len(self.shards), self.threads):
                mine, tape = self.shards[shard], self.tapes[thread]
                masked = None if mask is None else mask[mine]
                begun = None if fresh is None else fresh[:, mine]
                logits, after[mine] = forward(params, x[:, mine], h[mine], tape, masked, begun)
                tail = self.parts[shard, params.flat.size :]
                tail[:] = 0
                tail[0] = cross_entropy(logits, y[:, mine], self.chars)
                backward(params, x[:, mine], logits, tape, self.grads[shard], masked, begun)

        # This thread takes the first part itself: one thread less to wake up.
        others = [self.others.submit(work, thread) for thread in range(1, self.threads)]
        work(0)
        for other in others:
            other.result()
        self.parts[0, params.flat.size + 1 :][: TAIL - 1] = self.signals.wishes()
        grad, tail = np.split(self.add(self.parts), [params.flat.size])
        self.stop, self.save = wished(tail[1:TAIL].tolist())
        return after, float(tail[0]), grad

    def start(self, epoch: int) -> int:
        """Where the lanes begin in an epoch, so that its windows cut the text elsewhere."""
        if self.began[0] != epoch:
            draw = generator(self.config.seed, Purpose.CUTS, epoch).integers(self.lanes.slack + 1)
            self.began = epoch, int(draw)
        return self.began[1]

    def dropout_mask(self, step: int) -> Array | None:
        """Zeros, and what keeps the mean, for the lanes of this process: (its lanes, L*H).

        One mask holds for all time steps of a window.

        A mask that stays through the window hides units instead of blurring all of them
        (Gal & Ghahramani 2016), and costs T times fewer random numbers.
        """
        p = self.run.dropout
        if p == 0:
            return None
        arch = self.run.checkpoint.last.arch
        draws = uniform_rows(
            self.config.seed, Purpose.DROPOUT, step, self.mine, width=arch.state_size
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
