"""The progress of a run: events as log lines and a live bar, or as JSON."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from charrnn.cli.bar import PLAIN_SECONDS, live_bar
from charrnn.cli.console import say
from charrnn.cli.format import bits_text, in_bits, json_line, sparkline
from charrnn.config.settings import shown
from charrnn.system.terminal import stderr_is_terminal
from charrnn.text.display import count as counted
from charrnn.text.display import duration, printable_name, symbol
from charrnn.training.events import End, Eval, Event, Sample, Save, Start, Step
from charrnn.training.pace import Pace
from charrnn.training.processes import workers
from charrnn.training.wording import end_text, sample_text, steps_done

if TYPE_CHECKING:
    from charrnn.api.live_bar import LiveBar


class TrainingDisplay:
    """Shows events on standard error: a live bar, or plain lines where there is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.bar: LiveBar | None = None
        self.pace = Pace()
        self.curve: list[float] = []  # nats per character of the finite validations so far
        self.level, self.validated = "char", False  # whether there was a validation, finite or not
        self.started = self.continued = self.validates = False
        self.last_line = time.monotonic()

    def line(self, text: str) -> None:
        """Print a line that stays, above the bar if there is one."""
        if not self.quiet:
            with self.cleared():
                say(text)

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """No bar during the ``with``, so that something else can be written to its line."""
        if self.bar is not None:
            self.bar.clear()
        yield
        if self.bar is not None:
            self.bar.refresh()

    def show(self, event: Event) -> None:
        """Show the next event of the run."""
        self.pace.update(event)
        if isinstance(event, Start):
            self.continued, self.validates = event.continued, event.val_chars > 0
            self.level = event.level
            self.curve = [nats for nats in event.validations if nats is not None]
            self.validated = self.validates and bool(event.validations)
            for text in start_lines(event):
                self.line(text)
        elif isinstance(event, Step):
            self.step(event)
        elif isinstance(event, Eval):
            self.validation(event)
        elif isinstance(event, Sample):
            self.line(sample_text(event))
        elif isinstance(event, End):
            self.end(event)
        else:
            assert isinstance(event, Save)

    def dry_run(self, event: Start) -> None:
        """What a real run would print after the first lines."""
        if event.continued:
            done = 0 < event.steps <= event.step
            self.line(f"already trained: {steps_done(event.step)}" if done
                      else f"would resume after step {event.step:,}")

    def step(self, event: Step) -> None:
        """Move the bar; without one, print a line every few seconds."""
        if not self.started:
            self.started = True
            self.first_step(event)
        loss = f"training {bits_text(self.pace.nats_per_char, self.level, 3)}"
        speed = f"{self.pace.chars_per_second:,.0f} {self.level}s/s"
        left = self.pace.seconds_left(event)
        if self.bar is not None:
            self.bar.details, self.bar.seconds_left = [loss, speed], left
            self.bar.update()
        elif not self.quiet and time.monotonic() - self.last_line > PLAIN_SECONDS:
            self.last_line = time.monotonic()
            self.line(f"step {event.step:,}/{event.steps:,}: {loss}, {speed}, "
                      f"{duration(left)} left")

    def first_step(self, event: Step) -> None:
        if self.continued:
            self.line(f"resumed after step {event.step - 1:,}")
        if not self.quiet and stderr_is_terminal():
            self.bar = live_bar("step", event.steps, event.step - 1)

    def validation(self, event: Eval) -> None:
        """The result of a validation, and the time left unless the bar shows it."""
        before, self.validated = self.curve[-1] if self.curve else None, True
        if event.nats_per_char is not None:
            self.curve.append(event.nats_per_char)
        curve = f"; validations {sparkline(self.curve)}" if len(self.curve) > 1 else ""
        seconds = self.pace.seconds_left(event)
        left = f"; {duration(seconds)} left" if self.bar is None and seconds else ""
        self.line(f"step {event.step:,}/{event.steps:,} (epoch {event.epoch:,.2f}): "
                  f"{validation_text(event, before, self.level)}{curve}{left}")

    def end(self, event: End) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        self.line(end_text(event) + self.result(event))
        self.line(f"checkpoint: {printable_name(event.path)}")
        self.line(f"generate text: charrnn sample -m {shell_word(event.path)}")


    def result(self, event: End) -> str:
        """The result of a run that ends: its best score, or why it has none."""
        if event.best_nats_per_char is not None:
            return (f"; best validation {in_bits(event.best_nats_per_char, self.level)} "
                    f"at step {event.best_step:,}")
        if self.validated:
            return ("; no validation score was finite, so the last weights are kept: "
                    "lower --learning-rate")
        if self.validates:
            return "; not validated yet"
        # Without a step in this process, the loss is not known.
        return f"; training {in_bits(self.pace.nats_per_char, self.level)}" if self.started else ""


