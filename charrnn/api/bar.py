"""The progress bar of ``charrnn.train``: a widget in a notebook, elsewhere on standard error."""

from __future__ import annotations

import math
import sys
import warnings
from typing import Any

from charrnn.api.spelling import as_arguments
from charrnn.text.display import printable_name
from charrnn.training.events import End, Eval, Event, Start, Step

SMOOTHING = 0.02  # the weight of a step in the loss that is shown: about the last 50 steps count


class TrainingBar:
    """Shows the events of a run: notes above a bar with the losses in bits per character."""

    def __init__(self, name: str) -> None:
        self.name = printable_name(name)
        self.bar: Any = None
        self.loss, self.count, self.validation = 0.0, 0, ""

    def __enter__(self) -> TrainingBar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, event: Event) -> None:
        if isinstance(event, Start):
            self.start(event)
        elif isinstance(event, Step):
            # A plain mean of the first steps, then an exponential moving average.
            self.count += 1
            weight = max(SMOOTHING, 1 / self.count)
            self.loss += weight * (event.nats_per_char / math.log(2) - self.loss)
            self.show_losses()
            self.bar.update()
        elif isinstance(event, Eval) and event.nats_per_char is not None:
            self.validation = f", validation {event.nats_per_char / math.log(2):.4f}"
            self.show_losses()
        elif isinstance(event, End) and event.reason == "patience":
            self.line(f"stopped early after step {event.step:,}: no new best")

    def line(self, text: str) -> None:
        """A line that stays, above the bar."""
        if sys.stderr is not None:
            self.bar.write(printable_name(text), file=sys.stderr)

    def show_losses(self) -> None:
        self.bar.set_postfix_str(f"training {self.loss:.3f}{self.validation} bits/char",
                                 refresh=False)

    def start(self, event: Start) -> None:
        """Show the notes, and the bar at the current step."""
        with warnings.catch_warnings():  # tqdm warns if a notebook has no widgets
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm
        if sys.stderr is None:
            self.bar = tqdm(disable=True)
            return
        self.bar = tqdm(total=event.steps, initial=event.step, unit="step", desc=self.name,
                        dynamic_ncols=True, mininterval=0.5)
        for note in event.notes:
            self.line(f"note: {as_arguments(note)}")
