"""Signals: INT (Ctrl-C), TERM and HUP (no terminal any more) ask a run to stop, USR1 to save."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

HANGUP = getattr(signal, "SIGHUP", -1)  # Windows has none


class Signals:
    """What the outside asked for while a run goes on.

    ``stop`` is the number of the signal that asked the run to end, or None; ``save`` is set
    by USR1 and cleared by whoever saves. As long as there is nothing to save, ``deferred``
    is false and a stop is an immediate SystemExit.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.stop: int | None = None
        self.save = False

    def pending(self) -> tuple[bool, bool, bool, bool]:
        """What was asked for, as numbers that processes can add up."""
        return (self.stop == signal.SIGINT, self.stop == signal.SIGTERM, self.stop == HANGUP,
                self.save)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        # A terminal that closes sends HUP more than once, by way of the kernel and of the shell,
        # and a session that ends sends TERM, too: only a second INT or TERM is impatience.
        if HANGUP not in (number, self.stop) and self.stop is not None:
            os._exit(128 + number)
        if number != HANGUP or self.stop is None:
            self.stop = number
        if not self.deferred:
            raise SystemExit(128 + number)

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True


def from_sums(sums: Sequence[float]) -> tuple[int | None, bool]:
    """From the sums of ``pending`` of all processes: the signal to stop for; whether to save."""
    *stops, saves = sums
    asked = zip((signal.SIGINT, signal.SIGTERM, HANGUP), stops, strict=True)
    return next((number for number, count in asked if count), None), bool(saves)


@contextmanager
def listening() -> Iterator[Signals]:
    """INT, TERM and HUP ask to stop (a second INT or TERM ends at once), USR1 asks to save.

    A signal that is ignored stays ignored: a shell starts background jobs so, and nohup.
    """
    signals = Signals()
    wanted: dict[str, Callable[[int, FrameType | None], None]] = {
        "SIGINT": signals._on_stop,
        "SIGTERM": signals._on_stop,
        "SIGHUP": signals._on_stop,
        "SIGUSR1": signals._on_save,
    }
    before = {}
    for name, handler in wanted.items():
        number = getattr(signal, name, None)  # Windows has no HUP and no USR1
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        yield signals
    finally:
        for number, old in before.items():
            signal.signal(number, old)
