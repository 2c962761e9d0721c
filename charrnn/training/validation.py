"""Validation: score the validation part, keep the best weights, compare with n-grams."""

from __future__ import annotations

import dataclasses
import itertools
import math

from charrnn.analysis import ngram
from charrnn.inference.scoring import NO_SCORE, Score, score_blocks
from charrnn.nn.parameters import Parameters
from charrnn.text.split import Split
from charrnn.training.run import Run

COUNTED = 1_000_000  # symbols whose n-grams are counted, which takes a tenth of a second


def score_together(run: Run, params: Parameters, part: Split) -> Score:
    """The score of a part, computed by all threads and processes; the same for any number."""
    processes = run.processes
    share = slice(processes.rank, None, processes.size)
    blocks = score_blocks(params, part, run.checkpoint.threads, share)
    scores = processes.allgather([block.score for block in blocks])
    # Process r scored blocks r, r + size, ...; all are summed in the order of the text.
    rounds = itertools.zip_longest(*scores, fillvalue=NO_SCORE)
    return sum(itertools.chain.from_iterable(rounds), start=NO_SCORE)


def validate(run: Run) -> float | None:
    """Score the validation part, in nats per character; keep the weights if it is a new best.

    None if a state overflows, as that of relu units may in a text much longer than the training
    windows; a later step may recover.
    """
    checkpoint, progress = run.checkpoint, run.checkpoint.progress
    nats = score_together(run, checkpoint.last, run.validation).nats_per_char
    progress.stale += 1
    if not math.isfinite(nats):
        return None
    if progress.best_nats is None or nats < progress.best_nats:
        progress.best_nats, progress.best_step, progress.stale = nats, progress.step, 0
        checkpoint.best.flat[:] = checkpoint.last.flat
    return nats


def ngram_scores(run: Run) -> tuple[float, float]:
    """Nats per character of the validation part under unigrams and trigrams, to compare with."""
    part = dataclasses.replace(run.validation, ids=run.validation.ids[:COUNTED])
    orders = ngram.nats_by_order(
        run.train.ids[-COUNTED:], part, len(run.checkpoint.vocabulary), order=3
    )
    means = [float(nats.mean()) for nats in orders]
    return means[0], means[-1]
