"""Events made visible: lines and a bar on the terminal, JSON lines for programs."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from numpy.typing import NDArray

import charrnn
from charrnn.console import printable, say, stderr_is_terminal
from charrnn.corpus import Pieces, Text
from charrnn.evaluation import Score
from charrnn.events import End, Eval, Event, Sample, Save, Start, Step
from charrnn.preparation import workers
from charrnn.views import sparkline

if TYPE_CHECKING:
    from tqdm import tqdm

Array = NDArray[Any]

SMOOTHING = 0.02  # of the loss and speed that are shown: about the last 50 steps
PLAIN_SECONDS = 5.0  # between lines where there is no terminal
BAR = "{percentage:3.0f}% {bar} {unit} {n_fmt}/{total_fmt}{postfix}, {remaining} left"
COUNTER = "{n_fmt} {unit}s, {rate_fmt}{postfix}"


def bits(nats: float) -> float:
    """Nats as bits."""
    return nats / math.log(2)


def finite(number: float) -> float | None:
    """A number as JSON knows it, which has none that is infinite or not a number."""
    return number if math.isfinite(number) else None


def found(event: Start) -> list[str]:
    """The lines with which a run introduces itself."""
    what = "bytes" if event.level == "byte" else "characters"
    text = (
        f"{event.corpus}: {event.chars:,} {what}, {event.distinct:,} distinct; "
        f"{event.train_chars:,} to learn from, {event.val_chars:,} held out"
        # What fills no lane is hardly worth a word, but of a short text it may be some share.
        + (f" (an epoch leaves out {event.left_over:,} at its ends)"
           if event.left_over > event.train_chars // 100 else "")
    )
    length = f"{event.steps:,} steps" if event.steps else "as many steps as the time allows"
    epochs = event.steps / event.steps_per_epoch
    model = (
        f"model: {event.parameters:,} parameters, about {event.memory_bytes / 1e6:,.0f} MB; "
        f"{length}{f' ({epochs:.3g} epochs)' if event.steps else ''} "
        f"of {event.batch_size} x {event.seq_length} characters, dropout {event.dropout:g}"
    )
    if event.processes > 1:
        model += f"; {workers(event.threads, event.processes)}"
    lines = [text, model]
    if event.settings:
        lines.append("settings: " + ", ".join(
            f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in event.settings.items()
        ))
    lines += [f"note: {note}" for note in event.notes]
    return lines


def validation(event: Eval) -> str:
    """What a validation found."""
    found = "validation overflows: lower --learning-rate"
    if event.nats_per_char is not None:
        found = (f"validation {event.nats_per_char:.4f} nats/char, "
                 f"{bits(event.nats_per_char):.4f} bits/char")
    if event.improved:
        return f"{found}, the best so far"
    if event.best_nats_per_char is None:
        return found
    return f"{found}; the best is {event.best_nats_per_char:.4f} nats/char"


class Terminal:
    """Shows events on standard error: a live bar, or plain lines where there is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: tqdm[NoReturn] | None = None
        self.loss = self.speed = 0.0
        self.count = self.chars = 0
        self.curve: list[float] = []
        self.continued = self.validates = False
        self.last_line = time.monotonic()

    def line(self, text: str) -> None:
        """A line that stays, above the bar where there is one."""
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.clear()
        say(text)
        if self.bar is not None:
            self.bar.refresh()

    def show(self, event: Event) -> None:
        if isinstance(event, Start):
            self.chars = event.batch_size * event.seq_length
            self.continued, self.validates = event.continued, event.val_chars > 0
            for text in found(event):
                self.line(text)
        elif isinstance(event, Step):
            self.step(event)
        elif isinstance(event, Eval):
            self.line(f"step {event.step:,} (epoch {event.epoch:.2f}): {validation(event)}"
                      + self.progress(event))
        elif isinstance(event, Sample):
            self.line("\n".join(f"  | {row}" for row in printable(event.text).split("\n")))
        elif isinstance(event, End):
            self.end(event)
        else:
            assert isinstance(event, Save)

    def progress(self, event: Eval) -> str:
        """The curve of the validations so far, the last change, and the time that is left."""
        if event.nats_per_char is None:
            return ""
        self.curve.append(event.nats_per_char)
        left = (event.steps - event.step) * self.chars / self.speed if self.speed else 0.0
        change = f" {self.curve[-1] - self.curve[-2]:+.4f}" if len(self.curve) > 1 else ""
        time_left = f", {left:,.0f} s left" if left >= 1 else ""
        return f"; {against_ngrams(event)}; {sparkline(self.curve)}{change}{time_left}"

    def dry_run(self, event: Start) -> None:
        """What would come after the first lines."""
        if event.continued:
            done = 0 < event.steps <= event.step
            self.line(f"already trained: {event.step:,} steps are done" if done
                      else f"would go on after step {event.step:,}")

    def step(self, event: Step) -> None:
        if self.count == 0:
            self.first_step(event)
        # A mean that forgets: the first steps count fully, later ones by SMOOTHING.
        self.count += 1
        weight = max(SMOOTHING, 1 / self.count)
        self.loss += weight * (event.nats_per_char - self.loss)
        self.speed += weight * (event.chars_per_second - self.speed)
        text = f"{bits(self.loss):.3f} bits/char, {self.speed:,.0f} chars/s"
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
        elif not self.quiet and time.monotonic() - self.last_line > PLAIN_SECONDS:
            self.last_line = time.monotonic()
            seconds = (event.steps - event.step) * self.chars / self.speed
            self.line(f"step {event.step:,}/{event.steps:,}: {text}, {seconds:,.0f} s left")

    def first_step(self, event: Step) -> None:
        if self.continued:
            self.line(f"continuing after step {event.step - 1:,}")
        if not self.quiet and stderr_is_terminal():
            self.bar = live_bar("step", event.steps, event.step - 1)

    def end(self, event: End) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        reasons = {
            "done": f"done: {event.steps:,} steps",
            "patience": f"stopped early after step {event.step:,}: no new best for a while",
            "stopped": f"stopped after step {event.step:,} of {event.steps:,} and saved; "
                       "the same command goes on from here",
            "already trained": f"already trained: {event.step:,} steps are done, "
                               f"and the budget is {event.steps:,}",
        }
        best = ""
        if event.best_nats_per_char is not None:
            best = (f"; best validation {event.best_nats_per_char:.4f} nats/char, "
                    f"{bits(event.best_nats_per_char):.4f} bits/char, at step {event.best_step:,}")
        elif self.validates and event.reason != "stopped":
            best = "; no validation was finite, so the last weights are kept: lower --learning-rate"
        self.line(reasons[event.reason] + best)
        self.line(f"checkpoint: {event.path}")
        self.line(f"let it write: charrnn sample -m {shlex.quote(event.path)}")


