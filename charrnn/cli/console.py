"""Standard output and standard error, as they really are: closed, full, or read by ``head``."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from charrnn.errors import CharrnnError

if TYPE_CHECKING:  # ``--help`` needs this module, and no NumPy
    from numpy import ndarray

    from charrnn.text.vocabulary import Vocabulary


class ReaderGone(Exception):
    """Who reads standard output, such as ``head``, has enough: a reason to end, no error."""


def say(text: str) -> None:
    """A line for people, on standard error, whatever is in it: see ``text.display``."""
    from charrnn.text.display import printable  # --help needs this module, and not that one

    if sys.stderr is not None:
        print(printable(text), file=sys.stderr, flush=True)


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


def stdout_is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def write_text(text: str | bytes) -> None:
    """A result with text from outside in it: as it is in a pipe, harmless on a terminal."""
    from charrnn.text.display import printable

    if stdout_is_terminal():
        text = printable(text if isinstance(text, str) else text.decode("utf-8", "replace"))
    write(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))


def silence_stdout() -> None:
    """Have what is still buffered go nowhere, so that the exit does not fail on it again."""
    if sys.stdout is not None:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class TextOutput:
    """Writes symbols as text: UTF-8, at once on a terminal, control characters made visible."""

    def __init__(
        self, write: Callable[[bytes, bool], None], terminal: bool, vocabulary: Vocabulary
    ) -> None:
        from charrnn.text.display import printable  # --help needs this module, and not that one

        self._write, self.terminal, self.vocabulary = write, terminal, vocabulary
        self._printable = printable
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")  # for bytes on a terminal
        self.held = ""  # a return on a terminal, until it is known whether a newline follows
        self.ended = False  # whether the last symbol of this sample ended its line

    def write(self, ids: ndarray) -> None:
        if len(ids) == 0:
            return
        text = self.vocabulary.decode(ids)
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        if self.terminal:
            shown = self.held + self.decoder.decode(raw)
            self.held = "\r" if shown.endswith("\r") else ""
            self._write(self._printable(shown.removesuffix("\r")).encode(), True)
        else:
            self._write(raw, False)
        self.ended = raw.endswith(b"\n")

    def end_line(self) -> None:
        """End the line of a sample that did not end it itself; an empty one is a line, too."""
        # What is unfinished belongs to this sample: a return, the first bytes of a character.
        rest = self.held + self.decoder.decode(b"", final=True)
        self.held = ""
        if rest:
            self._write(self._printable(rest).encode(), False)
        if not self.ended:
            self._write(b"\n", False)
        self.ended = False

    def flush(self) -> None:
        """See everything on its way."""
        self._write(b"", True)
