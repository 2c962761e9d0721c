"""The loop: truncated backpropagation through time, as a generator of events."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import checkpoint, sampling
from charrnn.config import option
from charrnn.corpus import oddities
from charrnn.errors import DivergedError
from charrnn.evaluation import score
from charrnn.events import End, Eval, Event, Sample, Save, Start, Step
from charrnn.model import Tape, backward, cross_entropy, forward
from charrnn.optim import OPTIMISERS, clip, learning_rate
from charrnn.parameters import Parameters
from charrnn.preparation import Run
from charrnn.randomness import Purpose, generator
from charrnn.runtime import Signals

Array = NDArray[Any]

DIVERGED_AFTER = 100  # steps in a row with a loss of more than twice that of guessing
LANES_PER_THREAD = 8  # at least; fewer rows make slow products
MANY = 2.0**62  # steps are stored in 64 bits
SAMPLE_LENGTH = 200  # characters that are shown while training


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
        self.map = map if shards == 1 else ThreadPoolExecutor(shards).map

    def step(
        self, params: Parameters, moments: Array, h: Array, step: int, steps: int
    ) -> tuple[Array, float, float, float]:
        """Update ``params`` and ``moments`` in place by step number ``step``.

        Returns the new state, the loss (nats/char) and the norm of the gradient before the
        update, and the learning rate. Raises DivergedError, nothing updated, where either
        is not finite.
        """
        config, grad = self.config, self.grads[0].flat
        index = (step - 1) % self.lanes.windows
        if index == 0:
            h = np.zeros_like(h)
        x, y = self.lanes.window(index)
        mask = self.dropout_mask(step)


        def work(shard: int) -> tuple[Array, float]:
            mine, tape = self.shards[shard], self.tapes[shard]
            masked = None if mask is None else mask[mine]
            with np.errstate(over="ignore", invalid="ignore"):  # looked at below
                logits, after = forward(params, x[:, mine], h[mine], tape, masked)
                part = cross_entropy(logits, y[:, mine], chars=x.size)
                backward(params, x[:, mine], logits, tape, self.grads[shard], masked)
            return after, part

        parts = list(self.map(work, range(len(self.shards))))
        h = np.concatenate([after for after, _ in parts])
        loss = sum(part for _, part in parts)
        with np.errstate(over="ignore", invalid="ignore"):  # looked at here, and in ``save``
            for other in self.grads[1:]:
                grad += other.flat
            norm = clip(grad, config.clip_norm, config.clip_value)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise DivergedError(self.advice(step, f"loss {loss:g}, gradient norm {norm:g}"))
            rate = learning_rate(step, config.learning_rate, config.schedule, config.warmup, steps)
            self.optimise(params.flat, grad, moments, step, rate)
        return h, loss, norm, rate

    def dropout_mask(self, step: int) -> Array | None:
        """Zeros, and what keeps the mean: (B, L*H), one mask for all time steps of a window.

        A mask that stays through the window hides units instead of blurring all of them
        (Gal & Ghahramani 2016), and costs T times fewer random numbers.
        """
        p = self.config.dropout
        if p == 0:
            return None
        arch = self.run.checkpoint.last.arch
        draws = generator(self.config.seed, Purpose.DROPOUT, step).random(
            (self.lanes.B, arch.state_size), np.float32
        )
        return ((draws >= p) / (1 - p)).astype(arch.dtype)

    def advice(self, step: int, what: str) -> str:
        config = self.config
        clipping = "" if config.clip_norm else ", or clip with --clip-norm 1"
        kept = "no checkpoint was written yet"
        if self.run.path.exists():
            kept = f"{self.run.path} is as it was last saved"
        return (
            f"training diverged at step {step:,} ({what}): lower {option('learning_rate')} "
            f"(now {config.learning_rate:g}){clipping}; {kept}"
        )


def train(run: Run, signals: Signals) -> Iterator[Event]:
    """Train until the budget, the patience or somebody's patience is spent; save on the way.

    Raises DivergedError with the last good checkpoint in place.
    """
    config, saved, lanes = run.config, run.checkpoint, run.lanes
    progress, trainer = saved.progress, Trainer(run)
    budget(run, trainer)

    def now() -> tuple[int, int, float]:
        return progress.step, progress.steps, progress.step / lanes.windows

    def spent() -> str | None:
        if config.patience and progress.stale >= config.patience:
            return "patience"
        return "done" if progress.step >= progress.steps else None

    yield start(run)
    reason = "already trained" if run.continued and spent() else None
    clock = time.perf_counter()
    while not reason:
        saved.state, loss, norm, rate = trainer.step(
            saved.last, saved.moments, saved.state, progress.step + 1, progress.steps
        )
        progress.step += 1
        progress.losses += loss
        progress.norms += norm
        progress.since += 1
        progress.high = progress.high + 1 if loss > 2 * math.log(len(saved.vocabulary)) else 0
        if progress.high >= DIVERGED_AFTER:
            what = f"{progress.high} steps above twice the loss of guessing"
            raise DivergedError(trainer.advice(progress.step, what))
        seconds, clock = time.perf_counter() - clock, time.perf_counter()
        yield Step(*now(), loss, norm, rate, lanes.T * lanes.B / max(seconds, 1e-9))

        last = progress.step >= progress.steps
        due = last or progress.step % run.eval_every == 0
        if due:
            event = validate(run, rate, trainer, *now())
            if event:
                yield event
        if config.sample_every and progress.step % config.sample_every == 0:
            yield Sample(*now(), sample(run))
        reason = "stopped" if signals.stop is not None and not last else spent()
        if due or reason or signals.save or progress.step % config.save_every == 0:
            signals.save = False
            save(run, trainer)
            yield Save(*now(), str(run.path))
        clock = time.perf_counter()
    best_step = progress.best_step if len(run.val) else progress.step
    stopped = signals.stop if reason == "stopped" else None
    yield End(*now(), reason, progress.best_nats, best_step, str(run.path), stopped)


def start(run: Run) -> Start:
    """What was found, in numbers."""
    progress, arch = run.checkpoint.progress, run.checkpoint.last.arch
    return Start(
        progress.step, progress.steps, progress.step / run.lanes.windows,
        corpus=run.text.name,
        chars=len(run.text),
        distinct=len(run.text.vocabulary),
        level=run.config.level,
        train_chars=run.train_chars,
        val_chars=len(run.val),
        left_over=run.lanes.left_over,
        batch_size=run.lanes.B,
        seq_length=run.lanes.T,
        steps_per_epoch=run.lanes.windows,
        parameters=arch.size,
        memory_bytes=run.memory,
        continued=run.continued,
        path=str(run.path),
        settings={key: run.checkpoint.settings[key] for key in run.checkpoint.changed},
        notes=oddities(run.text) + run.notes,
    )


def budget(run: Run, trainer: Trainer) -> None:
    """Turn the length of the run, however it was given, into steps."""
    config, progress, windows = run.config, run.checkpoint.progress, run.lanes.windows
    before = progress.steps
    if config.steps:
        progress.steps = config.steps
    elif config.epochs:
        progress.steps = max(1, math.ceil(min(config.epochs * windows, MANY)))
    elif not config.max_minutes:
        progress.steps = run.default_steps
    elif config.max_minutes != progress.minutes:
        # Measured once and kept: the same command finds the same number next time.
        fit = int(min(60 * config.max_minutes / seconds_per_step(run, trainer), MANY))
        progress.steps = max(1, progress.step, fit)
    progress.minutes = config.max_minutes
    if run.continued and before != progress.steps:
        run.notes.append(
            f"the budget was {before:,} steps and is {progress.steps:,} now: the rate follows "
            "the schedule of the new total, so this is not one long run"
        )


def seconds_per_step(run: Run, trainer: Trainer) -> float:
    """The time of a step with its share of validation, measured on copies for a second."""
    saved = run.checkpoint
    params, moments, h = saved.last.copy(), saved.moments.copy(), saved.state
    begin = time.perf_counter()
    done = 0
    while (spent := time.perf_counter() - begin) < 1.0 or done < 3:
        if done == 1:  # the first step warms caches and threads
            begin = time.perf_counter()
        h, *_ = trainer.step(params, moments, h, 1 + done, 1000)
        done += 1
    step = spent / max(1, done - 1)
    if len(run.val):
        some = run.val[: 64 * 1024]
        begin = time.perf_counter()
        score(params, some, run.before_val, saved.threads)
        step += (time.perf_counter() - begin) * len(run.val) / len(some) / run.eval_every
    return step


def validate(
    run: Run, rate: float, trainer: Trainer, step: int, steps: int, epoch: float
) -> Eval | None:
    """Score the held-out text, keep the weights where they are the best, note the curve."""
    saved, progress = run.checkpoint, run.checkpoint.progress
    nats = None
    event = None
    if len(run.val):
        with np.errstate(over="ignore", invalid="ignore"):
            nats = score(saved.last, run.val, run.before_val, saved.threads).nats_per_char
        if not math.isfinite(nats):
            raise DivergedError(trainer.advice(step, f"validation {nats:g}"))
        improved = progress.best_nats is None or nats < progress.best_nats
        progress.stale = 0 if improved else progress.stale + 1
        if improved:
            progress.best_nats, progress.best_step = nats, step
            saved.best.flat[:] = saved.last.flat
        assert progress.best_nats is not None
        event = Eval(step, steps, epoch, nats, progress.best_nats, improved)
    if progress.since:
        losses, norms = progress.losses / progress.since, progress.norms / progress.since
        saved.remember([step, losses, nats, norms, rate])
        progress.losses = progress.norms = 0.0
        progress.since = 0
    return event


def save(run: Run, trainer: Trainer) -> None:
    """Write the checkpoint; before the first validation the last weights are the best.

    What the last update made is looked at first: a file never holds what is not finite.
    """
    saved = run.checkpoint
    for what, array in (("weights", saved.last.flat), ("moments", saved.moments),
                        ("state", saved.state)):
        if not np.isfinite(array).all():
            raise DivergedError(trainer.advice(saved.progress.step, f"infinite {what}"))
    if saved.progress.best_nats is None:
        saved.best.flat[:] = saved.last.flat
        saved.progress.best_step = saved.progress.step
    checkpoint.save(run.path, saved)


def sample(run: Run) -> str:
    """A short sample of the weights as they are, the same whenever it is asked for."""
    saved, vocabulary = run.checkpoint, run.checkpoint.vocabulary
    seed = (run.config.seed + saved.progress.step) % 2**63
    pieces = sampling.samples(
        saved.last, np.array([vocabulary.start]), count=1, length=SAMPLE_LENGTH, seed=seed
    )
    text = vocabulary.decode(np.concatenate([ids for _, ids in pieces]))
    return text if isinstance(text, str) else text.decode("utf-8", "replace")
