"""Run charrnn commands in tests as a user does, each in its own process."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys

COMMAND = [sys.executable, "-W", "error", "-m", "charrnn"]
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
TEXT = "Über sieben Brücken musst du gehn, sieben dunkle Jahre überstehn.\n" * 60
TINY = ["--hidden-size", "8", "--layers", "1", "--batch-size", "4", "--seq-length", "16"]


def run_charrnn(*args, cwd, stdin=None, env=None):
    """Run a command to its end; returns its output and its exit code."""
    return subprocess.run(
        [*COMMAND, *map(str, args)], cwd=cwd, input=stdin, capture_output=True, timeout=60,
        env=ENVIRONMENT | (env or {}),
    )


def start_charrnn(*args, cwd):
    """Start a command whose three streams are unbuffered pipes."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([*COMMAND, *args], cwd=cwd, env=ENVIRONMENT, bufsize=0, **pipes)


def shell(command, cwd):
    """Run a bash command line, in which ``charrnn`` is the command, to its end."""
    program = f'charrnn() {{ {shlex.join(COMMAND)} "$@"; }}; set -o pipefail; '
    return subprocess.run(["bash", "-c", program + command], cwd=cwd, capture_output=True,
                          timeout=60, env=ENVIRONMENT)


def one_line(result, code):
    """The only line of output of a command that failed with ``code``."""
    assert result.returncode == code, result
    line = result.stderr.decode()
    assert line.count("\n") == 1 and line.startswith("charrnn"), line
    assert result.stdout == b""
    return line


def on_a_terminal(args, cwd, width, later=None, code=0, command=COMMAND,
                  both=False):
    """What a command writes to a terminal of so many columns; ``later``, once the bar is shown.

    A terminal with 0 columns does not know its size. With ``both``, standard output is it, too.
    """
    import fcntl
    import pty
    import struct
    import termios

    def resize(columns):
        size = struct.pack("HHHH", 30 if columns else 0, columns, 0, 0)
        fcntl.ioctl(ours, termios.TIOCSWINSZ, size)

    ours, theirs = pty.openpty()
    resize(width)
    with subprocess.Popen([*command, *args], cwd=cwd, stdout=theirs if both else None,
                          stderr=theirs, env=ENVIRONMENT) as process:
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):  # how Linux ends the reading of a terminal
            while data := os.read(ours, 4096):
                text += data
                if later is not None and b" left" in text:
                    resize(later)
                    later = None
        os.close(ours)
    assert process.returncode == code
    return text.decode()


def rows(text):
    """All that stood in a row of the terminal at some time."""
    return [row for row in re.split(r"[\r\n]", text) if row]
