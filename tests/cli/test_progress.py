"""Progress on standard error: the live bar, and lines where there is no terminal."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

import pytest
from commands import COMMAND, ENVIRONMENT, TEXT, TINY

from charrnn.cli import progress
from charrnn.inference.scoring import Score


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


def test_the_score_so_far_is_shown_every_few_seconds(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.running_score() as show:
        for chars in range(1000, 13_000, 1000):
            now[0] += 1
            show(Score(chars, chars * 1.5, 0))
    said = capsys.readouterr().err.splitlines()
    assert said == [f"so far 1.5000 nats/char, 2.1640 bits/char, {n:,} characters"
                    for n in (5000, 10_000)]


def test_on_a_terminal_the_score_so_far_is_one_line_that_changes(monkeypatch, capsys):
    monkeypatch.setattr(progress, "stderr_is_terminal", lambda: True)
    monkeypatch.setattr(progress, "live_bar", lambda unit, total: Bar())
    now, shown = [100.0], []

    class Bar:
        n = 0

        def set_postfix_str(self, text, refresh):
            shown.append(text)

        def update(self, count):
            self.n += count

        def close(self):
            shown.append(self.n)

    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.running_score() as show:
        for chars in (1000, 2000, 3000, 4000):
            now[0] += 5.1 if chars == 2000 else 0.3
            show(Score(chars, chars * 1.5, 0))
    assert shown == ["1.5000 nats/char, 2.1640 bits/char"] * 3 + [4000]
    assert capsys.readouterr().err == ""
