"""The other side of a benchmark: a process that does one contender's work when told to.

A worker reads a line of JSON and answers with one. The first names a task and its numbers;
what follows says how many seconds to work. So every contender has a process of its own,
with its own threads, is warm when it is measured, and sleeps while others are.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

Work = Callable[[], int]  # does a piece of work; returns how many characters that were


def serve(tasks: dict[str, Callable[..., Work]]) -> None:
    """Answer until standard input ends. A task is a function that prepares its work."""
    work: Work | None = None
    # What a library prints is not to be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        if "task" in asked:
            work = tasks[asked.pop("task")](**asked)
            work()
            answer: dict[str, Any] = {}
        else:
            assert work is not None, "there is no task yet"
            answer = timed(work, asked["seconds"])
        print(json.dumps(answer), file=answers, flush=True)


def timed(work: Work, seconds: float) -> dict[str, float]:
    """Work for at least ``seconds``: the characters done, and the time that they took."""
    chars, start = 0, time.perf_counter()
    while True:
        chars += work()
        took = time.perf_counter() - start
        if took >= seconds:
            return {"chars": chars, "seconds": took}
