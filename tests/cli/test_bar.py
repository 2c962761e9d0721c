"""The progress of an evaluation: a live bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import numpy as np

from charrnn.api.live_bar import LiveBar
from charrnn.cli import bar
from charrnn.inference.scoring import Score, Scored


def test_the_score_so_far_is_shown_every_few_seconds(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(bar.time, "monotonic", lambda: now[0])
    with bar.running_score() as show:
        for chars in range(1000, 13_000, 1000):
            now[0] += 1
            show(Score(chars, chars * 1.5, 0))
    assert capsys.readouterr().err.splitlines() == [
        f"so far 2.1640 bits/char (1.5000 nats/char), {n:,} characters" for n in (5000, 10_000)]


def test_on_a_terminal_the_score_so_far_is_one_line_that_changes(monkeypatch, capsys):
    monkeypatch.setattr(bar, "stderr_is_terminal", lambda: True)
    now, shown = [100.0], []
    update = LiveBar.update

    def spy(self, count):
        update(self, count)
        assert self.total is None
        shown.append((self.n, list(self.details)))

    monkeypatch.setattr(LiveBar, "update", spy)
    monkeypatch.setattr(bar.time, "monotonic", lambda: now[0])
    with bar.running_score() as show:
        for chars in (1000, 2000, 3000, 3500, 4000):
            now[0] += {2000: 5.1, 3500: 0.1}.get(chars, 0.3)
            show(Score(chars, chars * 1.5, 0))
    assert shown == [(n, ["2.1640 bits/char"]) for n in (2000, 3000, 4000)]
    assert capsys.readouterr().err.rstrip().endswith("4,000 characters, 2.1640 bits/char")


def test_a_long_evaluation_shows_a_bar_only_on_a_terminal(monkeypatch, capsys):
    blocks = [Scored(np.zeros(n), np.zeros(n, bool)) for n in (3, 4)]
    made = []

    def live_bar(unit, total):
        made.append(LiveBar(unit, total))
        return made[0]

    monkeypatch.setattr(bar, "live_bar", live_bar)
    assert list(bar.scoring_bar(blocks, 7)) == blocks
    assert (made, capsys.readouterr().err) == ([], "")
    monkeypatch.setattr(bar, "stderr_is_terminal", lambda: True)
    assert list(bar.scoring_bar(blocks, 7)) == blocks
    assert made[0].n == 7
    assert "100%" in capsys.readouterr().err
