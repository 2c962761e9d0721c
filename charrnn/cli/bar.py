"""The progress of an evaluation: a live bar on a terminal, otherwise a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from charrnn.cli.console import say
from charrnn.cli.format import bits_text, in_bits
from charrnn.inference.scoring import Score, Scored
from charrnn.system.terminal import stderr_is_terminal
from charrnn.text.display import count as counted
from charrnn.text.display import symbol

if TYPE_CHECKING:
    from charrnn.api.live_bar import LiveBar

PLAIN_SECONDS = 5.0  # between lines where there is no terminal


def live_bar(unit: str, total: int | None, initial: int = 0) -> LiveBar:
    """A bar on standard error, which is a terminal."""
    from charrnn.api.live_bar import LiveBar  # and with it tqdm, only on a terminal

    return LiveBar(unit, total, initial)


def scoring_bar(blocks: Iterable[Scored], total: int) -> Iterator[Scored]:
    """Pass on blocks of scored symbols; on a terminal, show a bar meanwhile."""
    if not stderr_is_terminal():
        yield from blocks
        return
    with live_bar("character", total) as bar:
        for block in blocks:
            yield block
            bar.update(len(block.nats))


@contextmanager
def running_score(level: str = "char") -> Iterator[Callable[[Score], None]]:
    """A function that shows the score so far of a text of unknown length: as a bar that only
    counts, or as a line now and then."""
    bar: LiveBar | None = None
    last = time.monotonic()

    def show(score: Score) -> None:
        nonlocal bar, last
        if time.monotonic() - last < (0.2 if bar is not None else PLAIN_SECONDS):
            return
        last = time.monotonic()
        if not stderr_is_terminal():
            say(f"so far {in_bits(score.nats_per_char, level)}, "
                f"{counted(score.chars, symbol(level))}")
            return
        if bar is None:
            bar = live_bar(symbol(level), None)
        bar.details = [bits_text(score.nats_per_char, level)]
        bar.update(score.chars - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
