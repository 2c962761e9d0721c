"""Standard output and standard error, as they really are: closed, full, or read by ``head``."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from charrnn.errors import CharrnnError


class ReaderGone(Exception):
    """Who reads standard output, such as ``head``, has enough: a reason to end, no error."""


def say(text: str) -> None:
    """A line for people, on standard error."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def stderr_is_terminal() -> bool:
    """Whether a live bar can be shown."""
    return sys.stderr is not None and sys.stderr.isatty()


def write(data: bytes, flush: bool = True) -> None:
    """A result, on standard output: text is UTF-8 whatever the locale says.

    Raises ReaderGone where nobody reads any more, and CharrnnError where it cannot be
    written for another reason.
    """
    if sys.stdout is None:
        raise CharrnnError("standard output is closed")
    try:
        sys.stdout.buffer.write(data)
        if flush:
            sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as error:
        raise CharrnnError(f"standard output: {error.strerror}") from None


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def silence_stdout() -> None:
    """Have what is still buffered go nowhere, so that the exit does not fail on it again."""
    if sys.stdout is not None:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
