"""The progress of ``charrnn.train``: a widget in a notebook, otherwise text on standard error."""

from __future__ import annotations

import math
import sys
import warnings
from contextlib import suppress
from typing import Any

from charrnn.api.spelling import as_arguments
from charrnn.system.terminal import stderr_is_terminal, stderr_width
from charrnn.text.display import printable, printable_name
from charrnn.text.wrapping import wrapped
from charrnn.training.events import End, Eval, Event, Sample, Start, Step
from charrnn.training.pace import Pace
from charrnn.training.wording import end_text, sample_text


class TrainingBar:
    """Shows the events of a run: lines above a bar with the losses in bits per character."""

    def __init__(self, name: str) -> None:
        self.name = printable_name(name)
        self.bar: Any = None  # made at the first step: from then on, Ctrl-C is deferred
        self.pace, self.validation = Pace(), ""

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, event: Event) -> None:
        self.pace.update(event)
        if isinstance(event, Start):
            for note in event.notes:
                self.line(f"note: {as_arguments(note)}")
        elif isinstance(event, Step):
            if self.bar is None:
                self.bar = new_bar(self.name, event.steps, event.step - 1)
            self.show_losses(event)
            self.bar.update()
        elif isinstance(event, Eval) and event.nats_per_char is not None:
            self.validation = f"validation {event.nats_per_char / math.log(2):.4f}"
            self.show_losses(event)
        elif isinstance(event, Sample):
            self.line(sample_text(event))
        elif isinstance(event, End) and event.reason in ("patience", "already trained"):
            if self.bar is not None:
                self.bar.total = self.bar.n  # otherwise a notebook widget turns red
                self.bar.refresh()
            self.line(end_text(event))

    def line(self, text: str) -> None:
        """A line that stays, above the bar."""
        if sys.stderr is None:
            return
        if self.bar is not None:
            self.bar.clear()
        text = printable(text)
        with suppress(OSError, ValueError):  # the output is full or closed: no reason to stop
            print(wrapped(text, stderr_width()) if stderr_is_terminal() else text,
                  file=sys.stderr, flush=True)
        if self.bar is not None:
            self.bar.refresh()

    def show_losses(self, event: Event) -> None:
        """The validation score first, if there is one: a narrow bar shows only that."""
        losses = [f"training {self.pace.nats_per_char / math.log(2):.3f}"]
        if self.validation:
            losses.insert(0, self.validation)
        losses[0] += " bits/char"
        if stderr_is_terminal():
            self.bar.details, self.bar.seconds_left = losses, self.pace.seconds_left(event)
        else:
            self.bar.set_postfix_str(", ".join(losses), refresh=False)


def new_bar(name: str, steps: int, done: int) -> Any:
    """A bar that starts at the step that the run has reached."""
    if stderr_is_terminal():
        from charrnn.api.live_bar import LiveBar

        return LiveBar("step", steps, done)
    with warnings.catch_warnings():  # without widgets tqdm warns, and shows text instead
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    if sys.stderr is None:
        return tqdm(disable=True)
    return tqdm(total=steps, initial=done, unit="step", desc=name, dynamic_ncols=True,
                mininterval=0.5)
