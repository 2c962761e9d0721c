"""What is written: raw for a program, harmless and wrapped for a person."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from commands import COMMAND, ENVIRONMENT, run_charrnn

from charrnn.cli import console
from charrnn.cli.console import ReaderGone, TextOutput
from charrnn.errors import CharrnnError
from charrnn.system import terminal
from charrnn.text.display import printable
from charrnn.text.vocabulary import Vocabulary
from charrnn.text.wrapping import columns


def written(text, terminal, level="char"):
    """What TextOutput makes of the symbols of a sample, given one by one."""
    if level == "byte":
        vocabulary, ids = Vocabulary.of_bytes(), np.frombuffer(text, np.uint8)
    else:
        codes = np.array([ord(c) for c in text], np.uint32)
        vocabulary = Vocabulary(np.unique(codes), level)
        ids = vocabulary.encode(codes)
    pieces = []
    output = TextOutput(lambda data, flush: pieces.append((data, flush)), terminal, vocabulary)
    for i in range(len(ids)):
        output.write(ids[i : i + 1])
    assert all(flush == terminal for _, flush in pieces)
    return b"".join(data for data, _ in pieces)


def ended(*texts, terminal, level):
    """What TextOutput makes of samples, each with its line ended."""
    pieces = []
    codes = [np.array([*text] if level == "byte" else [*map(ord, text)]) for text in texts]
    vocabulary = (Vocabulary.of_bytes() if level == "byte"
                  else Vocabulary(np.unique(np.concatenate(codes)), level))
    output = TextOutput(lambda data, flush: pieces.append(data), terminal, vocabulary)
    for each in codes:
        for symbol in vocabulary.encode(each):
            output.write(np.array([symbol]))
        output.end_line()
    return b"".join(pieces)


HARMFUL = "a\x1b[2Jb\x07\x00\r\n\t\x85\u202ec\U0001f600é"


def test_control_characters_are_escaped_on_a_terminal():
    shown = written(HARMFUL, terminal=True).decode()
    assert shown == "a\\x1b[2Jb\\x07\\x00\r\n\t\\x85\\u202ec\U0001f600é"
    assert shown == printable(HARMFUL)


@pytest.mark.parametrize("level", ["char", "byte"])
@pytest.mark.parametrize(("text", "shown"), [
    ("a\r\nb\r\r\n", "a\r\nb\\r\r\n"), ("\rab", "\\rab"), ("a\r", "a\\r\n"), ("\r", "\\r\n"),
    ("\r\n", "\r\n"),
])
def test_a_cr_waits_for_the_newline_that_may_follow(text, shown, level):
    data = text.encode() if level == "byte" else text
    assert ended(data, terminal=True, level=level).decode().removesuffix("\n") == (
        shown.removesuffix("\n"))
    assert ended(data, terminal=False, level=level).startswith(text.encode())


def test_an_unfinished_character_at_the_end_of_a_sample_stays_in_that_sample():
    euro = "€".encode()
    shown = ended(b"a" + euro[:2], euro[2:], b"\r", b"\nb", terminal=True, level="byte").decode()
    assert shown == "a\ufffd\n\ufffd\n\\r\n\nb\n"
    piped = ended(b"a" + euro[:2], euro[2:], terminal=False, level="byte")
    assert piped == b"a" + euro[:2] + b"\n" + euro[2:] + b"\n"


def test_a_result_is_raw_in_a_pipe_and_harmless_on_a_terminal(monkeypatch):
    written = []
    monkeypatch.setattr(console, "write", written.append)
    for shown in (False, True):
        monkeypatch.setattr(console, "stdout_is_terminal", lambda shown=shown: shown)
        console.write_text("a\x1b\t\ud800\r\n")
        console.write_text(b"a\x9b\x1b\n")
    assert written == [b"a\x1b\t\xed\xa0\x80\r\n", b"a\x9b\x1b\n",
                       b"a\\x1b\t\\ud800\r\n", "a\ufffd\\x1b\n".encode()]


def test_every_line_on_standard_error_is_escaped(capsys):
    console.say("a\x1b[2J\x9b\u202e\udcff\tb\r\nc\u200c\u3000")
    assert capsys.readouterr().err == "a\\x1b[2J\\x9b\\u202e\\udcff\tb\r\nc\u200c\u3000\n"


@pytest.mark.parametrize(("size", "width"), [(30, 29), (0, 79), (None, 79)])
def test_a_message_is_wrapped_on_a_terminal_and_otherwise_one_line(
    monkeypatch, capsys, size, width
):
    def get_terminal_size(descriptor):
        if size is None:
            raise OSError
        return os.terminal_size((size, 24))

    message = "words " * 15 + "\x1b[2J"
    console.say(message)
    assert capsys.readouterr().err == message.replace("\x1b", "\\x1b") + "\n"
    monkeypatch.setattr(console, "stderr_is_terminal", lambda: True)
    monkeypatch.setattr(terminal, "os", SimpleNamespace(get_terminal_size=get_terminal_size))
    monkeypatch.setattr(type(sys.stderr), "fileno", lambda self: 2, raising=False)
    console.say(message)
    assert terminal.stderr_width() == width
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1 and width - 6 < max(map(len, lines)) <= width
    assert " ".join(" ".join(lines).split()) == message.replace("\x1b", "\\x1b")


def test_a_pipe_gets_every_character_as_it_is():
    assert written(HARMFUL, terminal=False) == HARMFUL.encode()


def test_bytes_are_decoded_on_a_terminal_and_piped_unchanged():
    data = "é\x1b€".encode() + b"\xff."
    assert written(data, terminal=True, level="byte").decode() == "é\\x1b€\ufffd."
    assert written(data, terminal=False, level="byte") == data


@pytest.mark.parametrize(("text", "ended"), [("a", b"a\n"), ("a\n", b"a\n"), ("", b"\n")])
def test_a_line_is_ended_once(text, ended):
    pieces = []
    output = TextOutput(lambda data, flush: pieces.append(data), False,
                        Vocabulary(np.array([10, 97]), "char"))
    output.write(np.array([{"a": 1, "\n": 0}[c] for c in text], np.intp))
    output.end_line()
    assert b"".join(pieces) == ended


class Refusing(io.RawIOBase):
    def __init__(self, error):
        self.error = error

    def writable(self):
        return True

    def write(self, data):
        raise self.error


@pytest.mark.parametrize(("error", "raised", "words"), [
    (BrokenPipeError(32, "Broken pipe"), ReaderGone, None),
    (OSError(28, "No space left on device"), CharrnnError, "standard output: No space left"),
])
def test_a_failing_output_is_distinguished_from_a_reader_that_is_gone(
    monkeypatch, error, raised, words
):
    raw = Refusing(error)
    stream = io.TextIOWrapper(io.BufferedWriter(raw), write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(raised, match=words):
        console.write(b"text")
    raw.write = len  # let go of what is still buffered


def test_a_closed_standard_output_is_an_error_and_a_closed_standard_error_is_not(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(CharrnnError, match="closed"):
        console.write(b"text")
    console.say("nobody reads it")
    assert not console.stdout_is_terminal()
    assert not terminal.stderr_is_terminal()
    console.silence_stdout()


def test_buffered_output_can_be_discarded(monkeypatch, tmp_path):
    with open(tmp_path / "out", "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        file.write("buffered")
        console.silence_stdout()
        file.flush()
    assert os.path.getsize(tmp_path / "out") == 0


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("width", [50, 80])
@pytest.mark.parametrize("args", [["eval", "corpus.txt", "-q"], ["info"]])
def test_a_result_for_people_is_wrapped_on_a_terminal_alone(home, width, args):
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 99, width, 0, 0))
    with subprocess.Popen([*COMMAND, *args], cwd=home, stdout=theirs, env=ENVIRONMENT) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # this is how Linux signals the end of a terminal
            while data := os.read(ours, 4096):
                shown += data
        os.close(ours)
    assert process.returncode == 0
    piped = run_charrnn(*args, cwd=home).stdout.decode()
    text = shown.decode()
    assert text.split() == piped.split()
    too_long = [row for row in text.splitlines() if columns(row) >= width]
    assert all(len(row.split()) == 1 for row in too_long), "a digest is a single word"
    assert max(map(columns, piped.splitlines())) > 80
