"""Progress on standard error: a live bar on a terminal, else a line now and then."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from charrnn.cli.console import say, stderr_is_terminal
from charrnn.cli.format import (
    against_ngrams,
    bits,
    sparkline,
    start_lines,
    validation_text,
)
from charrnn.inference.scoring import Score, Scored
from charrnn.text.display import printable
from charrnn.training.events import End, Eval, Event, Sample, Save, Start, Step

if TYPE_CHECKING:
    from tqdm import tqdm

SMOOTHING = 0.02  # of the loss and speed that are shown: about the last 50 steps
PLAIN_SECONDS = 5.0  # between lines where there is no terminal
BAR = "{percentage:3.0f}% {bar} {unit} {n_fmt}/{total_fmt}{postfix}, {remaining} left"
COUNTER = "{n_fmt} {unit}s, {rate_fmt}{postfix}"


class TrainingDisplay:
    """Shows events on standard error: a live bar, or plain lines where there is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: tqdm[NoReturn] | None = None
        self.loss = self.speed = 0.0
        self.count = self.chars_per_step = 0
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
            self.chars_per_step = event.batch_size * event.seq_length
            self.continued, self.validates = event.continued, event.val_chars > 0
            for text in start_lines(event):
                self.line(text)
        elif isinstance(event, Step):
            self.step(event)
        elif isinstance(event, Eval):
            self.line(f"step {event.step:,} (epoch {event.epoch:.2f}): {validation_text(event)}"
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
        left = (event.steps - event.step) * self.chars_per_step / self.speed if self.speed else 0.0
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
            seconds = (event.steps - event.step) * self.chars_per_step / self.speed
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


def live_bar(unit: str, total: int | None, initial: int = 0) -> tqdm[NoReturn]:
    """A bar on standard error, which is a terminal; without a ``total`` it only counts."""
    from tqdm import tqdm

    # Some terminals do not know their size, and tqdm would show nothing on them.
    sized = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    size = {"dynamic_ncols": True} if sized else {"ncols": 80, "nrows": 24}
    form = COUNTER if total is None else BAR
    return tqdm(total=total, initial=initial, unit=unit, bar_format=form, file=sys.stderr, **size)


def scoring_bar(blocks: Iterable[Scored], total: int) -> Iterator[Scored]:
    """Pass on blocks of scored symbols, with a bar meanwhile where there is a terminal."""
    if not stderr_is_terminal():
        yield from blocks
        return
    with live_bar("character", total) as bar:
        for block in blocks:
            yield block
            bar.update(len(block.nats))


@contextmanager
def running_score() -> Iterator[Callable[[Score], None]]:
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
