"""The text for some events, shared by ``charrnn train`` and ``charrnn.train``."""

from __future__ import annotations

from charrnn.text.display import count
from charrnn.training.events import End, Sample


def sample_text(event: Sample) -> str:
    """A sample, with a mark at the beginning of each line."""
    return "\n".join(f"  | {row}" for row in event.text.split("\n"))


def end_text(event: End) -> str:
    """Why the run has ended, and after how many steps."""
    if event.reason == "done":
        return f"done: {count(event.steps, 'step')}"
    of = f"step {event.step:,} of {event.steps:,}"
    if event.reason == "stopped":
        return f"stopped after {of}; run the same command to resume"
    if event.reason == "patience":
        return f"stopped early after {of}: patience ran out without a new best"
    assert event.reason == "already trained"
    if event.step < event.steps:
        return f"already trained: patience ran out at {of}"
    more = f"; the budget is {event.steps:,}" if event.step > event.steps else ""
    return f"already trained: {steps_done(event.step)}{more}"


def steps_done(number: int) -> str:
    """How many steps are done: "1 step is done", "6,000 steps are done"."""
    return f"{count(number, 'step')} {'is' if number == 1 else 'are'} done"
