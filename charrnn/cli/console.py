"""Standard output and standard error: closed, full, piped or a terminal."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from charrnn.errors import CharrnnError
from charrnn.system.terminal import stderr_is_terminal, stderr_width

if TYPE_CHECKING:  # ``--help`` needs this module but not NumPy
    from numpy import ndarray

    from charrnn.text.vocabulary import Vocabulary


class ReaderGone(Exception):
    """The reader of standard output, such as ``head``, has closed it: exit without an error."""


def say(text: str) -> None:
    """Print a message for people on standard error, control characters made visible.

    On a terminal it is wrapped to the width; otherwise it stays on one line, for ``grep``.
    """
    from charrnn.text.display import printable  # --help needs this module but not those
    from charrnn.text.wrapping import wrapped

    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # the output is full or closed: no reason to stop
            shown = printable(text)
            if stderr_is_terminal():
                shown = wrapped(shown, stderr_width())
            print(shown, file=sys.stderr, flush=True)


def write(data: bytes, flush: bool = True) -> None:
    """Write a result to standard output; text is UTF-8 in every locale.

    Raises ReaderGone if its reader has closed it, and CharrnnError if it cannot be written for
    another reason.
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


def fitted(text: str) -> str:
    """Lines of a result for people, wrapped if standard output is a terminal."""
    from charrnn.text.wrapping import wrapped  # --help needs this module but not that one

    if not stdout_is_terminal():
        return text
    size = 0
    with suppress(OSError, ValueError):  # the terminal may not know its size
        size = os.get_terminal_size(sys.stdout.fileno()).columns
    return wrapped(text, (size or 80) - 1)


def write_text(text: str | bytes) -> None:
    """Write a result that contains text from outside: raw in a pipe, escaped on a terminal."""
    from charrnn.text.display import printable

    if stdout_is_terminal():
        text = printable(text if isinstance(text, str) else text.decode("utf-8", "replace"))
    write(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))


def silence_stdout() -> None:
    """Discard what is still buffered, so that the exit does not fail on it again."""
    if sys.stdout is not None:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class TextOutput:
    """Write symbols as UTF-8 text; on a terminal at once, with control characters escaped."""

    def __init__(
        self, write: Callable[[bytes, bool], None], terminal: bool, vocabulary: Vocabulary
    ) -> None:
        from charrnn.text.display import printable  # --help needs this module but not that one

        self._write, self.terminal, self.vocabulary = write, terminal, vocabulary
        self._printable = printable
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")  # for bytes on a terminal
        self.held = ""  # on a terminal, a CR that may turn out to be part of a CRLF
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
        """End a sample with a newline unless it ends with one; an empty sample is an empty line."""
        # An unfinished rest belongs to this sample: a CR, the first bytes of a character.
        rest = self.held + self.decoder.decode(b"", final=True)
        self.held = ""
        if rest:
            self._write(self._printable(rest).encode(), False)
        if not self.ended:
            self._write(b"\n", False)
        self.ended = False

    def flush(self) -> None:
        """Write out everything that is buffered."""
        self._write(b"", True)
