"""Texts that come bit by bit, through pipes, and may never end; folders on the command line."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from charrnn import report
from charrnn.evaluation import Score

TEXT = "Am Anfang war das Wort, und am Ende fehlte es.\n"
COMMAND = [sys.executable, "-W", "error", "-m", "charrnn"]
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
TINY = ["--hidden-size", "8", "--layers", "1", "--batch-size", "4", "--seq-length", "16",
        "--steps", "20"]


def charrnn(*args, cwd, stdin=None):
    return subprocess.run([*COMMAND, *map(str, args)], cwd=cwd, input=stdin, capture_output=True,
                          timeout=60, env=ENVIRONMENT)


def started(*args, cwd):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([*COMMAND, *args], cwd=cwd, env=ENVIRONMENT, bufsize=0, **pipes)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a model and the files it learned."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "shelf").mkdir()
    (folder / "shelf" / "b.txt").write_text(TEXT * 20)
    with gzip.open(folder / "shelf" / "a.txt.gz", "wb") as file:
        file.write((TEXT * 30).encode())
    result = charrnn("train", "shelf", *TINY, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert b"note: 2 files are read as one text: shelf/a.txt.gz, shelf/b.txt" in result.stderr
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["shelf.npz"]
    return folder


def test_the_same_files_by_name_are_the_same_run(home):
    result = charrnn("train", "shelf/a.txt.gz", "shelf/b.txt", "-o", "checkpoints/shelf.npz", *TINY,
                     cwd=home)
    assert b"already trained" in result.stderr
    (home / "plain.txt").write_text(TEXT * 50)
    result = charrnn("eval", "plain.txt", "--split", "val", "--json", cwd=home)
    assert json.loads(result.stdout)["chars"] == len(TEXT * 50) // 10


def test_a_checkpoint_is_named_after_what_was_packed(tmp_path):
    with gzip.open(tmp_path / "verse.txt.gz", "wb") as file:
        file.write((TEXT * 10).encode())
    assert charrnn("train", "verse.txt.gz", *TINY, cwd=tmp_path).returncode == 0
    assert (tmp_path / "checkpoints" / "verse.npz").exists()


def test_a_checkpoint_does_not_replace_a_file_of_the_folder_it_learns(home):
    for name, words in (("b.txt", b"lies in shelf"), ("new", b"lies in shelf")):
        result = charrnn("train", "shelf", "-o", f"shelf/{name}", *TINY, cwd=home)
        assert result.returncode == 2
        assert words in result.stderr


def test_a_folder_that_holds_its_own_checkpoint_is_learned_again_and_again(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT * 10)
    assert charrnn("train", ".", *TINY, cwd=tmp_path).returncode == 0
    assert b"already trained" in charrnn("train", ".", *TINY, cwd=tmp_path).stderr


def test_a_text_that_never_ends_is_scored_until_somebody_interrupts(home):
    with started("eval", "-", "--json", cwd=home) as process:
        for _ in range(4):
            process.stdin.write((TEXT * 700).encode())
        deadline = time.monotonic() + 20
        while b"step" not in process.stderr.readline() and time.monotonic() < deadline:
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert json.loads(out)["chars"] % 32_768 == 0
    assert b"Traceback" not in err


def test_a_stream_has_the_score_of_the_file(home):
    (home / "long.txt").write_text(TEXT * 3000)
    scores = [json.loads(result.stdout) for result in (
        charrnn("eval", "long.txt", "--json", cwd=home),
        charrnn("eval", "-", "--json", cwd=home, stdin=(TEXT * 3000).encode()))]
    assert scores[0]["nats_per_char"] == scores[1]["nats_per_char"]
    assert scores[0]["chars"] == len(TEXT) * 3000


def test_a_prime_is_written_as_it_is_read(home):
    with started("sample", "--prime-file", "-", "--length", "5", cwd=home) as process:
        process.stdin.write(TEXT.encode())
        assert process.stdout.read(len(TEXT)).decode() == TEXT
        process.stdin.write(b"Am ")
        rest, _ = process.communicate(timeout=20)
    assert rest.startswith(b"Am ")
    assert len(rest.decode()) == len("Am ") + 5


def test_a_prime_stands_before_each_of_several_samples(home):
    result = charrnn("sample", "--prime-file", "-", "--length", "3", "--count", "3", cwd=home,
                     stdin=b"Wort")
    lines = result.stdout.decode().split("Wort")
    assert len(lines) == 4


def test_the_score_so_far_is_shown_every_few_seconds(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    with report.running() as show:
        for chars in range(1000, 13_000, 1000):
            now[0] += 1
            show(Score(chars, chars * 1.5, 0))
    said = capsys.readouterr().err.splitlines()
    assert said == [f"so far 1.5000 nats/char, 2.1640 bits/char, {n:,} characters"
                    for n in (5000, 10_000)]


def test_on_a_terminal_the_score_so_far_is_one_line_that_changes(monkeypatch, capsys):
    monkeypatch.setattr(report, "stderr_is_terminal", lambda: True)
    monkeypatch.setattr(report, "live_bar", lambda unit, total: Bar())
    now, shown = [100.0], []

    class Bar:
        n = 0

        def set_postfix_str(self, text, refresh):
            shown.append(text)

        def update(self, count):
            self.n += count

        def close(self):
            shown.append(self.n)

    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    with report.running() as show:
        for chars in (1000, 2000, 3000, 4000):
            now[0] += 5.1 if chars == 2000 else 0.3
            show(Score(chars, chars * 1.5, 0))
    assert shown == ["1.5000 nats/char, 2.1640 bits/char"] * 3 + [4000]
    assert capsys.readouterr().err == ""


RARE = "".join(f"{TEXT[:12]}{chr(0x4E00 + i)}{chr(0x5E00 + i)}\n" for i in range(300))


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """A model to which rare characters are all the same."""
    folder = tmp_path_factory.mktemp("rare")
    (folder / "rare.txt").write_text(RARE)
    result = charrnn("train", "rare.txt", *TINY, "--min-count", "5", "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder, json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("unknown", ["error", "skip"])
def test_the_part_of_a_text_with_rare_characters_has_the_score_of_training(rare, unknown):
    folder, end = rare
    result = charrnn("eval", "rare.txt", "--split", "val", "--unknown", unknown, "--json",
                     cwd=folder)
    score = json.loads(result.stdout)
    assert score["nats_per_char"] == pytest.approx(end["best_nats_per_char"], abs=1e-12)
    assert score["chars"] == len(RARE) // 10
    assert score["unknown_chars"] == 600


def test_unknown_characters_are_scored_as_what_they_are_read_as(rare):
    result = charrnn("eval", "-", "--unknown", "skip", cwd=rare[0], stdin="Am ☃☃\n".encode())
    assert b"6 characters, 2 unknown read as U+FFFD" in result.stdout
    assert charrnn("sample", "--stop", "☃", cwd=rare[0]).returncode == 2


def test_baselines_and_novelty_see_the_text_as_the_model_does(rare):
    result = charrnn("eval", "rare.txt", "--baselines", "--train-text", "rare.txt", "--json",
                     cwd=rare[0])
    assert json.loads(result.stdout)["baselines"]["8-gram"] < 0.01
    prime = ["--prime", RARE[:60], "--length", "0", "--novelty", "rare.txt"]
    assert charrnn("sample", *prime, cwd=rare[0]).returncode == 0


def test_where_everything_is_rare_nothing_can_be_learned(rare):
    result = charrnn("train", "rare.txt", *TINY, "--min-count", "10000", "-o", "b.npz", cwd=rare[0])
    assert result.returncode == 1
    assert b"no character occurs 10,000 times, the commonest does 600 times" in result.stderr


def test_a_model_of_bytes_has_no_rare_ones_to_go_on_with(home):
    assert charrnn("train", "shelf", "--level", "byte", *TINY, "-o", "bytes.npz",
                   cwd=home).returncode == 0
    result = charrnn("train", "shelf", "--init-from", "bytes.npz", "--min-count", "5", *TINY,
                     "-o", "other.npz", cwd=home)
    assert result.returncode == 2
    assert b"min_count 5 is for characters" in result.stderr


def test_what_a_first_run_knew_is_not_rare_in_the_next(rare):
    folder, _ = rare
    assert charrnn("train", "rare.txt", *TINY, "-o", "first.npz", cwd=folder).returncode == 0
    result = charrnn("train", "rare.txt", "--init-from", "first.npz", "--min-count", "5", *TINY,
                     "-o", "next.npz", "--json", cwd=folder)
    end = json.loads(result.stdout.splitlines()[-1])
    result = charrnn("eval", "rare.txt", "--split", "val", "-m", "next.npz", "--json", cwd=folder)
    score = json.loads(result.stdout)
    assert score["nats_per_char"] == pytest.approx(end["best_nats_per_char"], abs=1e-12)


def test_the_lines_of_a_folder_do_not_run_on_from_file_to_file(home):
    (home / "lines").mkdir()
    (home / "lines" / "1").write_text("Am Anfang\nwar")
    (home / "lines" / "2").write_text("das Wort\n")
    rows = charrnn("eval", "lines", "--per-line", cwd=home).stdout.decode().splitlines()
    assert [row.rpartition("\t")[2] for row in rows] == ["Am Anfang", "war", "das Wort"]
