"""A bar that always fits on one line: on a narrow terminal, it omits details."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from tqdm import tqdm

from charrnn.system.terminal import stderr_width
from charrnn.text.display import duration
from charrnn.text.wrapping import columns

if TYPE_CHECKING:
    Bar = tqdm[NoReturn]
else:
    Bar = tqdm  # generic only for type checkers

NARROWEST = 10  # columns of the graphic; a smaller one is not drawn


class LiveBar(Bar):
    """A bar on standard error, which is a terminal; without a ``total`` it only counts.

    ``details`` are shown after the position, the most important first. ``seconds_left``
    replaces the estimate from the mean speed.
    """

    def __init__(self, unit: str, total: int | None, initial: int = 0) -> None:
        self.details: Sequence[str] = ()
        self.seconds_left: float | None = None
        # If a size is given, tqdm does not measure the terminal; format_dict does.
        super().__init__(total=total, initial=initial, unit=unit, file=sys.stderr, ncols=80,
                         nrows=24)

    @property
    def format_dict(self) -> Any:
        """The values that tqdm formats at each refresh, with the current width of the terminal."""
        width, about = stderr_width(), dict(super().format_dict)
        return about | {"ncols": width, "bar_format": self._format(width, about)}

    def _format(self, width: int, about: Any) -> str:
        """The fullest form that fits; the graphic is dropped first, percentage and time never."""
        if self.total is None:
            counted = f"{self.n:,} {self.unit}s"
            forms = [[counted, *self.details[:k]] for k in range(len(self.details), -1, -1)]
            return first_to_fit(forms, width)
        share = f"{100 * self.n // self.total:3d}%"
        left = f"{duration(self._left(about))} left"
        position = f"{self.unit} {self.n:,}/{self.total:,}"
        everything = ", ".join([position, *self.details, left])
        if columns(f"{share}  {everything}") + NARROWEST <= width:
            return f"{share} {{bar}} {everything}"
        few = self.details[:1]
        forms = [[f"{share} {position}", *self.details, left],
                 [f"{share} {position}", *few, left],
                 [f"{share} {self.unit} {self.n:,}", *few, left],
                 [share, *few, left],
                 [f"{share} {position}", left],
                 [share, left]]
        return first_to_fit(forms, width)

    def _left(self, about: Any) -> float | None:
        """``seconds_left`` if set, else an estimate from the mean speed; None before step 1."""
        assert self.total is not None
        done = self.n - about["initial"]
        if self.seconds_left is not None or not done:
            return self.seconds_left
        return float((self.total - self.n) * about["elapsed"] / done)

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """A function that overwrites the line with another.

        tqdm's own function pads a shorter line to the length of the previous one, which is too
        long if the terminal has become narrower.
        """
        before = 0

        def show(text: str) -> None:
            nonlocal before
            length = columns(text)
            file.write("\r" + text + " " * (min(before, stderr_width()) - length))
            file.flush()
            before = length

        return show


def first_to_fit(forms: Sequence[Sequence[str]], width: int) -> str:
    """The first form that is at most ``width`` columns wide, else the last one."""
    texts = [", ".join(form) for form in forms]
    return next((text for text in texts if columns(text) <= width), texts[-1])
