"""The length of a run in steps, whether set in steps, epochs or minutes."""

from __future__ import annotations

import dataclasses
import math
import time

from charrnn.training.run import Run
from charrnn.training.step import TrainingStep
from charrnn.training.validation import score_together

MANY = 2.0**62  # steps are stored in 64 bits
MEASURED = 64 * 1024  # symbols to score when measuring the speed of validation


def set_budget(run: Run, step: TrainingStep | None = None) -> None:
    """Turn the budget of the settings into the steps of ``run.checkpoint.progress``.

    A new budget in minutes needs a ``step`` to measure the speed; without one, the steps are 0.
    """
    config, progress, windows = run.config, run.checkpoint.progress, run.batches.windows
    before = progress.steps
    if config.steps:
        progress.steps = config.steps
    elif config.epochs:
        progress.steps = max(1, math.ceil(min(config.epochs * windows, MANY)))
    elif config.max_minutes and config.max_minutes != progress.minutes:
        # Measured once and stored: the same command resumes with the same number of steps.
        if step is None:
            progress.steps = 0
            return
        seconds = run.processes.broadcast(seconds_per_step(run, step))
        fit = int(min(60 * config.max_minutes / seconds, MANY))
        progress.steps = max(1, progress.step, fit)
    progress.minutes = config.max_minutes
    run.checkpoint.settings["steps"] = progress.steps
    if run.resumed and before != progress.steps > progress.step:
        run.notes.append(
            f"the budget was {before:,} steps and is now {progress.steps:,}: the learning rate "
            "follows the schedule of the new total, so the result differs from that of one long run"
        )


def seconds_per_step(run: Run, step: TrainingStep) -> float:
    """The time of a step and its share of validation, measured on copies for about a second."""
    checkpoint, share = run.checkpoint, run.processes.broadcast
    params, moments = checkpoint.last.copy(), checkpoint.moments.copy()
    state = checkpoint.state[step.sequences]
    begin = time.perf_counter()
    done = 0
    while share((spent := time.perf_counter() - begin) < 1.0 or done < 3):
        if done == 1:  # the first step warms caches and threads
            begin = time.perf_counter()
        state = step.update(params, moments, state, 1 + done, 1000).gradient.state
        done += 1
    seconds = spent / max(1, done - 1)
    if len(run.validation):
        part = dataclasses.replace(run.validation, ids=run.validation.ids[:MEASURED])
        begin = time.perf_counter()
        score_together(run, params, part)
        took = time.perf_counter() - begin
        seconds += took * len(run.validation) / len(part) / run.eval_every
    return seconds