def against_ngrams(event: Eval) -> str:
    """Where a score stands among those of counting."""
    assert event.nats_per_char is not None
    if event.nats_per_char > event.unigram:
        return f"above unigrams ({event.unigram:.3f})"
    if event.nats_per_char > event.trigram:
        return f"between unigrams ({event.unigram:.3f}) and trigrams ({event.trigram:.3f})"
    return f"{event.trigram - event.nats_per_char:.3f} below trigrams"


def live_bar(unit: str, total: int | None, initial: int = 0) -> tqdm[NoReturn]:
    """A bar on standard error, which is a terminal; without a ``total`` it only counts."""
    from tqdm import tqdm

    # Some terminals do not know their size, and tqdm would show nothing on them.
    sized = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    size = {"dynamic_ncols": True} if sized else {"ncols": 80, "nrows": 24}
    form = COUNTER if total is None else BAR
    return tqdm(total=total, initial=initial, unit=unit, bar_format=form, file=sys.stderr, **size)


def progress(blocks: Iterable[tuple[Array, Array]], total: int) -> Iterator[tuple[Array, Array]]:
    """Pass on blocks of scored symbols, with a bar meanwhile where there is a terminal."""
    if not stderr_is_terminal():
        yield from blocks
        return
    with live_bar("character", total) as bar:
        for block in blocks:
            yield block
            bar.update(len(block[0]))


@contextmanager
def running() -> Iterator[Callable[[Score], None]]:
    """A function that shows the score so far: as a bar without end, or as a line now and then."""
    bar: tqdm[NoReturn] | None = None
    last = time.monotonic()

    def show(score: Score) -> None:
        nonlocal bar, last
        text = f"{score.nats_per_char:.4f} nats/char, {score.bits_per_char:.4f} bits/char"
        if time.monotonic() - last < (0.2 if bar else PLAIN_SECONDS):
            return
        last = time.monotonic()
        if not stderr_is_terminal():
            say(f"so far {text}, {score.chars:,} characters")
            return
        if bar is None:
            bar = live_bar("character", None)
        bar.set_postfix_str(text, refresh=False)
        bar.update(score.chars - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def json_lines(write: Callable[[bytes], None]) -> Callable[[Event], None]:
    """A listener that writes each event as one line of JSON."""
    return lambda event: write(json.dumps(event.as_json()).encode() + b"\n")


def score_line(
    score: Score, text: Text | Pieces, split: str, path: Path, dynamic: bool, as_json: bool,
    baselines: dict[str, float] | None = None,
) -> bytes:
    """The result of ``eval``: for people, or with all that is needed to get it again."""
    if not as_json:
        fate = "read as U+FFFD" if text.vocabulary.replaces else "left out"
        unknown = f", {text.unknown:,} unknown {fate}" if text.unknown else ""
        learning = ", learning on the way (dynamic)" if dynamic else ""
        return f"{score}{unknown}{learning}\n".encode()
    result = {
        "text": text.name,
        "split": split,
        "dynamic": dynamic,
        "chars": score.chars,
        "unknown_chars": text.unknown,
        "nats_per_char": finite(score.nats_per_char),
        "bits_per_char": finite(score.bits_per_char),
        "perplexity": finite(score.perplexity),
        "accuracy": score.accuracy,
        "checkpoint": str(path),
        "version": charrnn.__version__,
    }
    if baselines is not None:
        result["baselines"] = baselines
    return json.dumps(result).encode() + b"\n"


def line_score(line: str | bytes, score: Score, unknown: int, as_json: bool) -> bytes:
    """One line of ``eval --per-line``; a line without a character has no rate."""
    if as_json:
        shown = line if isinstance(line, str) else line.decode("utf-8", "replace")
        result = {"text": shown, "chars": score.chars, "unknown_chars": unknown,
                  "nats_per_char": finite(score.nats_per_char),
                  "bits_per_char": finite(score.bits_per_char)}
        return json.dumps(result).encode() + b"\n"
    raw = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line
    numbers = f"{score.bits_per_char:.4f}\t{score.chars}\t{score.nats:.4f}\t"
    return numbers.encode() + raw + b"\n"
