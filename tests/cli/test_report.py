"""``charrnn report``: one HTML page, on any run, that replaces nothing but pages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from commands import COMMAND, ENVIRONMENT, TEXT, TINY, one_line, run_charrnn

from charrnn.storage import checkpoint

if os.name == "posix":
    import resource


def test_a_report_is_one_file_and_never_replaces_its_inputs(home):
    result = run_charrnn("report", "corpus.txt", "-o", "page.html", cwd=home)
    assert result.returncode == 0 and result.stdout == b""
    assert b"page.html: " in result.stderr
    html = (home / "page.html").read_text(encoding="utf-8")
    assert "The beginning of the validation part of corpus.txt" in html and "7-gram" in html
    result = run_charrnn("report", "-o", "own.html", cwd=home)
    assert result.returncode == 0
    assert "The model generated this text" in (home / "own.html").read_text(encoding="utf-8")
    for args in (["corpus.txt", "-o", "corpus.txt"], ["-o", "checkpoints/corpus.npz"]):
        before = (home / "corpus.txt").read_bytes()
        one_line(run_charrnn("report", *args, cwd=home), 2)
        assert (home / "corpus.txt").read_bytes() == before
    (home / "notes.txt").write_text("not to be lost")
    assert "not a charrnn report" in one_line(run_charrnn("report", "-o", "notes.txt", cwd=home), 2)
    assert (home / "notes.txt").read_text() == "not to be lost"
    again = run_charrnn("report", "-o", "own.html", cwd=home)
    assert again.returncode == 0, "a page may be replaced by another"
    (home / "nothing.txt").write_text("")
    assert "nothing to score" in one_line(run_charrnn("report", "nothing.txt", cwd=home), 1)
    assert "corpus.txt cannot be written" in one_line(
        run_charrnn("report", "-o", "corpus.txt/page.html", cwd=home), 2)


@pytest.mark.parametrize(("out", "path"), [
    ("new/folder/page.html", "new/folder/page.html"), ("folder/", "folder/report.html"),
    (".", "report.html"),
])
def test_a_report_creates_its_folder(home, tmp_path, out, path):
    model = ["-m", home / "checkpoints/corpus.npz"]
    result = run_charrnn("report", *model, "-o", out, cwd=tmp_path)
    assert result.returncode == 0, result
    assert result.stderr.decode().startswith(f"{path}: ")
    assert (tmp_path / path).read_bytes().startswith(b"<!doctype html>")


def test_a_report_goes_to_standard_output(home, tmp_path):
    args = ["report", home / "corpus.txt", "-m", home / "checkpoints/corpus.npz"]
    printed = run_charrnn(*args, "-o", "-", cwd=tmp_path)
    assert (printed.returncode, printed.stderr) == (0, b"")
    assert os.listdir(tmp_path) == []
    assert run_charrnn(*args, cwd=tmp_path).returncode == 0
    assert (tmp_path / "report.html").read_bytes() == printed.stdout


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


PAGE = b"<!doctype html>\n<html>\n<head>\n<title>charrnn report</title>\n</head>\nan older one"


@pytest.mark.parametrize("content", [b"<!doctype html>\n<title>My page</title>\n", b"text",
                                     PAGE[1:], PAGE[:20] + b" " * 5000 + PAGE[20:]], ids=range(4))
def test_a_file_that_is_not_a_report_is_kept(home, tmp_path, content):
    (tmp_path / "page.html").write_bytes(content)
    (tmp_path / "link.html").symlink_to("page.html")
    for name in ("page.html", "link.html"):
        result = run_charrnn("report", "-m", home / "checkpoints/corpus.npz", "-o", name,
                             cwd=tmp_path)
        assert "is not a charrnn report" in one_line(result, 2)
    assert (tmp_path / "page.html").read_bytes() == content


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_page_that_is_an_input_is_kept_whatever_it_is_called(home, tmp_path):
    (tmp_path / "texts/deep").mkdir(parents=True)
    page = tmp_path / "texts/deep/page.html"
    page.write_bytes(PAGE)
    (tmp_path / "link.html").symlink_to(page)
    (tmp_path / "folder").symlink_to("texts")
    os.link(page, tmp_path / "hard.html")
    model = ["-m", home / "checkpoints/corpus.npz", "--unknown", "skip"]
    for text in ([home / "corpus.txt", page], [page], ["link.html"]):
        for out in (page, "link.html", "hard.html", "folder/deep/page.html"):
            one_line(run_charrnn("report", *text, *model, "-o", out, cwd=tmp_path), 2)
    one_line(run_charrnn("report", "-", *model, "-o", page, cwd=tmp_path, stdin=b""), 1)
    with open(page, "rb") as file:
        result = subprocess.run([*COMMAND, "report", "-", *map(str, model), "-o", str(page)],
                                stdin=file, capture_output=True, cwd=tmp_path, timeout=60)
    assert "would be replaced" in one_line(result, 2)
    assert page.read_bytes() == PAGE and os.listdir(page.parent) == ["page.html"]


def test_a_report_in_the_folder_of_texts_is_not_read_the_next_time(home, tmp_path):
    (tmp_path / "texts").mkdir()
    shutil.copy(home / "corpus.txt", tmp_path / "texts/corpus.txt")
    command = ["report", "texts", "-m", home / "checkpoints/corpus.npz", "-o", "texts/new.html"]
    first = run_charrnn(*command, cwd=tmp_path)
    assert (first.returncode, first.stderr.count(b"note: ")) == (0, 0)
    page = (tmp_path / "texts/new.html").read_bytes()
    again = run_charrnn(*command, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert b"note: not read, because written by charrnn: texts/new.html\n" in again.stderr
    assert (tmp_path / "texts/new.html").read_bytes() == page


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
def test_on_a_full_disk_the_old_page_stays_and_a_link_stays_a_link(home, tmp_path):
    (tmp_path / "page.html").write_bytes(PAGE)
    (tmp_path / "link.html").symlink_to("page.html")
    command = [*COMMAND, "report", "-m", str(home / "checkpoints/corpus.npz"), "-o", "link.html"]
    for room in (0, 1000, 50_000):
        full = subprocess.run(
            command, cwd=tmp_path, capture_output=True, timeout=60,
            preexec_fn=lambda room=room: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
        assert "cannot be written: File too large; the old file is kept" in one_line(full, 1)
        assert (tmp_path / "page.html").read_bytes() == PAGE
        assert sorted(os.listdir(tmp_path)) == ["link.html", "page.html"]
    written = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, umask=0o027)
    assert written.returncode == 0, written
    assert (tmp_path / "link.html").is_symlink()
    assert len((tmp_path / "page.html").read_bytes()) > 50_000
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link.html", "page.html"]


def test_a_report_on_a_run_without_validation_shows_the_training_text(home, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    trained = run_charrnn("train", "a.txt", *TINY, "--steps", "3", "--val-fraction", "0",
                          "-o", "a.npz", cwd=tmp_path)
    assert trained.returncode == 0, trained
    result = run_charrnn("report", "a.txt", "-m", "a.npz", cwd=tmp_path)
    assert result.returncode == 0, result
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    data = json.loads(html.partition('id="data">')[2].partition("</script>")[0])
    assert data["best"] is None and "".join(data["text"]) == TEXT[:1000]


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_file_names_that_are_not_unicode_do_not_stop_a_report_or_a_table(tmp_path):
    name = os.fsdecode(b"b\xff.txt")
    (tmp_path / name).write_text(TEXT)
    model = os.fsdecode(b"m\xff.npz")
    trained = run_charrnn("train", name, *TINY, "--steps", "3", "-o", model, cwd=tmp_path)
    assert trained.returncode == 0, trained
    for command in (["report", name], ["report"], ["eval", name, "--split", "val", "--baselines"]):
        result = run_charrnn(*command, "-m", model, cwd=tmp_path)
        assert result.returncode == 0, result


def test_a_report_on_states_that_overflow_is_an_error_of_one_line(home, tmp_path):
    run = checkpoint.load(home / "checkpoints/corpus.npz")
    run.settings["activation"] = "relu"
    for W in run.best.W_hh:
        W[:] = 4 * np.eye(len(W))
    checkpoint.save(tmp_path / "a.npz", run)
    result = run_charrnn("report", str(home / "corpus.txt"), "-m", "a.npz", cwd=tmp_path)
    assert "overflow" in one_line(result, 1)
