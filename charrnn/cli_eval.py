"""``charrnn eval``: how well is a text predicted? In one figure, line by line, or coloured."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn import runtime
from charrnn.console import is_terminal, printable, say, write
from charrnn.errors import CorpusError, UsageError, overflowed
from charrnn.options import (
    TEXTS,
    checkpoint_option,
    newest_checkpoint,
    start_numpy,
    unknown_option,
)

if TYPE_CHECKING:  # NumPy is imported inside the command: see cli
    from numpy.typing import NDArray

    from charrnn.checkpoint import Checkpoint
    from charrnn.corpus import Text

    Array = NDArray[Any]

LINES = 512  # that --per-line scores together


@click.command("eval")
@click.argument("text", nargs=-1, required=True, type=TEXTS)
@checkpoint_option
@click.option("--split", type=click.Choice(["all", "train", "val"]), default=None,
              help="Which part; train and val need the corpus of the run.  [default: all]")
@unknown_option
@click.option("--per-line", is_flag=True,
              help="A row for each line of each file: bits/char, characters, nats, text; "
              "tabs between.")
@click.option("--dynamic", "learn", is_flag=True,
              help="Learn from the text as it is scored; the checkpoint stays as it is. Another "
              "measure, not to be compared with scores of fixed weights, and a slow one.")
@click.option("--surprisal", is_flag=True,
              help="The text itself, coloured by the bits of each character; where it is piped, "
              "a row for each: bits, 1 where it was the likeliest, character.")
@click.option("--baselines", "compare", is_flag=True,
              help="The same text under n-grams of the training text, and lzma.")
@click.option("--train-text", type=TEXTS, metavar="FILE",
              help="The training text for --baselines; --split val has it already.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    text: tuple[str, ...], checkpoint: Path | None, split: str | None, unknown: str,
    per_line: bool, learn: bool, surprisal: bool, compare: bool, train_text: str | None,
    as_json: bool,
) -> None:
    """Say how well TEXT is predicted: files and folders as one text, or - for stdin.

    A text is scored as it is read, and need not end; what goes with --split, --dynamic,
    --surprisal or --baselines is read whole.
    """
    path = checkpoint or newest_checkpoint()
    if text.count("-") > 1:
        raise UsageError("standard input can be read only once")
    if per_line and split:
        raise UsageError("--per-line scores every line; it has no --split")
    if per_line and learn:
        raise UsageError("--per-line reads every line anew; --dynamic learns from one to the next")
    if surprisal and (per_line or as_json or compare):
        raise UsageError("--surprisal shows the text; it goes with --split and --dynamic only")
    if compare and (per_line or learn):
        raise UsageError("--baselines are for the score of a whole text under fixed weights: leave "
                         "out --per-line and --dynamic")
    if (*text, train_text).count("-") > 1:
        raise UsageError("standard input can be read only once")
    if compare and split != "val" and train_text is None:
        raise UsageError("--baselines counts what the model was trained on: name it with "
                         "--train-text, or use --split val")
    if train_text is not None and not compare:
        raise UsageError("--train-text is for --baselines")
    threads = runtime.default_threads()
    start_numpy()

    from charrnn import corpus, dynamic, evaluation, report
    from charrnn.checkpoint import load

    run = load(path)
    skip = unknown == "skip"
    encoding = str(run.settings["encoding"])
    if per_line:
        score_each_line(run, path, text, skip, as_json)
        return
    if not (split in ("train", "val") or learn or surprisal or compare):
        score_stream(run, path, text, skip, threads, as_json)
        return
    # The corpus of the run has no unknown characters, or they are replaced; that another text
    # is not the corpus is said first.
    parted = split in ("train", "val")
    whole = corpus.read_known(text, run.vocabulary, encoding, skip or parted, path.parent)
    part, before, resets = evaluation.part_of(run, whole, split)
    if len(part) == 0:
        raise CorpusError(f"{whole.name}: there is nothing to score")
    say(f"{path}, step {run.progress.best_step:,}")
    if split is None and whole.digest == run.origin["corpus"]:
        say("note: the model was trained on most of this text; --split val is what it was not")
    if learn:
        blocks = report.progress(dynamic.surprisals(run.best, part, before, resets), len(part))
    else:
        blocks = evaluation.surprisals(run.best, part, before, threads, resets)
    blocks = evaluation.finite(blocks, whole.name)
    if surprisal:
        show_surprisal(run, part, blocks)
        return
    score = evaluation.total(blocks)
    if not compare:
        write(report.score_line(score, whole, split or "all", path, learn, as_json))
        return
    from charrnn.baselines import baselines
    from charrnn.ngram import LARGEST
    from charrnn.views import baseline_table

    counted = training_text(run, whole, train_text, path.parent)
    if len(counted) == 0:
        raise CorpusError("there is no training text to count: name it with --train-text")
    if len(counted) > LARGEST:
        say(f"note: of the {len(counted):,} characters to learn from, the baselines count the "
            f"last {LARGEST:,}")
    rows = baselines(counted, part, before, run.vocabulary)
    if as_json:
        write(report.score_line(score, whole, split or "all", path, learn, True, dict(rows)))
        return
    write(report.score_line(score, whole, split or "all", path, learn, False))
    for line in baseline_table(rows, printable(path.stem), score.nats_per_char):
        write(f"{line}\n".encode())


def score_stream(
    run: Checkpoint, path: Path, texts: tuple[str, ...], skip: bool, threads: int, as_json: bool
) -> None:
    """Score whole texts as they are read, which may be longer than memory or without end."""
    import numpy as np

    from charrnn import evaluation, report
    from charrnn.corpus import Pieces

    pieces = Pieces(texts, run.vocabulary, str(run.settings["encoding"]), skip)
    before = np.array([run.vocabulary.start], run.vocabulary.dtype)
    restart = run.settings["borders"] == "reset"
    said = f"{path}, step {run.progress.best_step:,}"
    blocks = evaluation.streamed(run.best, pieces, before, threads, restart)
    score = evaluation.NOTHING
    with runtime.listening(), report.running() as show:
        try:
            for block in evaluation.finite(blocks, pieces.name):
                if said:
                    say(said)
                said = ""
                score += evaluation.score_of(*block)
                show(score)
        except SystemExit:  # INT or TERM
            if score.chars:
                say("interrupted: this is the score of what was read so far")
                write(report.score_line(score, pieces, "all", path, False, as_json))
            else:
                say(f"interrupted before there was a score: there is one for every "
                    f"{evaluation.LANES * evaluation.SEGMENT:,} characters")
            raise
    if score.chars == 0:
        raise CorpusError(f"{pieces.name}: there is nothing to score")
    if pieces.digest == run.origin["corpus"]:
        say("note: the model was trained on most of this text; --split val is what it was not")
    write(report.score_line(score, pieces, "all", path, False, as_json))


def score_each_line(
    run: Checkpoint, path: Path, texts: tuple[str, ...], skip: bool, as_json: bool
) -> None:
    """A row for each line; a line is scored from the beginning, whatever was before it."""
    from charrnn import corpus, evaluation, report

    said = f"{path}, step {run.progress.best_step:,}"
    lines = corpus.read_lines(texts, run.vocabulary, str(run.settings["encoding"]), skip)
    while batch := list(islice(lines, LINES)):
        if said:
            say(said)
        said = ""
        scores = evaluation.score_lines(run.best, [ids for _, ids, _ in batch],
                                        run.vocabulary.start)
        for (line, _, missing), score in zip(batch, scores, strict=True):
            if not isfinite(score.nats):
                raise overflowed(f"in the line {line!r:.60}")
            write(report.line_score(line, score, missing, as_json))


def show_surprisal(run: Checkpoint, text: Array, blocks: Iterable[tuple[Array, Array]]) -> None:
    """The text in colours on a terminal that has them, else a table."""
    from charrnn import views

    colours, at = is_terminal() and views.coloured(), 0
    if colours:
        write(f"{views.legend()}\n\n".encode())
    for nats, right in blocks:
        ids = text[at : at + len(nats)]
        at += len(nats)
        if colours:
            shown = views.coloured_text(ids, nats, run.vocabulary)
        else:
            shown = views.surprisal_rows(ids, nats, right, run.vocabulary)
        write(shown.encode("utf-8", "surrogatepass"))
    if colours:
        write(b"\n")


def training_text(run: Checkpoint, whole: Text, named: str | None, folder: Path) -> Array:
    """The symbols that the model was trained on: of the corpus, what was not held out."""
    from charrnn import corpus, evaluation

    if named is not None:
        encoding = str(run.settings["encoding"])
        whole = corpus.read_known([named], run.vocabulary, encoding, True, folder)
        if whole.digest != run.origin["corpus"]:
            say(f"note: {whole.name} is not the text that the model was trained on")
            return whole.ids
    return evaluation.part_of(run, whole, None if run.origin["val"] else "train")[0]
