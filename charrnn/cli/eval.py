"""``charrnn eval``: score a text, as a whole, line by line, or character by character."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charrnn.cli.console import (
    ReaderGone,
    say,
    silence_stdout,
    stdout_is_terminal,
    write,
    write_text,
)
from charrnn.cli.options import (
    TEXTS,
    checkpoint_option,
    choose_decoding,
    encoding_option,
    errors_option,
    newest_checkpoint,
    start_numpy,
    unknown_option,
)
from charrnn.errors import CharrnnError, CorpusError, UsageError, overflowed
from charrnn.system.machine import default_threads

if TYPE_CHECKING:  # NumPy is imported inside the command: see cli.main
    from numpy import ndarray

    from charrnn.api import Model
    from charrnn.inference.scoring import Scored
    from charrnn.text.corpus import Text
    from charrnn.text.reader import TextStream
    from charrnn.text.split import Split

LINES = 512  # that --per-line scores together
TRAINED_ON = "note: the model was trained on most of this text; --split val is what it was not"


@click.command("eval")
@click.argument("text", nargs=-1, required=True, type=TEXTS)
@checkpoint_option
@click.option("--split", type=click.Choice(["all", "train", "val"]), default=None,
              help="Which part; train and val need the corpus of the run.  [default: all]")
@unknown_option
@encoding_option
@errors_option
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
    encoding: str | None, errors: str | None, per_line: bool, learn: bool, surprisal: bool,
    compare: bool, train_text: str | None, as_json: bool,
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
    threads = default_threads()
    start_numpy()

    from charrnn import api
    from charrnn.text.display import printable_name, undecodable_note

    model, skip = api.load(path), unknown == "skip"
    said = [f"{printable_name(model.path)}, step {model.checkpoint.progress.best_step:,}"]
    chosen = choose_decoding(model, text, encoding, errors, said)
    if per_line:
        score_each_line(model, model.stream(text, skip, chosen), said, as_json)
        return
    if not (split in ("train", "val") or learn or surprisal or compare):
        score_stream(model, model.stream(text, skip, chosen), said, threads, as_json)
        return
    # The corpus of the run has no unknown characters, or they are replaced; that another text
    # is not the corpus is said first.
    whole = model.read(text, skip or split in ("train", "val"), chosen)
    part = model.part(whole, split or "all")
    if len(part) == 0:
        raise CorpusError(f"{whole.name}: there is nothing to score")
    if split is None and model.trained_on(whole):
        said.append(TRAINED_ON)
    said += [f"note: {note}" for note in undecodable_note(whole.undecodable, chosen.errors)]
    say_lines(said)
    counted = None
    if compare and train_text is not None:
        notes: list[str] = []
        chosen = choose_decoding(model, [train_text], encoding, errors, notes, beside=True)
        counted = model.read([train_text], True, chosen)
        notes += [f"note: {counted.name}: {note}" for note in
                  undecodable_note(counted.undecodable, chosen.errors)]
        say_lines(notes)
    score_whole(model, whole, part, split or "all", threads, learn=learn, surprisal=surprisal,
                compare=compare, counted=counted, as_json=as_json)


def say_lines(lines: list[str]) -> None:
    """Say lines that have not been said, and forget them."""
    for line in lines:
        say(line)
    lines.clear()


def say_notes(stream: TextStream) -> None:
    """Say what a user may not expect in a text, once it is read."""
    say_lines([f"note: {note}" for note in stream.notes])


def score_whole(
    model: Model, text: Text, part: Split, split: str, threads: int, *, learn: bool,
    surprisal: bool, compare: bool, counted: Text | None, as_json: bool,
) -> None:
    """Score a part of a text that is in memory; show it, or its score beside baselines."""
    from charrnn.cli.bar import scoring_bar
    from charrnn.cli.format import baseline_table, score_line
    from charrnn.inference.scoring import check_finite, total
    from charrnn.text.display import printable_name

    blocks: Iterable[Scored]
    if learn:
        blocks = scoring_bar(model.evaluate_dynamically(part), len(part))
    elif split == "all":  # as a stream: how the text is shown makes no difference
        blocks = model.score_text(text, threads)
    else:
        blocks = model.score_blocks(part, threads)
    blocks = check_finite(blocks, text.name)
    if surprisal:
        show_surprisal(model, part.ids, blocks)
        return
    score = total(blocks)
    if not compare:
        write(score_line(score, text, split, model.path, learn, as_json))
        return
    rows = model.baselines(training_symbols(model, text, counted), part)
    if as_json:
        write(score_line(score, text, split, model.path, learn, True, dict(rows)))
        return
    write(score_line(score, text, split, model.path, learn, False))
    for line in baseline_table(rows, printable_name(model.path.stem), score.nats_per_char):
        write(f"{line}\n".encode())


def score_stream(
    model: Model, stream: TextStream, said: list[str], threads: int, as_json: bool
) -> None:
    """Score whole texts as they are read, which may be longer than memory or without end."""
    from charrnn.cli.bar import running_score
    from charrnn.cli.format import score_line
    from charrnn.inference.scoring import NO_SCORE, SEGMENT, SEGMENTS_AT_ONCE, check_finite
    from charrnn.system.signals import listening

    score = NO_SCORE
    with listening(), running_score() as show:
        try:
            for block in check_finite(model.score_stream(stream, threads), stream.name):
                say_lines(said)
                score += block.score
                show(score)
        except SystemExit:  # INT, TERM or HUP
            try:
                say_notes(stream)
                if score.chars:
                    say("interrupted: this is the score of what was read so far")
                    write(score_line(score, stream, "all", model.path, False, as_json))
                else:
                    say(f"interrupted before there was a score: there is one for every "
                        f"{SEGMENTS_AT_ONCE * SEGMENT:,} characters")
            except (ReaderGone, CharrnnError):  # gone with the terminal
                silence_stdout()
            raise
    if score.chars == 0:
        raise CorpusError(f"{stream.name}: there is nothing to score")
    if model.trained_on(stream):
        say(TRAINED_ON)
    say_notes(stream)
    write(score_line(score, stream, "all", model.path, False, as_json))


def score_each_line(
    model: Model, stream: TextStream, said: list[str], as_json: bool
) -> None:
    """A row for each line; a line is scored from the zero state, whatever was before it."""
    from charrnn.cli.format import line_row
    from charrnn.text.display import quoted

    lines = stream.lines()
    while batch := list(islice(lines, LINES)):
        say_lines(said)
        scores = model.score_lines([ids for _, ids, _ in batch])
        for (line, _, missing), score in zip(batch, scores, strict=True):
            if not isfinite(score.nats):
                shown = quoted(line) if isinstance(line, str) else repr(line)
                raise overflowed(f"in the line {shown:.60}")
            write_text(line_row(line, score, missing, as_json))
    say_notes(stream)


def show_surprisal(model: Model, ids: ndarray, blocks: Iterable[Scored]) -> None:
    """The text in colours on a terminal that has them, else a table."""
    from charrnn.cli import format

    if stdout_is_terminal() and format.coloured():
        write(f"{format.legend()}\n\n".encode())
        for shown in format.coloured_blocks(ids, blocks, model.vocabulary):
            write(shown.encode())
        write(b"\n")
        return
    at = 0
    for nats, right in blocks:
        symbols = ids[at : at + len(nats)]
        at += len(nats)
        write(format.surprisal_rows(symbols, nats, right, model.vocabulary).encode())


def training_symbols(model: Model, text: Text, named: Text | None) -> ndarray:
    """What the baselines count: of the text that the model was trained on, its training part."""
    from charrnn.analysis.ngram import MAX_COUNTED

    text = text if named is None else named
    if named is not None and not model.trained_on(text):
        say(f"note: {text.name} is not the text that the model was trained on")
        counted = text.ids
    else:
        counted = model.part(text, "train").ids
    if len(counted) == 0:
        raise CorpusError("there is no training text to count: name it with --train-text")
    if len(counted) > MAX_COUNTED:
        say(f"note: of the {len(counted):,} characters to learn from, the baselines count the "
            f"last {MAX_COUNTED:,}")
    return counted
