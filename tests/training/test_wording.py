"""What is said of the end of a run and of a sample."""

from __future__ import annotations

import dataclasses

import pytest

from charrnn.training.events import End, Sample
from charrnn.training.wording import end_text, sample_text

LN2 = 0.6931471805599453
END = End(6000, 6000, 12.0, 99.0, "done", 2.1755 * LN2, 5460, "play.npz")


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, "done: 6,000 steps"),
    ({"reason": "stopped", "step": 1234},
     "stopped after step 1,234 of 6,000; run the same command to resume"),
    ({"reason": "patience", "step": 1234},
     "stopped early after step 1,234 of 6,000: patience ran out without a new best"),
    ({"reason": "already trained", "steps": 1, "step": 1}, "already trained: 1 step is done"),
    ({"reason": "already trained"}, "already trained: 6,000 steps are done"),
    ({"reason": "already trained", "step": 7000},
     "already trained: 7,000 steps are done; the budget is 6,000"),
    ({"reason": "already trained", "step": 1234},
     "already trained: patience ran out at step 1,234 of 6,000"),
])
def test_the_end_of_a_run_has_its_reason(changes, expected):
    assert end_text(dataclasses.replace(END, **changes)) == expected


def test_a_sample_is_marked_line_by_line():
    assert sample_text(Sample(1, 2, 0.5, 1.0, "a\nb")) == "  | a\n  | b"
