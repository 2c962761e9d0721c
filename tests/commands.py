"""Run charrnn commands in tests as a user does, each in its own process."""

from __future__ import annotations

import os
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
