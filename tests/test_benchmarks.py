"""The benchmarks run; their results are not checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SMALL = {"threads": 2, "L": 1, "H": 8, "B": 1, "T": 5, "V": 70}


@pytest.fixture
def measure(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import measure

    return measure


@pytest.mark.parametrize(("contender", "task", "numbers"), [
    ("charrnn", "train", SMALL | {"chars": 500}),
    ("charrnn", "train", {"threads": 2, "L": 2, "H": 8, "B": 16, "T": 5, "V": 300, "chars": 2000,
                          "dropout": 0.1, "weight_decay": 0.1}),
    ("charrnn", "evaluate", {"threads": 2, "L": 1, "H": 8, "V": 65, "chars": 3000}),
    ("charrnn", "sample", {"threads": 2, "L": 1, "H": 8, "V": 65, "streams": 40, "length": 5}),
    ("charrnn", "products", {"threads": 2, "L": 1, "H": 8, "V": 65, "cell": "gru"}),
    ("charrnn", "read", {"path": __file__}),
    ("loop", "train", SMALL),
    ("blas", "product", {"threads": 2, "rows": 99, "inner": 99, "columns": 99, "blocks": 2}),
])
def test_every_contender_that_needs_no_other_library_works(measure, contender, task, numbers):
    with measure.Worker(contender) as worker:
        worker.ask(task=task, **numbers)
        answer = worker.ask(seconds=0.001)
    assert answer["chars"] > 0
    assert answer["seconds"] >= 0.001


def test_contenders_take_turns(measure):
    order = []
    results = measure.rounds({name: lambda name=name: order.append(name) or len(order)
                              for name in "ab"}, repeat=3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert results == {"a": [1, 4, 5], "b": [2, 3, 6]}


def test_a_section_prints_its_table_and_an_unknown_one_is_refused():
    program = [sys.executable, str(BENCHMARKS / "bench.py")]
    ran = subprocess.run([*program, "start", "--repeat", "1"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "| `charrnn --help` |" in ran.stdout
    assert "2 threads where a contender has such a setting" in ran.stdout
    ran = subprocess.run([*program, "stat"], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "no section stat" in ran.stderr