def event_line(event: Event) -> bytes:
    """An event as a line of JSON."""
    return json_line(event.as_json())


def is_selected(event: Event, every: int) -> bool:
    """Whether to print an event: of the steps, only multiples of ``--json-every``; all others."""
    return not isinstance(event, Step) or (every > 0 and event.step % every == 0)


def shell_word(name: str) -> str:
    """A file name quoted for a shell; unprintable characters in octal, as in $'a\\012b'."""
    if printable_name(name) == name:
        return shlex.quote(name)
    word = "".join(
        c if printable_name(c) == c and c not in "\\'"
        else "".join(f"\\{byte:03o}" for byte in os.fsencode(c)) for c in name
    )
    return f"$'{word}'"


def start_lines(event: Start) -> list[str]:
    """The first lines of a run: its text, model, training, settings and notes."""
    noun = symbol(event.level)
    text = (
        f"{event.corpus}: {counted(event.chars, noun)}, {event.distinct:,} distinct; "
        f"{event.train_chars:,} training, {event.val_chars:,} validation"
        # Too few to mention, unless the text is short.
        + (f" (each epoch omits {counted(event.left_over, f'training {noun}')})"
           if event.left_over > event.train_chars // 100 else "")
    )
    model = (f"model: {counted(event.parameters, 'parameter')} ({event.cell}, {event.layers} x "
             f"{counted(event.hidden_size, 'unit')}), "
             f"about {event.memory_bytes / 1e6:,.0f} MB of memory")
    length = "as many steps as the time allows"
    if event.steps:
        passes = event.steps / event.steps_per_epoch
        epochs = f"{passes:.3g}" if passes < 100 else f"{passes:,.0f}"
        length = f"{counted(event.steps, 'step')} ({epochs} epoch{'s' * (epochs != '1')})"
    training = (f"training: {length} of {event.batch_size} x {event.seq_length} {noun}s, "
                f"learning rate {event.learning_rate:g}, dropout {event.dropout:g}, "
                f"weight decay {event.weight_decay:g}")
    if event.val_chars:
        training += "; validation " + (
            "at the end" if 0 < event.steps <= event.eval_every
            else f"every {counted(event.eval_every, 'step')}")
    if event.processes > 1:
        training += f"; {workers(event.threads, event.processes)}"
    lines = [text, model, training]
    if event.settings:
        lines.append("settings: " + ", ".join(
            # A seed is not a quantity: no thousands separators.
            f"{key} {value:,}" if type(value) is int and key != "seed"
            else f"{key} {printable_name(shown(value))}"
            for key, value in event.settings.items()
        ))
    lines += [f"note: {note}" for note in event.notes]
    return lines


def validation_text(event: Eval, before: float | None = None, level: str = "char") -> str:
    """The result of a validation, and its change since the one ``before`` (nats per symbol)."""
    nats, best = event.nats_per_char, event.best_nats_per_char
    found = "validation overflowed (lower --learning-rate)"
    if nats is not None:
        found = f"validation {in_bits(nats, level)}"
    found += f", training {bits_text(event.training_nats_per_char, level)}"
    if event.improved:
        found += ", new best"
    elif best is not None:
        found += f", best {bits_text(best, level)}"
    if nats is None:
        return found
    change = "" if before is None else f"; change {bits_text(nats - before, level, sign='+')}"
    return f"{found}{change}; {against_trigrams(event, nats, level)}"


def against_trigrams(event: Eval, nats: float, level: str) -> str:
    """How a score compares with that of 3-grams of the training text."""
    better = event.trigram - nats
    which = "better" if better >= 0 else "worse"
    return f"{bits_text(abs(better), level, 3)} {which} than 3-grams"
