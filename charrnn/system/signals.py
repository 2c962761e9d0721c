"""Signals: INT (Ctrl-C), TERM and HUP (the terminal closed) request a stop, USR1 a save."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
HANGUP = getattr(signal, "SIGHUP", -1)  # Windows has none


class Signals:
    """The pending signals of a run.

    ``stop`` is the number of the signal that requested a stop, or None; ``save`` is set by USR1
    and cleared by the code that saves. While there is nothing to save yet, ``deferred`` is
    false, and a stop request raises SystemExit immediately.
    """

    def __init__(self) -> None:
        self.deferred = False
        self.stop: int | None = None
        self.save = False

    def pending(self) -> tuple[bool, bool, bool, bool]:
        """The pending INT, TERM, HUP and USR1, as numbers that can be summed over processes."""
        return (self.stop == signal.SIGINT, self.stop == signal.SIGTERM, self.stop == HANGUP,
                self.save)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        # When a terminal closes, both the kernel and the shell send HUP, and a session that ends
        # also sends TERM. So only a second INT or TERM, without any HUP, means: exit immediately.
        if HANGUP not in (number, self.stop) and self.stop is not None:
            os._exit(128 + number)
        if number != HANGUP or self.stop is None:
            self.stop = number
        if not self.deferred:
            raise SystemExit(128 + number)

    def _on_save(self, number: int, frame: FrameType | None) -> None:
        self.save = True


def from_sums(sums: Sequence[float]) -> tuple[int | None, bool]:
    """From the sums of ``pending`` over all processes: the stop signal or None; whether to save."""
    *stops, saves = sums
    requests = zip((signal.SIGINT, signal.SIGTERM, HANGUP), stops, strict=True)
    return next((number for number, count in requests if count), None), bool(saves)


def until_stopped(items: Iterable[T], signals: Signals) -> Iterator[T]:
    """Yield ``items`` until they end or a signal requests a stop.

    A signal ends the wait for the next item immediately and without an exception. ``deferred``
    is false while waiting and true after the stop, when the consumer finishes its work.
    """
    iterator = iter(items)
    while True:
        deferred, signals.deferred = signals.deferred, False
        try:
            if signals.stop is not None:
                return
            item = next(iterator)
        except StopIteration:
            return
        except SystemExit:
            if signals.stop is None:
                raise
            return
        finally:
            signals.deferred = deferred or signals.stop is not None
        yield item


@contextmanager
def listening() -> Iterator[Signals]:
    """Handle signals during the ``with``: INT, TERM and HUP request a stop, USR1 a save.

    A second INT or TERM exits immediately. A signal that is ignored stays ignored: shells start
    background jobs with INT ignored, and nohup ignores HUP.
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
