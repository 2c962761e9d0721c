"""``charrnn report``: one HTML page, on any run, that replaces nothing but pages."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from commands import ENVIRONMENT, TEXT, TINY, one_line, run_charrnn

from charrnn.storage import checkpoint


def test_a_report_is_one_file_and_replaces_nothing_it_is_made_from(home):
    result = run_charrnn("report", "corpus.txt", "-o", "page.html", cwd=home)
    assert result.returncode == 0 and result.stdout == b""
    assert b"page.html: " in result.stderr
    html = (home / "page.html").read_text(encoding="utf-8")
    assert "The held-out part of corpus.txt" in html and "7-gram" in html
    result = run_charrnn("report", "-o", "own.html", cwd=home)
    assert result.returncode == 0
    assert "the model wrote itself" in (home / "own.html").read_text(encoding="utf-8")
    for args in (["corpus.txt", "-o", "corpus.txt"], ["-o", "checkpoints/corpus.npz"], ["-o", "."]):
        before = (home / "corpus.txt").read_bytes()
        one_line(run_charrnn("report", *args, cwd=home), 2)
        assert (home / "corpus.txt").read_bytes() == before
    (home / "notes.txt").write_text("not to be lost")
    assert "is no page" in one_line(run_charrnn("report", "-o", "notes.txt", cwd=home), 2)
    assert (home / "notes.txt").read_text() == "not to be lost"
    again = run_charrnn("report", "-o", "own.html", cwd=home)
    assert again.returncode == 0, "a page may be replaced by another"
    (home / "nothing.txt").write_text("")
    assert "nothing to look at" in one_line(run_charrnn("report", "nothing.txt", cwd=home), 1)
    assert "cannot be written" in one_line(
        run_charrnn("report", "-o", "no/such/folder.html", cwd=home), 1)


# A command in a process of its own, which is small: Linux counts a parent's memory as its child's.
PEAK = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "charrnn", *sys.argv[1:]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="units differ")
@pytest.mark.parametrize(("V", "kilobytes"), [(20_000, 400_000), (100_000, 700_000)])
def test_a_report_of_a_large_vocabulary_takes_little_memory_and_time(tmp_path, V, kilobytes):
    ids = np.concatenate([np.arange(V), np.random.default_rng(1).integers(0, V, V)])
    (tmp_path / "a.txt").write_text("".join(map(chr, 0x10000 + ids)), "utf-8")
    trained = run_charrnn("train", "a.txt", "-o", "a.npz", *TINY, "--hidden-size", "32", "--steps",
                          "2", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    for text in ([], ["a.txt"]):
        ran = subprocess.run([sys.executable, "-c", PEAK, "report", *text, "-m", "a.npz"],
                             cwd=tmp_path, capture_output=True, check=True, env=ENVIRONMENT,
                             timeout=60)
        assert int(ran.stdout) < kilobytes
        assert (tmp_path / "report.html").stat().st_size < 3e6


def test_a_report_on_a_run_with_nothing_held_out_shows_what_was_learned_from(home, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    trained = run_charrnn("train", "a.txt", *TINY, "--steps", "3", "--val-fraction", "0",
                          "-o", "a.npz", cwd=tmp_path)
    assert trained.returncode == 0, trained
    result = run_charrnn("report", "a.txt", "-m", "a.npz", cwd=tmp_path)
    assert result.returncode == 0, result
    assert "nothing was held out" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_names_that_are_no_text_do_not_stop_a_report_or_a_table(tmp_path):
    name = os.fsdecode(b"b\xff.txt")
    (tmp_path / name).write_text(TEXT)
    model = os.fsdecode(b"m\xff.npz")
    trained = run_charrnn("train", name, *TINY, "--steps", "3", "-o", model, cwd=tmp_path)
    assert trained.returncode == 0, trained
    for command in (["report", name], ["report"], ["eval", name, "--split", "val", "--baselines"]):
        result = run_charrnn(*command, "-m", model, cwd=tmp_path)
        assert result.returncode == 0, result


def test_a_report_on_states_that_overflow_is_one_line(home, tmp_path):
    run = checkpoint.load(home / "checkpoints/corpus.npz")
    run.settings["activation"] = "relu"
    for W in run.best.W_hh:
        W[:] = 4 * np.eye(len(W))
    checkpoint.save(tmp_path / "a.npz", run)
    result = run_charrnn("report", str(home / "corpus.txt"), "-m", "a.npz", cwd=tmp_path)
    assert "overflow" in one_line(result, 1)
