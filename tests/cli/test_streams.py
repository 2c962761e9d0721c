"""Texts that come bit by bit, through pipes, and may never end; folders on the command line."""

from __future__ import annotations

import gzip
import json
import signal
import time

import pytest
from commands import TINY, run_charrnn, start_charrnn

TEXT = "Am Anfang war das Wort, und am Ende fehlte es.\n"
SHORT = [*TINY, "--steps", "20"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a model and the files it learned."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "shelf").mkdir()
    (folder / "shelf" / "b.txt").write_text(TEXT * 20)
    with gzip.open(folder / "shelf" / "a.txt.gz", "wb") as file:
        file.write((TEXT * 30).encode())
    result = run_charrnn("train", "shelf", *SHORT, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert b"note: 2 files are read as one text: shelf/a.txt.gz, shelf/b.txt" in result.stderr
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["shelf.npz"]
    return folder


def test_the_same_files_by_name_are_the_same_run(home):
    result = run_charrnn("train", "shelf/a.txt.gz", "shelf/b.txt", "-o", "checkpoints/shelf.npz",
                         *SHORT, cwd=home)
    assert b"already trained" in result.stderr
    (home / "plain.txt").write_text(TEXT * 50)
    result = run_charrnn("eval", "plain.txt", "--split", "val", "--json", cwd=home)
    assert json.loads(result.stdout)["chars"] == len(TEXT * 50) // 10


def test_a_checkpoint_is_named_after_the_uncompressed_file(tmp_path):
    with gzip.open(tmp_path / "verse.txt.gz", "wb") as file:
        file.write((TEXT * 10).encode())
    assert run_charrnn("train", "verse.txt.gz", *SHORT, cwd=tmp_path).returncode == 0
    assert (tmp_path / "checkpoints" / "verse.npz").exists()


def test_a_checkpoint_does_not_replace_a_file_of_the_training_folder(home):
    for name, words in (("b.txt", b"is in shelf"), ("new.1", b"is in shelf")):
        result = run_charrnn("train", "shelf", "-o", f"shelf/{name}", *SHORT, cwd=home)
        assert result.returncode == 2
        assert words in result.stderr


def test_a_folder_that_contains_its_own_checkpoint_is_the_same_text_again(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT * 10)
    assert run_charrnn("train", ".", *SHORT, cwd=tmp_path).returncode == 0
    assert b"already trained" in run_charrnn("train", ".", *SHORT, cwd=tmp_path).stderr


def wait_until_read(process):
    """Wait until a command has read what was written to it, and a moment for what it does next."""
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    deadline, waiting = time.monotonic() + 20, b"?"
    while waiting.strip(b"\0") and time.monotonic() < deadline:
        time.sleep(0.05)
        waiting = fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4))
    time.sleep(0.5)


