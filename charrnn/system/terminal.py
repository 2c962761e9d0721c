"""Whether standard error is a terminal, and how wide it is."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def stderr_is_terminal() -> bool:
    """Whether a live bar can be shown."""
    return sys.stderr is not None and sys.stderr.isatty()


def stderr_width() -> int:
    """The columns that a line may fill now, if standard error is a terminal.

    One fewer than the terminal has: some wrap as soon as the last column is filled.
    """
    size = 0
    with suppress(OSError, ValueError):
        size = os.get_terminal_size(sys.stderr.fileno()).columns
    return (size or 80) - 1  # some terminals do not know their size
