"""The progress of a run: events as log lines and a live bar, or as JSON."""

from __future__ import annotations

import os
import shlex
import time
from typing import TYPE_CHECKING, NoReturn

from charrnn.cli.bar import PLAIN_SECONDS, live_bar
from charrnn.cli.console import say, stderr_is_terminal
from charrnn.cli.format import bits, json_line, sparkline
from charrnn.text.display import printable_name
from charrnn.training.events import End, Eval, Event, Sample, Save, Start, Step
from charrnn.training.processes import workers

if TYPE_CHECKING:
    from tqdm import tqdm

SMOOTHING = 0.02  # of the loss and speed that are shown: about the last 50 steps


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
            self.line("\n".join(f"  | {row}" for row in event.text.split("\n")))
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
        self.line(f"checkpoint: {printable_name(event.path)}")
        self.line(f"let it write: charrnn sample -m {shell_word(event.path)}")


def event_line(event: Event) -> bytes:
    """An event as a line of JSON."""
    return json_line(event.as_json())


def shell_word(name: str) -> str:
    """A file's name for a shell; one that cannot be shown as it is, in octal: $'a\\012b'."""
    if printable_name(name) == name:
        return shlex.quote(name)
    word = "".join(
        c if printable_name(c) == c and c not in "\\'"
        else "".join(f"\\{byte:03o}" for byte in os.fsencode(c)) for c in name
    )
    return f"$'{word}'"


def start_lines(event: Start) -> list[str]:
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
            f"{key} {value:g}" if isinstance(value, float)
            else f"{key} {printable_name(str(value))}"
            for key, value in event.settings.items()
        ))
    lines += [f"note: {note}" for note in event.notes]
    return lines


def validation_text(event: Eval) -> str:
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


def against_ngrams(event: Eval) -> str:
    """Where a score stands among those of counting."""
    assert event.nats_per_char is not None
    if event.nats_per_char > event.unigram:
        return f"above unigrams ({event.unigram:.3f})"
    if event.nats_per_char > event.trigram:
        return f"between unigrams ({event.unigram:.3f}) and trigrams ({event.trigram:.3f})"
    return f"{event.trigram - event.nats_per_char:.3f} below trigrams"
