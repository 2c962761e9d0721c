"""One update: the gradient of a window, over threads and processes; clipping; the optimizer."""

from __future__ import annotations

import functools
import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy import ndarray

from charrnn.config.settings import option_name
from charrnn.errors import DivergedError, no_threads
from charrnn.nn.loss import cross_entropy
from charrnn.nn.network import Activations, backward, forward
from charrnn.nn.optimizers import OPTIMIZERS, clip, learning_rate
from charrnn.nn.parameters import Parameters
from charrnn.nn.rng import Purpose, generator, uniform_rows
from charrnn.system.signals import Signals, from_sums
from charrnn.training.run import Run, shard_count

TAIL = 5  # numbers after the gradient that are summed with it: the loss and pending signals


class Gradient(NamedTuple):
    """Gradient and loss of a window for the whole batch, and the state of this process's part."""

    flat: ndarray  # (P,), valid until the next step
    loss: float  # mean over the batch, nats/char
    state: ndarray  # (B, S*L*H) after the window, of this process's sequences
    chars: int  # characters of the window, in the whole batch
    stop: int | None  # the signal, received by one of the processes, that requests a stop
    save: bool  # whether one of the processes received a signal that requests a save


class Update(NamedTuple):
    """The result of one update."""

    gradient: Gradient  # after clipping, and overwritten by the optimizer
    grad_norm: float  # before clipping
    learning_rate: float  # the rate that was used


class TrainingStep:
    """Computes updates, with the buffers and threads that they reuse.

    The batch is divided into shards. Each shard has its own gradient, and the gradients are
    summed.
    """

    def __init__(self, run: Run, signals: Signals | None = None) -> None:
        arch, B = run.checkpoint.last.arch, run.batches.B
        self.run, self.batches, self.config = run, run.batches, run.config
        self.signals = signals or Signals()
        self.optimize = OPTIMIZERS[run.config.optimizer].update
        # Each thread works on its own sequences, with BLAS on one thread: for the small products
        # of the loop over time this is faster than several BLAS threads for each product.
        threads, processes = run.checkpoint.threads, run.processes.size
        shards = shard_count(run.batches, threads, processes, self.config.deterministic)
        group = run.processes
        self.allreduce = group.allreduce_in_order if self.config.deterministic else group.allreduce
        edges = run.processes.share([*pairwise(B * shard // shards for shard in range(shards + 1))])
        self.sequences = slice(edges[0][0], edges[-1][1])  # the sequences of this process
        self.shards = [slice(a - self.sequences.start, b - self.sequences.start) for a, b in edges]
        width = -(-(arch.size + TAIL) // 16) * 16  # whole cache lines
        self.parts = np.zeros((len(edges), width), arch.dtype)  # each shard's gradient and tail
        self.grads = [Parameters(arch, part[: arch.size]) for part in self.parts]
        self.threads = min(threads, len(edges))
        widest = max(b - a for a, b in edges)
        self.activations = [Activations(arch, run.batches.T, widest) for _ in range(self.threads)]
        self.others = ThreadPoolExecutor(self.threads)  # starts threads only when they have work

    def update(
        self, params: Parameters, moments: ndarray, state: ndarray, step: int, steps: int
    ) -> Update:
        """Update ``params`` and ``moments`` in place in step number ``step``, 1 .. ``steps``.

        ``state`` (B, S*L*H) is that of this process's sequences. Raises DivergedError, with
        nothing updated, if the loss or the norm of the gradient is not finite.
        """
        config = self.config
        with np.errstate(over="ignore", invalid="ignore"):  # checked here and before each save
            gradient = self.gradient(params, state, step)
            norm = clip(gradient.flat, config.clip_norm, config.clip_value)
            if not (math.isfinite(gradient.loss) and math.isfinite(norm)):
                what = f"loss {gradient.loss:g}, gradient norm {norm:g}"
                raise diverged(self.run, step, what)
            rate = learning_rate(
                step, self.run.learning_rate, config.schedule, config.warmup, steps)
            if decay := self.run.weight_decay:  # decoupled (Loshchilov & Hutter 2019)
                for W in params.matrices:
                    W *= 1 - rate * decay
            self.optimize(params.flat, gradient.flat, moments, step, rate)
        return Update(gradient, norm, rate)

    def gradient(self, params: Parameters, state: ndarray, step: int) -> Gradient:
        """Loss and gradient of the window of ``step``, read from the carried ``state``.

        ``state`` (B, S*L*H) is that of this process's sequences. The loss and the gradient are
        summed over the shards in a fixed order.
        """
        epoch, index = divmod(step - 1, self.batches.windows)
        if index == 0:  # an epoch starts from the zero state
            state = np.zeros_like(state)
        offset = epoch_offset(self.config.seed, epoch, self.batches.max_offset)
        x, y, reset = self.batches.window(index, offset, self.sequences)
        mask = self.dropout_mask(step)
        chars, after = len(x) * self.batches.B, np.empty_like(state)

        def work(thread: int) -> None:
            activations = self.activations[thread]
            for shard in range(thread, len(self.shards), self.threads):
                rows = self.shards[shard]
                masked = None if mask is None else mask[rows]
                resets = None if reset is None else reset[:, rows]
                logits, after[rows] = forward(params, x[:, rows], state[rows], activations, masked,
                                              resets)
                tail = self.parts[shard, params.flat.size :]
                tail[:] = 0
                tail[0] = cross_entropy(logits, y[:, rows], chars)
                backward(params, x[:, rows], logits, activations, self.grads[shard], masked, resets)

        # This thread does the first part of the work itself: one thread fewer to wake up.
        try:
            others = [self.others.submit(work, thread) for thread in range(1, self.threads)]
        except RuntimeError:
            raise no_threads(self.threads) from None
        work(0)
        for other in others:
            other.result()
        self.parts[0, params.flat.size + 1 :][: TAIL - 1] = self.signals.pending()
        flat, tail = np.split(self.allreduce(self.parts), [params.flat.size])
        stop, save = from_sums(tail[1:TAIL].tolist())
        return Gradient(flat, float(tail[0]), after, chars, stop, save)

    def dropout_mask(self, step: int) -> ndarray | None:
        """The dropout mask of a step for the sequences of this process, (B, L*H).

        Its entries are 0 with probability p, else 1/(1-p), so that the mean of h is unchanged.
        None without dropout. All time steps of a window share one mask, so a unit is dropped for
        the whole window (Gal & Ghahramani 2016); this takes T times fewer random numbers.
        """
        p = self.run.dropout
        if p == 0:
            return None
        arch = self.run.checkpoint.last.arch
        draws = uniform_rows(
            self.config.seed, Purpose.DROPOUT, step, self.sequences, width=arch.output_size
        )
        return ((draws >= p) / (1 - p)).astype(arch.dtype)


@functools.lru_cache(maxsize=1)
def epoch_offset(seed: int, epoch: int, max_offset: int) -> int:
    """The offset of an epoch's windows in the text, drawn from 0 .. ``max_offset``."""
    return int(generator(seed, Purpose.WINDOW_OFFSET, epoch).integers(max_offset + 1))


def diverged(run: Run, step: int, what: str) -> DivergedError:
    """The error for a run that diverged at ``step``; its message has the cause and remedies."""
    config = run.config
    clipping = "" if config.clip_norm else ", or clip with --clip-norm 1"
    kept = "no checkpoint has been written"
    if run.path.exists():
        kept = f"{run.path} is unchanged since its last save"
    return DivergedError(
        f"training diverged at step {step:,} ({what}): lower {option_name('learning_rate')} "
        f"(now {run.learning_rate:g}){clipping}; {kept}"
    )
