"""``charrnn eval``: score a text, as a whole, line by line, or character by character."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from charrnn.cli.checkpoints import averaged_checkpoints_option, choose_checkpoints
from charrnn.cli.console import (
    ReaderGone,
    say,
    silence_stdout,
    stdout_is_terminal,
    write,
    write_text,
)
from charrnn.cli.eval_checks import check_combination, training_note
from charrnn.cli.guesses import Command, check_texts
from charrnn.cli.options import (
    TEXTS,
    Choice,
    choose_decoding,
    encoding_option,
    errors_option,
    notes,
    quiet_option,
    start_numpy,
    unknown_option,
)
from charrnn.errors import CharrnnError, CorpusError, UsageError, overflowed
from charrnn.system.machine import default_threads

if TYPE_CHECKING:  # NumPy is imported inside the command: see cli.main
    from numpy import ndarray

    from charrnn.api.loaded import LoadedModel as Model
    from charrnn.inference.scoring import Scored
    from charrnn.text.corpus import Text
    from charrnn.text.reader import TextStream
    from charrnn.text.split import Split

LINES = 512  # most lines that --per-line scores together


class Output(NamedTuple):
    """How results and notes are shown."""

    as_json: bool
    quiet: bool
    messages: list[str]  # lines to print once the first part of the text has been read

    def note(self, *lines: str) -> None:
        """Print the messages collected so far, then ``lines``."""
        note = notes(self.quiet)
        for line in (*self.messages, *lines):
            note(line)
        self.messages.clear()


@click.command("eval", cls=Command)
@click.argument("text", nargs=-1, required=True, type=TEXTS)
@averaged_checkpoints_option
@click.option("--split", type=Choice(["all", "train", "val"]), default=None,
              help="The part to score; train and val are parts of the text that the model was "
              "trained on.  [default: all]")
@unknown_option
@encoding_option("the text")
@errors_option("the text")
@click.option("--per-line", is_flag=True,
              help="Score each line of each file on its own. Columns separated by tabs: bits/char "
              "(bits/byte at byte level), characters, nats, text.")
@click.option("--dynamic", is_flag=True,
              help="Dynamic evaluation: keep training on the text while scoring it. The "
              "checkpoint is not changed. Slow, and not comparable with ordinary scores.")
@click.option("--surprisal", is_flag=True,
              help="Show the bits of each character: on a terminal as colored text, otherwise in "
              "columns separated by tabs (bits; 1 if it was the most likely character, else 0; the "
              "character).")
@click.option("--baselines", is_flag=True,
              help="Compare with n-gram models of the training text, and with lzma.")
@click.option("--train-text", type=TEXTS, metavar="FILE",
              help="The training text for --baselines; not needed with --split val.")
@click.option("--json", "as_json", is_flag=True,
              help="Print the result as JSON; with --per-line, an object for each line.")
@quiet_option
def evaluate(
    text: tuple[str, ...], checkpoints: tuple[str, ...], split: str | None, unknown: str,
    encoding: str | None, errors: str | None, per_line: bool, dynamic: bool, surprisal: bool,
    baselines: bool, train_text: str | None, as_json: bool, quiet: bool,
) -> None:
    """Score how well a model predicts TEXT: files and folders, read as one text, or - for
    standard input.

    The text is scored as it is read, so it may be endless. With --split, --dynamic, --surprisal
    or --baselines, all of it is read first.
    """
    check_texts((*text, train_text), "charrnn eval -m FILE TEXT")
    paths = choose_checkpoints(checkpoints)
    if (*text, train_text).count("-") > 1:
        raise UsageError("standard input can be read only once")
    check_combination(split, per_line, dynamic, surprisal, baselines, train_text, as_json,
                      len(paths))
    threads = default_threads()
    start_numpy()

    from charrnn.api import loaded as api
    from charrnn.text.display import printable_name, undecodable_note

    model, skip = api.load(*paths), unknown == "skip"
    messages = [f"{printable_name(each.path)}, step {each.checkpoint.progress.best_step:,}"
                for each in model.members]
    output = Output(as_json, quiet, messages)
    chosen = choose_decoding(model, text, encoding, errors, messages)
    if per_line:
        score_each_line(model, model.stream(text, skip, chosen), output)
        return
    if not (split in ("train", "val") or dynamic or surprisal or baselines):
        score_stream(model, model.stream(text, skip, chosen), threads, output)
        return
    # The training text has no unknown characters. With --split train or val, they are skipped: the
    # error for another text is then that it is another text, not that it has unknown characters.
    whole = model.read(text, skip or split in ("train", "val"), chosen)
    part = model.part(whole, split or "all")
    if len(part) == 0:
        raise CorpusError(f"{whole.name}: " + ("there is nothing to score" if split != "val" else (
            "it has no validation part; the model was trained on all of it")))
    if split in (None, "all"):
        messages += training_note(model, whole, len(whole))
    where = " in the whole text" if split in ("train", "val") else ""
    messages += [f"note: {note}" for note in whole.notes]
    messages += [f"note: {note}{where}" for note in
                 undecodable_note(whole.undecodable, chosen.errors)]
    output.note()
    counted = None
    if baselines and train_text is not None:
        chosen = choose_decoding(model, [train_text], encoding, errors, messages, beside=True)
        counted = model.read([train_text], True, chosen)
        messages += [f"note: {note}" for note in counted.notes]
        messages += [f"note: {counted.name}: {note}" for note in
                 undecodable_note(counted.undecodable, chosen.errors)]
        output.note()
    score_whole(model, whole, part, split or "all", threads, output, dynamic=dynamic,
                surprisal=surprisal, compare=baselines, counted=counted)


def paths_of(model: Model) -> list[Path]:
    return [member.path for member in model.members]


def notes_on(stream: TextStream) -> list[str]:
    """The notes on anything unusual in a text, once it has been read."""
    return [f"note: {note}" for note in stream.notes]


def score_whole(
    model: Model, text: Text, part: Split, split: str, threads: int, output: Output, *,
    dynamic: bool, surprisal: bool, compare: bool, counted: Text | None,
) -> None:
    """Score a part of a text that is in memory; show it, or its score together with baselines."""
    from charrnn.cli.bar import scoring_bar
    from charrnn.cli.format import baseline_table, score_line
    from charrnn.inference.scoring import check_finite, total
    from charrnn.text.display import printable_name

    blocks: Iterable[Scored]
    if dynamic:
        blocks = model.evaluate_dynamically(part)
        if not (output.quiet or (surprisal and stdout_is_terminal())):  # the text shows progress
            blocks = scoring_bar(blocks, len(part))
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
        write(score_line(score, text, split, paths_of(model), dynamic, output.as_json))
        return
    rows = model.baselines(training_symbols(model, text, counted, output), part)
    if output.as_json:
        write(score_line(score, text, split, paths_of(model), dynamic, True, dict(rows)))
        return
    write(score_line(score, text, split, paths_of(model), dynamic, False))
    name = f"{len(model.members)} models" if model.others else model.path.stem
    for line in baseline_table(rows, printable_name(name), score.nats_per_char,
                               model.vocabulary.level):
        write(f"{line}\n".encode())


def score_stream(model: Model, stream: TextStream, threads: int, output: Output) -> None:
    """Score a whole text as it is read; it may be larger than memory, or endless."""
    from charrnn.cli.bar import running_score
    from charrnn.cli.format import score_line
    from charrnn.inference.scoring import NO_SCORE, check_finite
    from charrnn.system.signals import listening, until_stopped

    score = NO_SCORE
    with listening() as signals:
        try:
            with running_score(model.vocabulary.level) as show:
                # If a signal arrives while waiting for input, the text so far is still scored.
                blocks = model.score_stream(until_stopped(stream, signals), threads)
                for block in check_finite(blocks, stream.name):
                    output.note()
                    score += block.score
                    if not output.quiet:
                        show(score)
            if signals.stop is not None:
                raise SystemExit(128 + signals.stop)
        except SystemExit:  # INT, TERM or HUP
            try:
                output.note(*notes_on(stream))
                if score.chars:
                    say("interrupted; this is the score so far")
                    write(score_line(score, stream, "all", paths_of(model), False, output.as_json))
                else:
                    say("interrupted before anything was scored")
            except (ReaderGone, CharrnnError):  # gone with the terminal
                silence_stdout()
            raise
    if score.chars == 0:
        raise CorpusError(f"{stream.name}: there is nothing to score")
    output.note(*training_note(model, stream, score.chars), *notes_on(stream))
    write(score_line(score, stream, "all", paths_of(model), False, output.as_json))


def score_each_line(model: Model, stream: TextStream, output: Output) -> None:
    """A row for each line; each line is scored from the zero state.

    The lines of a pipe are scored as they arrive, and also when a signal ends the wait for more.
    """
    from charrnn.cli.format import line_row
    from charrnn.system.signals import listening, until_stopped
    from charrnn.text.display import count, quoted

    rows = 0
    with listening() as signals:
        try:
            for batch in until_stopped(stream.line_batches(LINES), signals):
                output.note()
                signals.deferred = True
                scores = model.score_lines([ids for _, ids, _ in batch])
                signals.deferred = False
                for (line, _, missing), score in zip(batch, scores, strict=True):
                    if not isfinite(score.nats):
                        shown = quoted(line) if isinstance(line, str) else repr(line)
                        raise overflowed(f"in the line {shown:.60}")
                    write_text(line_row(line, score, missing, output.as_json))
                    rows += 1
        except (SystemExit, ReaderGone, CharrnnError):
            if signals.stop is None:
                raise
            silence_stdout()
        if signals.stop is not None:
            say(f"interrupted after {count(rows, 'line')}")
            raise SystemExit(128 + signals.stop)
    output.note(*notes_on(stream))


def show_surprisal(model: Model, ids: ndarray, blocks: Iterable[Scored]) -> None:
    """The text in colors on a terminal that supports them, else a table."""
    from charrnn.cli import format

    if stdout_is_terminal() and format.colored():
        write(f"{format.legend()}\n\n".encode())
        for shown in format.colored_blocks(ids, blocks, model.vocabulary):
            write(shown.encode())
        write(b"\n")
        return
    at = 0
    for nats, right in blocks:
        symbols = ids[at : at + len(nats)]
        at += len(nats)
        write(format.surprisal_rows(symbols, nats, right, model.vocabulary).encode())


def training_symbols(model: Model, text: Text, named: Text | None, output: Output) -> ndarray:
    """What the baselines count: the training part of the training text, or all of another text."""
    from charrnn.analysis.ngram import MAX_COUNTED

    text = text if named is None else named
    if named is not None and not model.trained_on(text):
        output.note(f"note: {text.name} is not the text that the model was trained on")
        counted = text.ids
    else:
        counted = model.part(text, "train").ids
    if len(counted) == 0:
        raise CorpusError("there is no training text for the baselines: name it with --train-text")
    if len(counted) > MAX_COUNTED:
        output.note(f"note: the baselines count only the last {MAX_COUNTED:,} of the "
                    f"{len(counted):,} training characters")
    return counted
