"""One update: the gradient of a window, shared by threads and processes; clip; optimizer."""

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

TAIL = 5  # numbers that ride along with a gradient: the loss, and what signals asked for


class Gradient(NamedTuple):
    """Gradient and loss of a window, summed over the whole batch; the state is this process's."""

    flat: ndarray  # (P,), valid until the next step
    loss: float  # nats/char
    state: ndarray  # (B, S*L*H) after the window, of this process's sequences
    chars: int  # that were read
    stop: int | None  # the signal that asked one of the processes to stop
    save: bool  # whether one of them was asked to save


class Update(NamedTuple):
    """An update that was made."""

    gradient: Gradient
    grad_norm: float  # before clipping
    learning_rate: float


class TrainingStep:
    """What is needed for one update after the other: buffers, and the settings that matter.

    The batch is divided into shards, each with a gradient of its own, and the gradients are
    summed.
    """

    def __init__(self, run: Run, signals: Signals | None = None) -> None:
        arch, B = run.checkpoint.last.arch, run.batches.B
        self.run, self.batches, self.config = run, run.batches, run.config
        self.signals = signals or Signals()
        self.optimize = OPTIMIZERS[run.config.optimizer].update
        # Each thread works on its own sequences, with BLAS on one thread: for the small
        # products of the loop over time that is faster than BLAS sharing out each of them.
        threads, processes = run.checkpoint.threads, run.processes.size
        shards = shard_count(run.batches, threads, processes, self.config.deterministic)
        group = run.processes
        self.allreduce = group.allreduce_in_order if self.config.deterministic else group.allreduce
        edges = run.processes.share([*pairwise(B * shard // shards for shard in range(shards + 1))])
        self.sequences = slice(edges[0][0], edges[-1][1])  # the sequences of this process
        self.shards = [slice(a - self.sequences.start, b - self.sequences.start) for a, b in edges]
        width = -(-(arch.size + TAIL) // 16) * 16  # of whole cache lines
        self.parts = np.zeros((len(edges), width), arch.dtype)  # a gradient for each shard
        self.grads = [Parameters(arch, part[: arch.size]) for part in self.parts]
        self.threads = min(threads, len(edges))
        widest = max(b - a for a, b in edges)
        self.activations = [Activations(arch, run.batches.T, widest) for _ in range(self.threads)]
        self.others = ThreadPoolExecutor(self.threads)  # starts its threads when they have work

    def update(
        self, params: Parameters, moments: ndarray, state: ndarray, step: int, steps: int
    ) -> Update:
        """Update ``params`` and ``moments`` in place by step number ``step``, 1 .. ``steps``.

        ``state`` (B, S*L*H) is that of this process's sequences. Raises DivergedError, nothing
        updated, where the loss or the norm of the gradient is not finite.
        """
        config = self.config
        with np.errstate(over="ignore", invalid="ignore"):  # looked at here, and before a save
            gradient = self.gradient(params, state, step)
            norm = clip(gradient.flat, config.clip_norm, config.clip_value)
            if not (math.isfinite(gradient.loss) and math.isfinite(norm)):
                what = f"loss {gradient.loss:g}, gradient norm {norm:g}"
                raise diverged(self.run, step, what)
            rate = learning_rate(step, config.learning_rate, config.schedule, config.warmup, steps)
            if config.decay:  # decoupled from the gradient (Loshchilov & Hutter 2019)
                for W in params.matrices:
                    W *= 1 - rate * config.decay
            self.optimize(params.flat, gradient.flat, moments, step, rate)
        return Update(gradient, norm, rate)

    def gradient(self, params: Parameters, state: ndarray, step: int) -> Gradient:
        """Read the window of ``step`` from ``state``, that of this process's sequences.

        The loss and the gradient are summed in a fixed order over the shards.
        """
        epoch, index = divmod(step - 1, self.batches.windows)
        if index == 0:  # an epoch starts with nothing read
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

        # This thread takes the first part itself: one thread less to wake up.
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
        """Zeros, and what keeps the mean, for the sequences of this process, (B, L*H).

        One mask holds for all time steps of a window: it hides units instead of blurring all
        of them (Gal & Ghahramani 2016), and costs T times fewer random numbers.
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
    """Where the sequences begin in an epoch, so that its windows cut the text elsewhere."""
    return int(generator(seed, Purpose.WINDOW_OFFSET, epoch).integers(max_offset + 1))


def diverged(run: Run, step: int, what: str) -> DivergedError:
    """The error to raise when a run is beyond help, with what to do about it."""
    config = run.config
    clipping = "" if config.clip_norm else ", or clip with --clip-norm 1"
    kept = "no checkpoint was written yet"
    if run.path.exists():
        kept = f"{run.path} is as it was last saved"
    return DivergedError(
        f"training diverged at step {step:,} ({what}): lower {option_name('learning_rate')} "
        f"(now {config.learning_rate:g}){clipping}; {kept}"
    )
