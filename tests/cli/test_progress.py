"""The progress of a run on a terminal: a live bar, and the lines above it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest
from commands import COMMAND, ENVIRONMENT, TEXT, TINY


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of its own")
@pytest.mark.parametrize("columns", [0, 100])
def test_a_terminal_shows_a_live_bar_above_which_the_lines_stay(tmp_path, columns):
    import fcntl
    import pty
    import struct
    import termios

    def seen(*args):
        ours, theirs = pty.openpty()
        size = struct.pack("HHHH", 30 if columns else 0, columns, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        with subprocess.Popen([*COMMAND, "train", "a.txt", *TINY, "--steps", "40", *args],
                              cwd=tmp_path, stderr=theirs, env=ENVIRONMENT) as process:
            os.close(theirs)
            text = b""
            with contextlib.suppress(OSError):  # how Linux ends the reading of a terminal
                while data := os.read(ours, 4096):
                    text += data
            os.close(ours)
        assert process.returncode == 0
        return text.decode()

    (tmp_path / "a.txt").write_text(TEXT)
    assert "% " not in seen("--dry-run")
    shown = seen("--eval-every", "20")
    assert "step 40/40" in shown and "bits/char" in shown and " left" in shown
    assert shown.count("validation") == 3, "two of the run and one of its end"
    assert "\r" in shown
