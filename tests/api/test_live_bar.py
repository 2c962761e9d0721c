"""The live bar: it fits every width, and leaves out the least important first."""

from __future__ import annotations

import contextlib
import io
import itertools
from types import SimpleNamespace

import pytest

from charrnn.api import live_bar
from charrnn.api.live_bar import LiveBar
from charrnn.text.wrapping import columns

DETAILS = ["training 2.031 bits/char", "45,678 chars/s"]


class Terminal(io.StringIO):
    """A terminal on standard error that remembers what is written to it."""

    encoding = "utf-8"
    width = 80


@pytest.fixture
def terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(live_bar, "sys", SimpleNamespace(stderr=terminal))
    monkeypatch.setattr(live_bar, "stderr_width", lambda: terminal.width)
    return terminal


@pytest.fixture
def live(terminal):
    """Make a bar that is closed after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *args: stack.enter_context(LiveBar(*args))


def shown(terminal, bar):
    """The text that the bar shows when it is refreshed."""
    at = len(terminal.getvalue())
    bar.refresh()
    return terminal.getvalue()[at:].removeprefix("\r").rstrip(" ")


FORMS = [
    " 20% step 1,234/6,000, training 2.031 bits/char, 45,678 chars/s, 3 min 20 s left",
    " 20% step 1,234/6,000, training 2.031 bits/char, 3 min 20 s left",
    " 20% step 1,234, training 2.031 bits/char, 3 min 20 s left",
    " 20%, training 2.031 bits/char, 3 min 20 s left",
    " 20% step 1,234/6,000, 3 min 20 s left",
    " 20%, 3 min 20 s left",
]


def test_a_narrow_bar_leaves_out_the_least_important_first(terminal, live):
    bar = live("step", 6000, 1234)
    bar.details, bar.seconds_left = DETAILS, 200.0
    for form, next_form in itertools.pairwise(FORMS):
        terminal.width = len(form)
        assert shown(terminal, bar) == form
        terminal.width -= 1
        assert shown(terminal, bar) == next_form


@pytest.mark.parametrize("width", [92, 93, 120, 300])
def test_a_wide_bar_fills_the_line_with_a_graphic_of_at_least_ten_columns(terminal, live, width):
    terminal.width = width
    bar = live("step", 6000, 3000)
    bar.details, bar.seconds_left = DETAILS, 200.0
    text = shown(terminal, bar)
    assert text.startswith(" 50% █████") and text.endswith(", 45,678 chars/s, 3 min 20 s left")
    assert columns(text) == width


def test_every_line_fits_and_shows_the_percentage_and_the_time(terminal, live):
    bar = live("step", 6000, 1234)
    bar.details, bar.seconds_left = DETAILS, 200.0
    for width in [*range(150, 20, -1), *range(21, 150)]:
        terminal.width = width
        text = shown(terminal, bar)
        assert columns(text) <= width
        assert text.startswith(" 20%") and text.endswith("3 min 20 s left")


def test_after_the_window_has_become_narrower_nothing_is_written_beyond_its_end(terminal, live):
    bar = live("step", 6000, 1234)
    bar.details = DETAILS
    terminal.width = 120
    bar.refresh()
    terminal.width = 40
    at = len(terminal.getvalue())
    bar.refresh()
    bar.clear()
    lines = terminal.getvalue()[at:].split("\r")
    assert max(map(len, lines)) == 40, "what the old line left is overwritten up to the end"


def test_a_shorter_text_leaves_nothing_of_a_longer_one(terminal, live):
    bar = live("step", 60, 12)
    terminal.width = 30
    bar.seconds_left = 10_000.0
    bar.refresh()
    before = terminal.getvalue().rpartition("\r")[2]
    assert before.rstrip() == " 20% step 12, 2 h 46 min left"
    bar.seconds_left = 1.0
    bar.refresh()
    assert terminal.getvalue().rpartition("\r")[2] == " 20% step 12/60, 1 s left".ljust(29)


def test_the_bar_is_at_100_percent_only_at_the_end(terminal, live):
    bar = live("step", 1000, 999)
    assert shown(terminal, bar).startswith(" 99%")
    bar.update()
    assert shown(terminal, bar).startswith("100%")


def test_without_an_estimate_the_time_left_is_that_at_the_mean_speed(terminal, live, monkeypatch):
    bar = live("character", 400, 100)
    assert shown(terminal, bar).endswith(", ? left"), "before the first step"
    bar.update(100)
    monkeypatch.setattr(bar, "_time", lambda: bar.start_t + 30.0)
    assert shown(terminal, bar).endswith(" 1 min 0 s left")


def test_a_bar_without_an_end_counts(terminal, live):
    bar = live("character", None)
    bar.update(123_456)
    bar.details = ["2.1640 bits/char (1.5000 nats/char)"]
    assert shown(terminal, bar) == "123,456 characters, 2.1640 bits/char (1.5000 nats/char)"
    terminal.width = 30
    assert shown(terminal, bar) == "123,456 characters"
