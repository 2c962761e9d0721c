"""The texts that ship, those that are created, and their make targets."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("make_corpora", ROOT / "corpora/make.py")
make_corpora = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_corpora)


def test_the_play_is_long_plain_and_repeats_nothing():
    text = (ROOT / "corpora/tide_clock.txt").read_text(encoding="ascii")
    assert len(text) >= 60_000
    assert text.endswith("\n") and "\r" not in text and "\t" not in text
    assert max(map(len, text.splitlines())) <= 80
    passages = {text[i : i + 60] for i in range(len(text) - 60)}
    assert len(passages) == len(text) - 60


def test_hello_is_the_example():
    assert (ROOT / "corpora/hello.txt").read_text() == "hello\n" * 8


def made(name, path, *args):
    return subprocess.run([sys.executable, ROOT / "corpora/make.py", name, path, *args],
                          capture_output=True, text=True, timeout=60)


def test_the_python_text_is_two_megabytes_of_utf8(tmp_path):
    assert made("python", tmp_path / "a.txt").returncode == 0
    data = (tmp_path / "a.txt").read_bytes()
    assert 1_999_990 <= len(data) <= 2_000_000
    assert "import" in data.decode("utf-8")
    assert made("python", tmp_path / "b.txt").returncode == 0
    assert (tmp_path / "b.txt").read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


# The plain grammar as the textbook draws it: from, letter, to.
EDGES = {
    ("start", "B"): "1", ("1", "T"): "2", ("1", "P"): "3", ("2", "S"): "2", ("2", "X"): "4",
    ("3", "T"): "3", ("3", "V"): "5", ("4", "X"): "3", ("4", "S"): "6", ("5", "P"): "4",
    ("5", "V"): "6", ("6", "E"): "end",
}


def bits(string):
    """-log2 of a string's probability under the grammar; KeyError if it has none."""
    state, total = "start", 0.0
    for letter in string:
        total += math.log2(sum(1 for origin, _ in EDGES if origin == state))
        state = EDGES[state, letter]
    assert state == "end"
    return total


@pytest.mark.parametrize("embedded", [False, True])
def test_grammar_strings_are_valid_and_as_uncertain_as_computed(tmp_path, embedded):
    name, per_char = ("embedded_reber", 7 / 13) if embedded else ("reber", 2 / 3)
    run = made(name, tmp_path / "a.txt")
    assert run.returncode == 0
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert len(lines) == 20_000
    total = 0.0
    for line in lines:
        if embedded:
            assert line[0] == "B" and line[1] == line[-2] in "TP" and line[-1] == "E"
            total += 1 + bits(line[2:-2])
        else:
            total += bits(line)
    # 20,000 strings put the mean within a hundredth of the known entropy.
    own = total / sum(len(line) + 1 for line in lines)
    assert own == pytest.approx(per_char, abs=0.01)
    assert f"{own:.5f} bits/char by the grammar itself" in run.stderr


def test_recall_strings_repeat_their_cue_and_are_as_uncertain_as_computed(tmp_path):
    run = made("recall", tmp_path / "a.txt")
    assert run.returncode == 0
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert len(lines) == 20_000
    for line in lines:
        assert re.fullmatch(r"([A-P])([a-h]{20}|[a-h]{50}|[a-h]{100}):\1", line)
    for counts in (Counter(len(line) - 3 for line in lines), Counter(line[0] for line in lines),
                   Counter("".join(line[1:-2] for line in lines))):
        mean = sum(counts.values()) / len(counts)
        assert all(count == pytest.approx(mean, rel=0.1) for count in counts.values())
    # Per string: log2 16 for the cue, log2 3 for the length, 3 bits for each of 170/3 letters.
    mean_length = 170 / 3
    entropy = (4 + math.log2(3) + 3 * mean_length) / (mean_length + 4)
    (shown,) = re.findall(r"(\d\.\d{5}) bits/char", run.stderr)
    assert float(shown) == pytest.approx(entropy, abs=0.002)


def test_grammar_strings_depend_on_count_and_seed_alone(tmp_path):
    made("reber", tmp_path / "a.txt", "--count", "100", "--seed", "5")
    made("reber", tmp_path / "b.txt", "--count", "200", "--seed", "5")
    made("reber", tmp_path / "c.txt", "--count", "100", "--seed", "6")
    a, b, c = ((tmp_path / f"{name}.txt").read_text() for name in "abc")
    assert b.startswith(a) and a != c


