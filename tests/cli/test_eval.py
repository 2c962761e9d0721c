"""``charrnn eval``: scores of texts, parts, lines and characters, and baselines beside them."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from commands import COMMAND, ENVIRONMENT, TEXT, TINY, one_line, run_charrnn

from charrnn.analysis import ngram
from charrnn.cli.main import cli
from charrnn.inference import dynamic, scoring
from charrnn.storage import checkpoint
from charrnn.text.split import Split


def test_the_score_of_training_is_the_score_of_eval(home):
    messages = (home / "trained.txt").read_text()
    result = run_charrnn("eval", "corpus.txt", "--split", "val", "--json", cwd=home)
    assert result.returncode == 0, result.stderr
    score = json.loads(result.stdout)
    assert f"best validation {score['bits_per_char']:.4f} bits/char" in messages
    assert set(score) == {
        "text", "split", "dynamic", "chars", "unknown_chars", "undecodable", "nats_per_char",
        "bits_per_char", "perplexity", "accuracy", "checkpoint", "version",
    }
    assert score["bits_per_char"] == pytest.approx(score["nats_per_char"] / math.log(2))
    assert score["perplexity"] == pytest.approx(math.exp(score["nats_per_char"]))
    assert score["chars"] == len(TEXT) - int(len(TEXT) * 0.9)


def test_splits_are_parts_of_the_whole(home):
    scores = {}
    for split in ("train", "val", "all"):
        result = run_charrnn("eval", "corpus.txt", "--split", split, "--json", cwd=home)
        scores[split] = json.loads(result.stdout)
    assert scores["all"]["chars"] == scores["train"]["chars"] + scores["val"]["chars"]


def test_eval_is_one_line_for_people(home):
    (home / "new.txt").write_text("sieben Brücken\n")
    result = run_charrnn("eval", "new.txt", cwd=home)
    assert result.stdout.count(b"\n") == 1
    for word in (b"nats/char", b"bits/char", b"perplexity", b"accuracy", b"15 characters"):
        assert word in result.stdout


def test_eval_of_the_corpus_warns_that_it_was_trained_on(home):
    assert b"trained on" in run_charrnn("eval", "corpus.txt", cwd=home).stderr
    assert b"trained on" not in run_charrnn("eval", "corpus.txt", "--split", "val", cwd=home).stderr


def notes_of(result):
    assert result.returncode == 0, result
    return [line for line in result.stderr.decode().splitlines() if line.startswith("note: ")]


@pytest.mark.parametrize(("settings", "words"), [
    ([], "trained on this text; --split val scores only the validation part"),
    (["--val-fraction", "0"], "trained on all of this text"),
    (["--val", "val.txt"], "trained on this text; it was validated on another file"),
    (["--val", "a.txt"], "trained and validated on this text"),
], ids=["tail", "none", "file", "itself"])
def test_the_note_on_the_training_text_fits_how_the_run_was_validated(tmp_path, settings, words):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "val.txt").write_text(TEXT[:500])
    trained = run_charrnn("train", "a.txt", *TINY, "--steps", "2", *settings, cwd=tmp_path)
    assert trained.returncode == 0, trained
    expected = [f"note: the model was {words}"]
    for more in ([], ["--split", "all"], ["--surprisal"], ["--json"]):
        assert notes_of(run_charrnn("eval", "a.txt", *more, cwd=tmp_path)) == expected, more
    assert notes_of(run_charrnn("eval", "a.txt", "--split", "train", cwd=tmp_path)) == []
    validated = notes_of(run_charrnn("eval", "val.txt", cwd=tmp_path))
    assert ["used to choose the best weights" in line for line in validated] == (
        [True] if "val.txt" in settings else [])


def test_a_run_without_a_validation_part_has_none_to_score(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    run_charrnn("train", "a.txt", *TINY, "--steps", "2", "--val-fraction", "0", cwd=tmp_path)
    result = run_charrnn("eval", "a.txt", "--split", "val", cwd=tmp_path)
    assert "it has no validation part; the model was trained on all of it" in one_line(result, 1)


def test_a_split_of_the_validation_text_is_refused_with_the_right_command(tmp_path):
    for name in ("a.txt", "val.txt"):
        (tmp_path / name).write_text(TEXT + name)
    run_charrnn("train", "a.txt", *TINY, "--steps", "2", "--val", "val.txt", cwd=tmp_path)
    line = one_line(run_charrnn("eval", "val.txt", "--split", "val", cwd=tmp_path), 2)
    assert "val.txt is the validation text of the model: score it without --split" in line


def test_a_split_of_another_text_is_refused(home):
    (home / "new.txt").write_text("sieben Brücken\n")
    one_line(run_charrnn("eval", "new.txt", "--split", "val", cwd=home), 2)


def test_eval_of_stdin_is_eval_of_the_file(home):
    (home / "new.txt").write_text("sieben Brücken\n")
    from_file = run_charrnn("eval", "new.txt", "--json", cwd=home)
    from_pipe = run_charrnn("eval", "-", "--json", cwd=home, stdin="sieben Brücken\n".encode())
    a, b = json.loads(from_file.stdout), json.loads(from_pipe.stdout)
    assert a["nats_per_char"] == b["nats_per_char"]


def test_unknown_characters_are_named_or_skipped(home):
    result = run_charrnn("eval", "-", cwd=home, stdin="sieben ☃ 7\n".encode())
    assert "'☃' (U+2603)" in result.stderr.decode() and result.returncode == 1
    result = run_charrnn("eval", "-", "--unknown", "skip", "--json", cwd=home,
                         stdin="sieben ☃ 7\n".encode())
    score = json.loads(result.stdout)
    assert (score["chars"], score["unknown_chars"]) == (9, 2)


def test_states_that_overflow_are_an_error_and_no_score(home, tmp_path):
    """A relu unit that doubles what it holds with every character."""
    shutil.copy(home / "corpus.txt", tmp_path)
    run_charrnn("train", "corpus.txt", *TINY, "--steps", "2", "--activation", "relu", "-o", "a.npz",
                cwd=tmp_path)
    run = checkpoint.load(tmp_path / "a.npz")
    run.best.b_h[0][:] = 1
    run.best.W_hh[0][:] = 2 * np.eye(len(run.best.W_hh[0]))
    checkpoint.save(tmp_path / "a.npz", run)
    (tmp_path / "line.txt").write_text(TEXT.replace("\n", " ")[:400] + "\n")
    for command in (["eval", "corpus.txt"], ["eval", "corpus.txt", "--dynamic"],
                    ["eval", "line.txt", "--per-line", "--unknown", "skip"],
                    ["sample", "--length", "400"], ["sample", "--temperature", "0"]):
        result = run_charrnn(*command, "-m", "a.npz", cwd=tmp_path)
        assert result.returncode == 1, (command, result)
        last = result.stderr.splitlines()[-1]
        assert b"overflow" in last and b"learning-rate" in last, (command, result.stderr)
        assert len(result.stderr.splitlines()) <= 3, result.stderr
        assert b"nan" not in result.stdout


def test_dynamic_evaluation_is_labeled_and_does_not_change_the_checkpoint(home, tmp_path):
    run = checkpoint.load(home / "checkpoints/corpus.npz")
    run.last.flat[:] = 0  # the best weights are meant, and these are not they
    path = tmp_path / "a.npz"
    checkpoint.save(path, run)
    before = path.read_bytes()
    args = ["eval", "corpus.txt", "--split", "val", "-m", path]
    fixed = json.loads(run_charrnn(*args, "--json", cwd=home).stdout)
    learned = json.loads(run_charrnn(*args, "--json", "--dynamic", cwd=home).stdout)
    assert (fixed["dynamic"], learned["dynamic"]) == (False, True)
    assert learned["chars"] == fixed["chars"]
    ids, n = run.vocabulary.encode_text(TEXT), int(len(TEXT) * 0.9)
    context = np.concatenate([[run.vocabulary.start], ids[:n]])
    expected = scoring.total(dynamic.evaluate(run.best, Split(ids[n:], context)))
    assert learned["nats_per_char"] == pytest.approx(expected.nats_per_char, rel=1e-12)
    assert learned["nats_per_char"] != fixed["nats_per_char"]
    result = run_charrnn(*args, "--dynamic", cwd=home)
    assert b"dynamic" in result.stdout and result.stdout.count(b"\n") == 1
    assert path.read_bytes() == before
    one_line(run_charrnn("eval", "corpus.txt", "--dynamic", "--per-line", cwd=home), 2)


def test_eval_per_line_is_a_tab_separated_line_for_each(home):
    text = "sieben\n\nmusst du gehn\nJahre"
    result = run_charrnn("eval", "-", "--per-line", cwd=home, stdin=text.encode())
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [row[3] for row in rows] == text.split("\n")
    assert [int(row[1]) for row in rows] == [7, 1, 14, 5]
    for bits, chars, nats, _ in rows:
        assert float(bits) == pytest.approx(float(nats) / int(chars) / math.log(2), abs=2e-4)
    alone = run_charrnn("eval", "-", "--json", cwd=home, stdin=b"musst du gehn\n")
    assert float(rows[2][0]) == pytest.approx(json.loads(alone.stdout)["bits_per_char"], abs=1e-4)


def test_baselines_are_a_table_with_the_model_below_and_json_with_the_same_figures(home):
    result = run_charrnn("eval", "corpus.txt", "--split", "val", "--baselines", cwd=home)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.decode().splitlines()
    names = [line.split()[0] for line in lines[2:-1]]
    assert names == ["uniform", *(f"{k}-gram" for k in range(1, 9)), "lzma", "corpus"]
    rows = {line.split()[0]: [float(word) for word in line.split()[1:]] for line in lines[2:-1]}
    assert all(bits == pytest.approx(nats / math.log(2), abs=1e-4) for bits, nats in rows.values())
    table = {name: nats for name, (bits, nats) in rows.items()}
    assert table["uniform"] == pytest.approx(math.log(len(set(TEXT))), abs=1e-4)
    assert table["1-gram"] > table["8-gram"]
    result = run_charrnn("eval", "corpus.txt", "--split", "val", "--baselines", "--json", cwd=home)
    found = json.loads(result.stdout)
    for name, nats in found["baselines"].items():
        assert table[name] == pytest.approx(nats, abs=6e-5)
        assert found["baselines_bits_per_char"][name] == pytest.approx(nats / math.log(2))
    assert table["corpus"] == pytest.approx(found["nats_per_char"], abs=6e-5)


def test_baselines_of_another_text_ask_for_the_training_text(home):
    (home / "other.txt").write_text("sieben dunkle Jahre\n" * 9)
    asked = ["eval", "other.txt", "--baselines"]
    assert "--train-text" in one_line(run_charrnn(*asked, cwd=home), 2)
    result = run_charrnn(*asked, "--train-text", "corpus.txt", cwd=home)
    assert result.returncode == 0 and b"8-gram" in result.stdout
    assert b"not the text" not in result.stderr
    result = run_charrnn(*asked, "--train-text", "other.txt", cwd=home)
    assert b"other.txt is not the text that the model was trained on" in result.stderr
    assert "only with --baselines" in one_line(
        run_charrnn("eval", "other.txt", "--train-text", "corpus.txt", cwd=home), 2)


def test_surprisal_in_a_pipe_is_a_row_for_each_character_that_adds_up_to_the_score(home):
    result = run_charrnn("eval", "corpus.txt", "--split", "val", "--surprisal", cwd=home)
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    result = run_charrnn("eval", "corpus.txt", "--split", "val", "--json", cwd=home)
    score = json.loads(result.stdout)
    assert len(rows) == score["chars"]
    mean = sum(float(bits) for bits, _, _ in rows) / len(rows)
    assert mean == pytest.approx(score["bits_per_char"], abs=1e-4)
    assert sum(hit == "1" for _, hit, _ in rows) / len(rows) == pytest.approx(score["accuracy"])
    shown = "".join(symbol for _, _, symbol in rows).replace("\\n", "\n")
    assert shown == TEXT[len(TEXT) - len(rows) :]
    assert "combined only with --split" in one_line(
        run_charrnn("eval", "corpus.txt", "--surprisal", "--json", cwd=home), 2)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("environment", "colors"), [
    ({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ({"TERM": "dumb"}, False),
])
def test_surprisal_on_a_terminal_is_the_colored_text(home, environment, colors):
    import pty

    (home / "short.txt").write_text("sieben\n")
    master, slave = pty.openpty()
    env = {k: v for k, v in ENVIRONMENT.items() if k != "NO_COLOR"} | environment
    subprocess.run([*COMMAND, "eval", "short.txt", "--surprisal"], cwd=home, stdout=slave,
                   stderr=subprocess.DEVNULL, env=env, check=True, timeout=60)
    os.close(slave)
    shown = os.read(master, 10_000).decode()
    os.close(master)
    assert ("\x1b[38;5;" in shown) == colors
    assert ("\t" in shown) != colors


def test_a_note_is_printed_if_only_the_end_of_a_long_text_is_counted(home, monkeypatch, capsys):
    monkeypatch.setattr(ngram, "MAX_COUNTED", 1000)
    monkeypatch.chdir(home)
    arguments = ["eval", "corpus.txt", "--split", "val", "--baselines", "-m",
                 "checkpoints/corpus.npz"]
    cli.main(arguments, standalone_mode=False)
    messages = capsys.readouterr().err
    assert "the baselines count only the last 1,000" in messages


def test_a_validation_file_is_not_a_split_of_the_corpus(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text(TEXT[:500])
    assert run_charrnn("train", "a.txt", "--val", "b.txt", *TINY, "--steps", "3", "-o", "a.npz",
                       cwd=tmp_path).returncode == 0
    asked = ["eval", "a.txt", "-m", "a.npz", "--json", "--split"]
    assert "on a separate file" in one_line(run_charrnn(*asked, "val", cwd=tmp_path), 2)
    whole = run_charrnn(*asked, "train", cwd=tmp_path)
    assert json.loads(whole.stdout)["chars"] == len(TEXT)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Files, one of them empty, and two models of them: with and without borders."""
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "shelf").mkdir()
    for name, size in {"1": 2500, "2": 0, "3": 37_000, "4": 1100}.items():
        text = TEXT * (1 + size // len(TEXT))
        (folder / "shelf" / name).write_text(text[:size], encoding="utf-8")
    for borders in ("reset", "ignore"):
        result = run_charrnn("train", "shelf", *TINY, "--steps", "30", "--borders", borders, "-o",
                             f"{borders}.npz", "--quiet", cwd=folder)
        assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("borders", ["reset", "ignore"])
@pytest.mark.parametrize("unknown", ["error", "skip"])
def test_how_a_score_is_shown_does_not_change_it(shelf, borders, unknown):
    args = ["eval", "shelf", "-m", f"{borders}.npz", "--unknown", unknown]

    def score(*more):
        result = run_charrnn(*args, *more, "--json", cwd=shelf)
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        for key in ("baselines", "baselines_bits_per_char"):
            found.pop(key, None)
        return found

    expected = score()
    assert score("--baselines", "--train-text", "shelf") == expected
    assert score("--split", "all") == expected
    rows = run_charrnn(*args, "--surprisal", cwd=shelf).stdout.decode().splitlines()
    bits, right = zip(*(row.split("\t")[:2] for row in rows), strict=True)
    assert len(bits) == expected["chars"]
    assert np.mean([float(b) for b in bits]) == pytest.approx(expected["bits_per_char"], abs=1e-5)
    assert right.count("1") / len(right) == pytest.approx(expected["accuracy"], abs=1e-12)


def test_a_model_of_bytes_is_scored_in_bits_per_byte(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    command = ["train", "a.txt", *TINY, "--steps", "3", "--level", "byte", "-o", "a.npz"]
    shown = run_charrnn(*command, cwd=tmp_path).stderr
    for args in (["--split", "val"], ["--split", "val", "--baselines"], []):
        result = run_charrnn("eval", "a.txt", "-m", "a.npz", *args, cwd=tmp_path)
        assert b"bits/byte" in result.stdout and b" bytes" in result.stdout, result
        shown += result.stdout + result.stderr
    assert b"/char" not in shown and b"chars/s" not in shown


def test_a_model_of_bytes_notes_a_container_wherever_it_reads_one(tmp_path):
    data = b"sieben\n" * 400
    (tmp_path / "a.txt").write_bytes(data)
    (tmp_path / "b.zip").write_bytes(b"PK\3\4" + data)
    trained = run_charrnn("train", "a.txt", *TINY, "--steps", "2", "--level", "byte", "-o",
                          "a.npz", cwd=tmp_path)
    assert trained.returncode == 0, trained
    for args in (["eval", "b.zip"], ["eval", "b.zip", "--dynamic"], ["report", "b.zip"],
                 ["eval", "a.txt", "--baselines", "--train-text", "b.zip"],
                 ["sample", "--length", "1", "--novelty", "b.zip"],
                 ["sample", "--length", "1", "--prime-file", "b.zip"]):
        result = run_charrnn(*args, "-m", "a.npz", cwd=tmp_path)
        assert result.returncode == 0, result
        note = b"note: b.zip is a zip archive: the model reads the bytes of the file, not the text"
        assert result.stderr.count(note) == 1, args
