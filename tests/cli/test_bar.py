"""The score so far: a bar without end on a terminal, elsewhere a line now and then."""

from __future__ import annotations

from charrnn.cli import bar
from charrnn.inference.scoring import Score


def test_the_score_so_far_is_shown_every_few_seconds(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(bar.time, "monotonic", lambda: now[0])
    with bar.running_score() as show:
        for chars in range(1000, 13_000, 1000):
            now[0] += 1
            show(Score(chars, chars * 1.5, 0))
    said = capsys.readouterr().err.splitlines()
    assert said == [f"so far 1.5000 nats/char, 2.1640 bits/char, {n:,} characters"
                    for n in (5000, 10_000)]


def test_on_a_terminal_the_score_so_far_is_one_line_that_changes(monkeypatch, capsys):
    monkeypatch.setattr(bar, "stderr_is_terminal", lambda: True)
    monkeypatch.setattr(bar, "live_bar", lambda unit, total: Bar())
    now, shown = [100.0], []

    class Bar:
        n = 0

        def set_postfix_str(self, text, refresh):
            shown.append(text)

        def update(self, count):
            self.n += count

        def close(self):
            shown.append(self.n)

    monkeypatch.setattr(bar.time, "monotonic", lambda: now[0])
    with bar.running_score() as show:
        for chars in (1000, 2000, 3000, 4000):
            now[0] += 5.1 if chars == 2000 else 0.3
            show(Score(chars, chars * 1.5, 0))
    assert shown == ["1.5000 nats/char, 2.1640 bits/char"] * 3 + [4000]
    assert capsys.readouterr().err == ""
