"""The training loop: truncated backpropagation through time, as a generator of events."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterator

import numpy as np

from charrnn.errors import DivergedError
from charrnn.inference import sampling
from charrnn.storage import checkpoint as storage
from charrnn.system.signals import Signals
from charrnn.training.budget import set_budget
from charrnn.training.events import End, Eval, Event, Sample, Save, Start, Step
from charrnn.training.run import Run
from charrnn.training.step import TrainingStep, diverged
from charrnn.training.validation import ngram_scores, validate

DIVERGED_AFTER = 100  # steps in a row with a loss of more than twice that of guessing
SAMPLE_LENGTH = 200  # characters of the samples shown during training


def train(run: Run, signals: Signals) -> Iterator[Event]:
    """Train and save until the budget or the patience is spent, or a signal requests a stop.

    Raises DivergedError; the last good checkpoint is then kept.
    """
    begin = time.perf_counter()
    config, checkpoint, batches = run.config, run.checkpoint, run.batches
    progress, step = checkpoint.progress, TrainingStep(run, signals)
    state = checkpoint.state[step.sequences]
    set_budget(run, step)

    def now() -> tuple[int, int, float, float]:
        elapsed = time.perf_counter() - begin
        return progress.step, progress.steps, progress.step / batches.windows, elapsed

    def spent() -> str | None:
        if config.patience and progress.stale >= config.patience:
            return "patience"
        return "done" if progress.step >= progress.steps else None

    yield start(run, time.perf_counter() - begin)
    compared, stop = None, None
    reason = "already trained" if run.resumed and spent() else None
    clock = time.perf_counter()
    signals.deferred = True
    while not reason:
        update = step.update(
            checkpoint.last, checkpoint.moments, state, progress.step + 1, progress.steps
        )
        state, loss, stop = update.gradient.state, update.gradient.loss, update.gradient.stop
        count_step(run, loss, update.grad_norm)
        speed = update.gradient.chars / max(time.perf_counter() - clock, 1e-9)
        mean = progress.losses / progress.since
        yield Step(*now(), loss, update.grad_norm, update.learning_rate, speed, mean)

        last = progress.step >= progress.steps
        due = last or progress.step % run.eval_every == 0
        if due:
            nats = None
            if len(run.validation):
                nats = validate(run)
                compared = compared or ngram_scores(run)
                yield Eval(*now(), nats, mean, progress.best_nats, progress.stale == 0, *compared)
            note_history(run, nats, update.learning_rate)
        every = config.sample_every
        shown = due if every is None else every > 0 and progress.step % every == 0
        if due or shown:
            text = sample(run)
            if due:
                checkpoint.remember_sample(progress.step, text)
            if shown:
                yield Sample(*now(), text)
        reason = "stopped" if stop is not None and not last else spent()
        # A high loss may never recover: such a step does not replace a better one unless a save
        # was requested.
        regular = due or progress.step % config.save_every == 0
        if reason or update.gradient.save or (regular and not progress.high):
            signals.save = False
            checkpoint.state = run.processes.allgather_rows(state)
            save(run)
            yield Save(*now(), str(run.path))
        clock = time.perf_counter()
    best_step = None if progress.best_nats is None else progress.best_step
    if not len(run.validation):  # the last weights are the best
        best_step = progress.step
    yield End(*now(), reason, progress.best_nats, best_step, str(run.path),
              stop if reason == "stopped" else None)


def start(run: Run, elapsed: float = 0.0) -> Start:
    """The first event: the run in numbers."""
    progress, arch = run.checkpoint.progress, run.checkpoint.last.arch
    return Start(
        progress.step, progress.steps, progress.step / run.batches.windows, elapsed,
        corpus=run.text.name,
        chars=len(run.text),
        distinct=run.text.distinct,
        level=run.config.level,
        train_chars=len(run.train),
        val_chars=len(run.validation),
        left_over=run.batches.left_over,
        cell=arch.cell_type,
        layers=arch.layers,
        hidden_size=arch.hidden_size,
        learning_rate=run.learning_rate,
        dropout=run.dropout,
        weight_decay=run.weight_decay,
        eval_every=run.eval_every,
        batch_size=run.batches.B,
        seq_length=run.batches.T,
        steps_per_epoch=run.batches.windows,
        parameters=arch.size,
        memory_bytes=run.memory,
        processes=run.processes.size,
        threads=run.checkpoint.threads,
        continued=run.resumed,
        path=str(run.path),
        settings={key: run.checkpoint.settings[key] for key in run.checkpoint.changed},
        notes=[*run.text.notes, *run.notes],
        validations=[nats for _, _, nats, *_ in run.checkpoint.history],
    )


def count_step(run: Run, loss: float, grad_norm: float) -> None:
    """Count an update in the progress of the run; DivergedError if the loss stays high."""
    progress = run.checkpoint.progress
    progress.step += 1
    progress.losses += loss
    progress.norms += grad_norm
    progress.since += 1
    high = loss > 2 * math.log(len(run.checkpoint.vocabulary))
    progress.high = progress.high + 1 if high else 0
    if progress.high >= DIVERGED_AFTER:
        what = f"{progress.high} steps with a loss above twice that of guessing"
        raise diverged(run, progress.step, what)


def note_history(run: Run, nats: float | None, rate: float) -> None:
    """Add a row to the curves: the means since the last row, and the validation score."""
    progress = run.checkpoint.progress
    losses, norms = progress.losses / progress.since, progress.norms / progress.since
    run.checkpoint.remember([progress.step, losses, nats, norms, rate])
    progress.losses = progress.norms = 0.0
    progress.since = 0


def save(run: Run) -> None:
    """Write the checkpoint; before the first finite validation, the last weights are the best.

    The result of the last update is checked first: a file never contains numbers that are not
    finite, nor weights that differ between the processes.
    """
    checkpoint, processes = run.checkpoint, run.processes
    processes.check_equal({"sum of weights": zlib.crc32(checkpoint.last.flat.data)})
    for what, array in (("weights", checkpoint.last.flat), ("moments", checkpoint.moments),
                        ("state", checkpoint.state)):
        if not np.isfinite(array).all():
            raise diverged(run, checkpoint.progress.step, f"infinite {what}")
    if checkpoint.progress.best_nats is None:
        checkpoint.best.flat[:] = checkpoint.last.flat
        checkpoint.progress.best_step = checkpoint.progress.step
    processes.together(
        lambda: storage.save(run.path, checkpoint) if processes.is_first else None
    )


def sample(run: Run) -> str:
    """A short sample from the current weights; the same step gives the same sample."""
    checkpoint, vocabulary = run.checkpoint, run.checkpoint.vocabulary
    seed = (run.config.seed + checkpoint.progress.step) % 2**63
    pieces = sampling.samples(
        checkpoint.last, np.array([vocabulary.start]), count=1, length=SAMPLE_LENGTH, seed=seed
    )
    try:
        text = vocabulary.decode(np.concatenate([ids for _, ids in pieces]))
    except DivergedError as error:  # the run may still recover
        return str(error)
    return text if isinstance(text, str) else text.decode("utf-8", "replace")