@pytest.mark.parametrize("repeats", [10, 2800])
def test_an_endless_text_is_scored_until_it_is_interrupted(home, repeats):
    (home / "so far.txt").write_text(TEXT * repeats)
    whole = json.loads(run_charrnn("eval", "so far.txt", "--json", cwd=home).stdout)
    with start_charrnn("eval", "-", "--json", cwd=home) as process:
        process.stdin.write((TEXT * repeats).encode())
        wait_until_read(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"interrupted; this is the score so far\n" in err and b"Traceback" not in err
    found = json.loads(out)
    assert found["chars"] == len(TEXT) * repeats
    assert found["nats_per_char"] == whole["nats_per_char"]


def test_an_interruption_before_any_text_is_reported(home):
    with start_charrnn("eval", "-", cwd=home) as process:
        process.stdin.write("ü".encode()[:1])
        wait_until_read(process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (143, b"")
    assert err.endswith(b"interrupted before anything was scored\n")


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_each_line_of_a_slow_pipe_is_scored_when_it_arrives(home, name):
    number = getattr(signal, name, signal.SIGTERM)
    rows = run_charrnn("eval", "-", "--per-line", cwd=home,
                       stdin=f"{TEXT}war\n{TEXT}".encode()).stdout.splitlines(keepends=True)
    with start_charrnn("eval", "-", "--per-line", cwd=home) as process:
        for line, row in zip((TEXT, "war\n", TEXT), rows, strict=True):
            process.stdin.write(line.encode())
            assert process.stdout.readline() == row, "before the next line is written"
        process.stdin.write(b"das ")
        wait_until_read(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (128 + number, b"")
    assert err.endswith(b"interrupted after 3 lines\n") and b"Traceback" not in err


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="POSIX only")
def test_a_stream_whose_terminal_closes_exits_as_after_any_signal(home):
    with start_charrnn("eval", "-", "--json", cwd=home) as process:
        process.stdin.write((TEXT * 1400).encode())
        deadline = time.monotonic() + 20
        while b"step" not in process.stderr.readline() and time.monotonic() < deadline:
            pass
        process.stdout.close()
        process.stderr.close()
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=20) == 129


def test_a_stream_has_the_score_of_the_file(home):
    (home / "long.txt").write_text(TEXT * 3000)
    scores = [json.loads(result.stdout) for result in (
        run_charrnn("eval", "long.txt", "--json", cwd=home),
        run_charrnn("eval", "-", "--json", cwd=home, stdin=(TEXT * 3000).encode()))]
    assert scores[0]["nats_per_char"] == scores[1]["nats_per_char"]
    assert scores[0]["chars"] == len(TEXT) * 3000


def test_a_prime_is_written_as_it_is_read(home):
    with start_charrnn("sample", "--prime-file", "-", "--length", "5", cwd=home) as process:
        process.stdin.write(TEXT.encode())
        assert process.stdout.read(len(TEXT)).decode() == TEXT
        process.stdin.write(b"Am ")
        rest, _ = process.communicate(timeout=20)
    assert rest.startswith(b"Am ")
    assert len(rest.decode()) == len("Am ") + 5


def test_each_of_several_samples_starts_with_the_prime(home):
    result = run_charrnn("sample", "--prime-file", "-", "--length", "3", "--count", "3", cwd=home,
                         stdin=b"Wort")
    lines = result.stdout.decode().split("Wort")
    assert len(lines) == 4


RARE = "".join(f"{TEXT[:12]}{chr(0x4E00 + i)}{chr(0x5E00 + i)}\n" for i in range(300))


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """A model to which rare characters are all the same."""
    folder = tmp_path_factory.mktemp("rare")
    (folder / "rare.txt").write_text(RARE)
    result = run_charrnn("train", "rare.txt", *SHORT, "--min-count", "5", "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder, json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("unknown", ["error", "skip"])
def test_the_part_of_a_text_with_rare_characters_has_the_score_of_training(rare, unknown):
    folder, end = rare
    result = run_charrnn("eval", "rare.txt", "--split", "val", "--unknown", unknown, "--json",
                         cwd=folder)
    score = json.loads(result.stdout)
    assert score["nats_per_char"] == pytest.approx(end["best_nats_per_char"], abs=1e-12)
    assert score["chars"] == len(RARE) // 10
    assert score["unknown_chars"] == 600


def test_unknown_characters_are_scored_as_their_replacement(rare):
    result = run_charrnn("eval", "-", "--unknown", "skip", cwd=rare[0],
                         stdin="Am ☃☃\n".encode())
    assert b"6 characters, 2 unknown characters read as U+FFFD" in result.stdout
    assert run_charrnn("sample", "--stop", "☃", cwd=rare[0]).returncode == 2


def test_baselines_and_novelty_see_the_text_as_the_model_does(rare):
    result = run_charrnn("eval", "rare.txt", "--baselines", "--train-text", "rare.txt", "--json",
                         cwd=rare[0])
    assert json.loads(result.stdout)["baselines"]["8-gram"] < 0.01
    prime = ["--prime", RARE[:60], "--length", "0", "--novelty", "rare.txt"]
    assert run_charrnn("sample", *prime, cwd=rare[0]).returncode == 0


def test_a_text_in_which_every_character_is_rare_is_refused(rare):
    result = run_charrnn("train", "rare.txt", *SHORT, "--min-count", "10000", "-o", "b.npz",
                         cwd=rare[0])
    assert result.returncode == 1
    assert (b"no character occurs 10,000 times; the most common one occurs 600 times"
            in result.stderr)


def test_a_byte_level_run_cannot_start_with_rare_characters(home):
    assert run_charrnn("train", "shelf", "--level", "byte", *SHORT, "-o", "bytes.npz",
                       cwd=home).returncode == 0
    result = run_charrnn("train", "shelf", "--init-from", "bytes.npz", "--min-count", "5", *SHORT,
                         "-o", "other.npz", cwd=home)
    assert result.returncode == 2
    assert b"min_count 5 has no effect at byte level" in result.stderr


def test_characters_known_to_the_first_run_are_not_rare_in_the_next(rare):
    folder, _ = rare
    assert run_charrnn("train", "rare.txt", *SHORT, "-o", "first.npz", cwd=folder).returncode == 0
    result = run_charrnn("train", "rare.txt", "--init-from", "first.npz", "--min-count", "5",
                         *SHORT, "-o", "next.npz", "--json", cwd=folder)
    end = json.loads(result.stdout.splitlines()[-1])
    result = run_charrnn("eval", "rare.txt", "--split", "val", "-m", "next.npz", "--json",
                         cwd=folder)
    score = json.loads(result.stdout)
    assert score["nats_per_char"] == pytest.approx(end["best_nats_per_char"], abs=1e-12)


def test_the_lines_of_a_folder_do_not_run_on_from_file_to_file(home):
    (home / "lines").mkdir()
    (home / "lines" / "1").write_text("Am Anfang\nwar")
    (home / "lines" / "2").write_text("das Wort\n")
    rows = run_charrnn("eval", "lines", "--per-line", cwd=home).stdout.decode().splitlines()
    assert [row.rpartition("\t")[2] for row in rows] == ["Am Anfang", "war", "das Wort"]