def test_transitions_are_equally_probable():
    rng = random.Random(0)
    firsts = [make_corpora.reber_string(rng)[1] for _ in range(4000)]
    assert firsts.count("T") == pytest.approx(2000, abs=150)


def test_a_text_that_cannot_be_fetched_or_differs_is_refused(tmp_path):
    missing = made("shakespeare", tmp_path / "s.txt", f"file://{tmp_path}/nothing")
    assert missing.returncode != 0 and "cannot be fetched" in missing.stderr
    (tmp_path / "other.txt").write_text("To be")
    other = made("shakespeare", tmp_path / "s.txt", f"file://{tmp_path}/other.txt")
    assert other.returncode != 0 and "not the expected text" in other.stderr
    assert "Traceback" not in missing.stderr + other.stderr
    assert not (tmp_path / "s.txt").exists()


def make(folder, *args):
    """Run make without the variables of a make that started the tests."""
    own = re.findall(r"^(?:export )?(\w+) *[?:]?=", (folder / "Makefile").read_text(), re.MULTILINE)
    assert {"VENV", "PYTHON", "ARGS", "PRIME"} <= set(own)
    environment = {name: value for name, value in os.environ.items()
                   if name not in own and not name.startswith(("MAKE", "MFLAGS", "PIP_"))}
    return subprocess.run(["make", *args], cwd=folder, capture_output=True, text=True,
                          timeout=120, env=environment | {"OPENBLAS_NUM_THREADS": "1"})


def made_texts(_folder, names):
    """The texts that do not ship, which may exist in a working copy, are not copied."""
    return [name for name in names
            if name.endswith(".txt") and name not in ("hello.txt", "tide_clock.txt")]


@pytest.fixture
def workplace(tmp_path):
    """A copy of the files that make targets use, with the virtual environment of the tests."""
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("configs", "corpora"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=made_texts)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    runner = tmp_path / ".venv/bin/charrnn"
    runner.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m charrnn "$@"\n')
    runner.chmod(0o755)
    (tmp_path / ".venv/installed").touch()
    return tmp_path


def test_shakespeare_is_written_if_its_digest_is_right(workplace, monkeypatch):
    text = "A text instead of Shakespeare.\n"
    (workplace / "text").write_text(text)
    script = workplace / "corpora/make.py"
    digest = hashlib.sha256(text.encode()).hexdigest()
    script.write_text(script.read_text().replace(make_corpora.SHAKESPEARE_SHA256, digest))
    result = make(workplace, "corpora/shakespeare.txt", f"SHAKESPEARE_URL=file://{workplace}/text")
    assert result.returncode == 0, result.stderr
    assert (workplace / "corpora/shakespeare.txt").read_text() == text


def test_make_help_lists_every_target(workplace):
    listed = make(workplace, "help").stdout
    for target in ("demo", "test", "lint", "types", "check", "dist", "clean", "train", "sample",
                   "eval", "checkpoints/%.npz", "corpora/reber.txt"):
        assert f"  {target} " in listed
    assert make(workplace).stdout == listed


def test_the_pattern_rule_trains_a_corpus_once(workplace):
    result = make(workplace, "checkpoints/hello.npz")
    assert result.returncode == 0, result.stderr
    assert "configs/hello.yaml" in result.stdout
    assert (workplace / "checkpoints/hello.npz").exists()
    assert "already trained" in make(workplace, "checkpoints/hello.npz").stderr


def test_make_train_eval_and_sample_work_together(workplace):
    args = ("CORPUS=corpora/tide_clock.txt", "CONFIG=configs/tiny.yaml")
    trained = make(workplace, "train", *args, "ARGS=--steps 20")
    assert trained.returncode == 0, trained.stderr
    scored = make(workplace, "eval", "TEXT=corpora/hello.txt", "ARGS=--json")
    assert scored.returncode == 0 and '"chars": 48' in scored.stdout, scored.stderr
    sampled = make(workplace, "sample", "PRIME=Enter the", "ARGS=--length 5")
    assert sampled.stdout.startswith("Enter the")
    quoted = make(workplace, "sample", "PRIME=don't", "ARGS=--length 0")
    assert quoted.stdout == "don't"


def test_hello_learns_to_spell(workplace):
    make(workplace, "checkpoints/hello.npz")
    result = make(workplace, "sample", "CHECKPOINT=checkpoints/hello.npz", "PRIME=h",
                  "ARGS=--temperature 0 --length 11")
    assert result.stdout == "hello\nhello\n"


