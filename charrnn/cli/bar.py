"""Progress bars on standard error; off a terminal, a line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from charrnn.cli.console import say, stderr_is_terminal
from charrnn.inference.scoring import Score, Scored

if TYPE_CHECKING:
    from tqdm import tqdm

PLAIN_SECONDS = 5.0  # between lines where there is no terminal
BAR = "{percentage:3.0f}% {bar} {unit} {n_fmt}/{total_fmt}{postfix}, {remaining} left"
COUNTER = "{n_fmt} {unit}s, {rate_fmt}{postfix}"


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
