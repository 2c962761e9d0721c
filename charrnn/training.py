"""The loop: truncated backpropagation through time, as a generator of events."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Iterator

import numpy as np

from charrnn import checkpoint, sampling
from charrnn.errors import DivergedError
from charrnn.evaluation import score
from charrnn.events import End, Eval, Event, Sample, Save, Start, Step
from charrnn.ngram import surprisals
from charrnn.preparation import Run
from charrnn.runtime import Signals
from charrnn.trainer import Trainer, diverged

DIVERGED_AFTER = 100  # steps in a row with a loss of more than twice that of guessing
MANY = 2.0**62  # steps are stored in 64 bits
COUNTED = 1_000_000  # symbols of which trigrams are counted, in a tenth of a second
SAMPLE_LENGTH = 200  # characters that are shown while training


def train(run: Run, signals: Signals) -> Iterator[Event]:
    """Train until the budget, the patience or somebody's patience is spent; save on the way.

    Raises DivergedError with the last good checkpoint in place.
    """
    config, saved, lanes = run.config, run.checkpoint, run.lanes
    progress, trainer = saved.progress, Trainer(run, signals)
    h = saved.state[trainer.mine]
    budget(run, trainer)

    def now() -> tuple[int, int, float]:
        return progress.step, progress.steps, progress.step / lanes.windows

    def spent() -> str | None:
        if config.patience and progress.stale >= config.patience:
            return "patience"
        return "done" if progress.step >= progress.steps else None

    yield start(run)
    counted = None
    reason = "already trained" if run.continued and spent() else None
    clock = time.perf_counter()
    signals.deferred = True
    while not reason:
        h, loss, norm, rate = trainer.step(
            saved.last, saved.moments, h, progress.step + 1, progress.steps
        )
        progress.step += 1
        progress.losses += loss
        progress.norms += norm
        progress.since += 1
        progress.high = progress.high + 1 if loss > 2 * math.log(len(saved.vocabulary)) else 0
        if progress.high >= DIVERGED_AFTER:
            what = f"{progress.high} steps above twice the loss of guessing"
            raise diverged(run, progress.step, what)
        speed = trainer.chars / max(time.perf_counter() - clock, 1e-9)
        yield Step(*now(), loss, norm, rate, speed)

        last = progress.step >= progress.steps
        due = last or progress.step % run.eval_every == 0
        if due:
            nats = None
            if len(run.val):
                nats = validate(run)
                counted = counted or ngrams(run)
                yield Eval(*now(), nats, progress.best_nats, progress.stale == 0, *counted)
            note_history(run, nats, rate)
            saved.remember_sample(progress.step, sample(run))
        if config.sample_every and progress.step % config.sample_every == 0:
            yield Sample(*now(), sample(run))
        reason = "stopped" if trainer.stop is not None and not last else spent()
        # A step from which the run may not recover is not saved unasked over a better one.
        regular = due or progress.step % config.save_every == 0
        if reason or trainer.save or (regular and not progress.high):
            signals.save = False
            saved.state = run.ranks.gather(h)
            save(run)
            yield Save(*now(), str(run.path))
        clock = time.perf_counter()
    best_step = progress.best_step if len(run.val) else progress.step
    stopped = trainer.stop if reason == "stopped" else None
    yield End(*now(), reason, progress.best_nats, best_step, str(run.path), stopped)


def start(run: Run) -> Start:
    """What was found, in numbers."""
    progress, arch = run.checkpoint.progress, run.checkpoint.last.arch
    return Start(
        progress.step, progress.steps, progress.step / run.lanes.windows,
        corpus=run.text.name,
        chars=len(run.text),
        distinct=run.text.distinct,
        level=run.config.level,
        train_chars=run.train_chars,
        val_chars=len(run.val),
        left_over=run.lanes.left_over,
        dropout=run.dropout,
        batch_size=run.lanes.B,
        seq_length=run.lanes.T,
        steps_per_epoch=run.lanes.windows,
        parameters=arch.size,
        memory_bytes=run.memory,
        processes=run.ranks.size,
        threads=run.checkpoint.threads,
        continued=run.continued,
        path=str(run.path),
        settings={key: run.checkpoint.settings[key] for key in run.checkpoint.changed},
        notes=[*run.text.notes, *run.notes],
    )


def budget(run: Run, trainer: Trainer | None = None) -> None:
    """Turn the length of the run, however it was given, into steps.

    A new time needs a ``trainer`` to measure with; without one, the steps are 0 for now.
    """
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
        if trainer is None:
            progress.steps = 0
            return
        seconds = run.ranks.share(seconds_per_step(run, trainer))
        fit = int(min(60 * config.max_minutes / seconds, MANY))
        progress.steps = max(1, progress.step, fit)
    progress.minutes = config.max_minutes
    if run.continued and before != progress.steps > progress.step:
        run.notes.append(
            f"the budget was {before:,} steps and is {progress.steps:,} now: the rate follows "
            "the schedule of the new total, so this is not one long run"
        )


def seconds_per_step(run: Run, trainer: Trainer) -> float:
    """The time of a step with its share of validation, measured on copies for a second."""
    saved = run.checkpoint
    params, moments, h = saved.last.copy(), saved.moments.copy(), saved.state[trainer.mine]
    begin = time.perf_counter()
    done = 0
    while run.ranks.share((spent := time.perf_counter() - begin) < 1.0 or done < 3):
        if done == 1:  # the first step warms caches and threads
            begin = time.perf_counter()
        h, *_ = trainer.step(params, moments, h, 1 + done, 1000)
        done += 1
    step = spent / max(1, done - 1)
    if len(run.val):
        some = run.val[: 64 * 1024]
        begin = time.perf_counter()
        score(params, some, run.before_val, saved.threads, run.resets, run.ranks)
        step += (time.perf_counter() - begin) * len(run.val) / len(some) / run.eval_every
    return step


def ngrams(run: Run) -> tuple[float, float]:
    """Nats per character of the held-out text under unigrams and trigrams, to compare with."""
    train = run.lanes.text[-COUNTED:]
    means = [float(nats.mean()) for nats in surprisals(
        train, run.val[:COUNTED], run.before_val, len(run.checkpoint.vocabulary), order=3)]
    return means[0], means[-1]


def validate(run: Run) -> float | None:
    """Score the held-out text, nats per character, and keep the weights if they are the best.

    None where a state overflows on the way, as that of relu units may, in texts much longer
    than the windows they learn from; a later step may mend it.
    """
    saved, progress = run.checkpoint, run.checkpoint.progress
    found = score(saved.last, run.val, run.before_val, saved.threads, run.resets, run.ranks)
    nats = found.nats_per_char
    progress.stale += 1
    if not math.isfinite(nats):
        return None
    if progress.best_nats is None or nats < progress.best_nats:
        progress.best_nats, progress.best_step, progress.stale = nats, progress.step, 0
        saved.best.flat[:] = saved.last.flat
    return nats


def note_history(run: Run, nats: float | None, rate: float) -> None:
    """Add a row to the curves: the means since the last row, and the validation."""
    saved, progress = run.checkpoint, run.checkpoint.progress
    losses, norms = progress.losses / progress.since, progress.norms / progress.since
    saved.remember([progress.step, losses, nats, norms, rate])
    progress.losses = progress.norms = 0.0
    progress.since = 0


def save(run: Run) -> None:
    """Write the checkpoint; before the first finite validation the last weights are the best.

    What the last update made is looked at first: a file never holds what is not finite, nor
    weights that are not those of all processes.
    """
    saved = run.checkpoint
    run.ranks.alike({"sum of weights": zlib.crc32(saved.last.flat.data)})
    for what, array in (("weights", saved.last.flat), ("moments", saved.moments),
                        ("state", saved.state)):
        if not np.isfinite(array).all():
            raise diverged(run, saved.progress.step, f"infinite {what}")
    if saved.progress.best_nats is None:
        saved.best.flat[:] = saved.last.flat
        saved.progress.best_step = saved.progress.step
    run.ranks.agree(lambda: checkpoint.save(run.path, saved) if run.ranks.first else None)


def sample(run: Run) -> str:
    """A short sample of the weights as they are, the same whenever it is asked for."""
    saved, vocabulary = run.checkpoint, run.checkpoint.vocabulary
    seed = (run.config.seed + saved.progress.step) % 2**63
    pieces = sampling.samples(
        saved.last, np.array([vocabulary.start]), count=1, length=SAMPLE_LENGTH, seed=seed
    )
    try:
        text = vocabulary.decode(np.concatenate([ids for _, ids in pieces]))
    except DivergedError as error:  # the run may yet mend it
        return str(error)
    return text if isinstance(text, str) else text.decode("utf-8", "replace")
