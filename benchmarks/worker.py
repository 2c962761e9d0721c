"""The worker process of a benchmark, which does the work of one contender on request.

A worker answers each line of JSON with another. The first line names a task and its arguments;
each later one gives a number of seconds to work. So every contender runs in its own process, with
its own threads, is warm when it is measured, and sleeps while others are measured.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

Work = Callable[[], int]  # does some work and returns how many characters it processed


def serve(tasks: dict[str, Callable[..., Work]]) -> None:
    """Answer requests until standard input ends. A task is a function that returns its work."""
    work: Work | None = None
    # What a library prints must not be mistaken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        if "task" in request:
            work = tasks[request.pop("task")](**request)
            work()
            answer: dict[str, Any] = {}
        else:
            assert work is not None, "the first request must name a task"
            answer = timed(work, request["seconds"])
        print(json.dumps(answer), file=answers, flush=True)


def timed(work: Work, seconds: float) -> dict[str, float]:
    """Work for at least ``seconds``; returns the characters processed, and the seconds taken."""
    chars, start = 0, time.perf_counter()
    while True:
        chars += work()
        took = time.perf_counter() - start
        if took >= seconds:
            return {"chars": chars, "seconds": took}
