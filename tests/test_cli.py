"""The commands, run as a user runs them: what is on each stream, and the exit code."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import charrnn
from charrnn import checkpoint, config, dynamic, evaluation

TEXT = "Über sieben Brücken musst du gehn, sieben dunkle Jahre überstehn.\n" * 60
COMMAND = [sys.executable, "-W", "error", "-m", "charrnn"]
ENVIRONMENT = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
TINY = ["--hidden-size", "8", "--layers", "1", "--batch-size", "4", "--seq-length", "16"]


def charrnn_(*args, cwd, stdin=None, env=None, **kwargs):
    return subprocess.run(
        [*COMMAND, *map(str, args)], cwd=cwd, input=stdin, capture_output=True, timeout=60,
        env=ENVIRONMENT | (env or {}), **kwargs,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a text and a model of it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
    result = charrnn_("train", "corpus.txt", *TINY, "--steps", "60", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout == b""
    folder.joinpath("trained.txt").write_bytes(result.stderr)
    return folder


def one_line(result, code):
    assert result.returncode == code, result
    line = result.stderr.decode()
    assert line.count("\n") == 1 and line.startswith("charrnn"), line
    assert result.stdout == b""
    return line


def test_train_says_what_it_found_and_what_it_made(home):
    said = (home / "trained.txt").read_text()
    assert f"{len(TEXT):,} characters, {len(set(TEXT))} distinct" in said
    assert "parameters" in said
    assert "hidden_size 8" in said
    assert "bits/char" in said
    assert "charrnn sample -m checkpoints/corpus.npz" in said
    assert "\r" not in said, "no bar where there is no terminal"
    assert (home / "checkpoints/corpus.npz").exists()
    assert sorted(path.name for path in (home / "checkpoints").iterdir()) == ["corpus.npz"]


def test_train_again_says_already_trained(home):
    result = charrnn_("train", "corpus.txt", *TINY, "--steps", "60", cwd=home)
    assert result.returncode == 0
    assert b"already trained" in result.stderr


def test_train_with_other_settings_is_refused(home):
    result = charrnn_("train", "corpus.txt", *TINY, "--steps", "60", "--seed", "9", cwd=home)
    assert "seed 1 there, 9 now" in one_line(result, 2)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    result = charrnn_("train", "a.txt", "--dry-run", cwd=tmp_path)
    assert result.returncode == 0
    assert b"distinct" in result.stderr
    assert b"steps (30 epochs)" in result.stderr
    chosen = charrnn_("train", "a.txt", "--dry-run", "--steps", "50", "--json", cwd=tmp_path)
    assert json.loads(chosen.stdout)["steps"] == 50
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_dry_run_says_how_a_run_would_go_on(home):
    again = charrnn_("train", "corpus.txt", *TINY, "--steps", "60", "--dry-run", cwd=home)
    assert b"already trained: 60 steps are done" in again.stderr
    longer = charrnn_("train", "corpus.txt", *TINY, "--steps", "90", "--dry-run", cwd=home)
    assert b"would go on after step 60" in longer.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of its own")
@pytest.mark.parametrize("columns", [0, 100])
def test_a_terminal_shows_a_live_bar_above_which_the_lines_stay(tmp_path, columns):
    import fcntl
    import pty
    import struct
    import termios

    def seen(*args):
        ours, theirs = pty.openpty()
        size = struct.pack("HHHH", 30 if columns else 0, columns, 0, 0)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
        with subprocess.Popen([*COMMAND, "train", "a.txt", *TINY, "--steps", "40", *args],
                              cwd=tmp_path, stderr=theirs, env=ENVIRONMENT) as process:
            os.close(theirs)
            text = b""
            with contextlib.suppress(OSError):  # how Linux ends the reading of a terminal
                while data := os.read(ours, 4096):
                    text += data
            os.close(ours)
        assert process.returncode == 0
        return text.decode()

    (tmp_path / "a.txt").write_text(TEXT)
    assert "% " not in seen("--dry-run")
    shown = seen("--eval-every", "20")
    assert "step 40/40" in shown and "bits/char" in shown and " left" in shown
    assert shown.count("validation") == 3, "two of the run and one of its end"
    assert "\r" in shown


def test_json_has_no_numbers_that_are_none():
    from charrnn.evaluation import Score
    from charrnn.report import finite, line_score

    assert (finite(1.5), finite(math.inf), finite(math.nan)) == (1.5, None, None)
    row = json.loads(line_score("", Score(0, 0.0, 0), 0, True))
    assert row["bits_per_char"] is None


def test_train_json_is_one_object_per_event(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    result = charrnn_("train", "a.txt", *TINY, "--steps", "10", "--sample-every", "5", "--json",
                      "--quiet", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "start" and kinds[-1] == "end" and kinds.count("step") == 10
    assert set(kinds) == {"start", "step", "eval", "sample", "save", "end"}
    for event in events:
        assert event["steps"] == 10
        assert {"step", "epoch"} <= set(event)
    step = events[kinds.index("step")]
    assert {"nats_per_char", "grad_norm", "learning_rate", "chars_per_second"} <= set(step)
    assert events[-1]["best_nats_per_char"] == events[kinds.index("eval")]["nats_per_char"]


def test_the_score_of_training_is_the_score_of_eval(home):
    said = (home / "trained.txt").read_text()
    result = charrnn_("eval", "corpus.txt", "--split", "val", "--json", cwd=home)
    assert result.returncode == 0, result.stderr
    score = json.loads(result.stdout)
    assert f"best validation {score['nats_per_char']:.4f} nats/char" in said
    assert set(score) == {
        "text", "split", "dynamic", "chars", "unknown_chars", "nats_per_char", "bits_per_char",
        "perplexity", "accuracy", "checkpoint", "version",
    }
    assert score["bits_per_char"] == pytest.approx(score["nats_per_char"] / math.log(2))
    assert score["perplexity"] == pytest.approx(math.exp(score["nats_per_char"]))
    assert score["chars"] == len(TEXT) - int(len(TEXT) * 0.9)


def test_splits_are_parts_of_the_whole(home):
    scores = {}
    for split in ("train", "val", "all"):
        result = charrnn_("eval", "corpus.txt", "--split", split, "--json", cwd=home)
        scores[split] = json.loads(result.stdout)
    assert scores["all"]["chars"] == scores["train"]["chars"] + scores["val"]["chars"]


def test_eval_is_one_line_for_people(home):
    (home / "new.txt").write_text("sieben Brücken\n")
    result = charrnn_("eval", "new.txt", cwd=home)
    assert result.stdout.count(b"\n") == 1
    for word in (b"nats/char", b"bits/char", b"perplexity", b"accuracy", b"15 characters"):
        assert word in result.stdout


def test_eval_of_the_corpus_warns_that_it_was_trained_on(home):
    assert b"trained on" in charrnn_("eval", "corpus.txt", cwd=home).stderr
    assert b"trained on" not in charrnn_("eval", "corpus.txt", "--split", "val", cwd=home).stderr


def test_a_split_of_another_text_is_refused(home):
    (home / "new.txt").write_text("sieben Brücken\n")
    one_line(charrnn_("eval", "new.txt", "--split", "val", cwd=home), 2)


def test_eval_of_stdin_is_eval_of_the_file(home):
    (home / "new.txt").write_text("sieben Brücken\n")
    from_file = charrnn_("eval", "new.txt", "--json", cwd=home)
    from_pipe = charrnn_("eval", "-", "--json", cwd=home, stdin="sieben Brücken\n".encode())
    a, b = json.loads(from_file.stdout), json.loads(from_pipe.stdout)
    assert a["nats_per_char"] == b["nats_per_char"]


def test_unknown_characters_are_named_or_left_out(home):
    result = charrnn_("eval", "-", cwd=home, stdin="sieben ☃ 7\n".encode())
    assert "'☃' (U+2603)" in result.stderr.decode() and result.returncode == 1
    result = charrnn_("eval", "-", "--unknown", "skip", "--json", cwd=home,
                      stdin="sieben ☃ 7\n".encode())
    score = json.loads(result.stdout)
    assert (score["chars"], score["unknown_chars"]) == (9, 2)


def test_states_that_overflow_are_an_error_and_no_score(home, tmp_path):
    """A relu unit that doubles what it holds with every character."""
    shutil.copy(home / "corpus.txt", tmp_path)
    charrnn_("train", "corpus.txt", *TINY, "--steps", "2", "--activation", "relu", "-o", "a.npz",
             cwd=tmp_path)
    run = checkpoint.load(tmp_path / "a.npz")
    run.best.b_h[0][:] = 1
    run.best.W_hh[0][:] = 2 * np.eye(len(run.best.W_hh[0]))
    checkpoint.save(tmp_path / "a.npz", run)
    (tmp_path / "line.txt").write_text(TEXT.replace("\n", " ")[:400] + "\n")
    for command in (["eval", "corpus.txt"], ["eval", "corpus.txt", "--dynamic"],
                    ["eval", "line.txt", "--per-line", "--unknown", "skip"],
                    ["sample", "--length", "400"], ["sample", "--temperature", "0"]):
        result = charrnn_(*command, "-m", "a.npz", cwd=tmp_path)
        assert result.returncode == 1, (command, result)
        last = result.stderr.splitlines()[-1]
        assert b"overflow" in last and b"learning-rate" in last, (command, result.stderr)
        assert len(result.stderr.splitlines()) <= 3, result.stderr
        assert b"nan" not in result.stdout


def test_dynamic_evaluation_says_so_and_leaves_the_checkpoint_alone(home, tmp_path):
    run = checkpoint.load(home / "checkpoints/corpus.npz")
    run.last.flat[:] = 0  # the best weights are meant, and these are not they
    path = tmp_path / "a.npz"
    checkpoint.save(path, run)
    before = path.read_bytes()
    args = ["eval", "corpus.txt", "--split", "val", "-m", path]
    fixed = json.loads(charrnn_(*args, "--json", cwd=home).stdout)
    learned = json.loads(charrnn_(*args, "--json", "--dynamic", cwd=home).stdout)
    assert (fixed["dynamic"], learned["dynamic"]) == (False, True)
    assert learned["chars"] == fixed["chars"]
    ids, n = run.vocabulary.encode_text(TEXT), int(len(TEXT) * 0.9)
    before_val = np.concatenate([[run.vocabulary.start], ids[:n]])
    expected = evaluation.total(dynamic.surprisals(run.best, ids[n:], before_val))
    assert learned["nats_per_char"] == pytest.approx(expected.nats_per_char, rel=1e-12)
    assert learned["nats_per_char"] != fixed["nats_per_char"]
    result = charrnn_(*args, "--dynamic", cwd=home)
    assert b"dynamic" in result.stdout and result.stdout.count(b"\n") == 1
    assert path.read_bytes() == before
    one_line(charrnn_("eval", "corpus.txt", "--dynamic", "--per-line", cwd=home), 2)


def test_eval_per_line_is_a_tab_separated_line_for_each(home):
    text = "sieben\n\nmusst du gehn\nJahre"
    result = charrnn_("eval", "-", "--per-line", cwd=home, stdin=text.encode())
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert [row[3] for row in rows] == text.split("\n")
    assert [int(row[1]) for row in rows] == [7, 1, 14, 5]
    for bits, chars, nats, _ in rows:
        assert float(bits) == pytest.approx(float(nats) / int(chars) / math.log(2), abs=2e-4)
    alone = charrnn_("eval", "-", "--json", cwd=home, stdin=b"musst du gehn\n")
    assert float(rows[2][0]) == pytest.approx(json.loads(alone.stdout)["bits_per_char"], abs=1e-4)


def test_sample_writes_the_prime_and_then_as_many_characters_as_asked(home):
    result = charrnn_("sample", "--prime", "sieb", "--length", "50", "--seed", "3", cwd=home)
    text = result.stdout.decode()
    assert text.startswith("sieb") and len(text) == 54
    assert b"seed 3" in result.stderr and b"checkpoints/corpus.npz" in result.stderr
    again = charrnn_("sample", "--prime", "sieb", "--length", "50", "--seed", "3", cwd=home)
    assert again.stdout == result.stdout


def test_the_seed_that_sample_names_repeats_the_sample(home):
    first = charrnn_("sample", "--length", "80", cwd=home)
    seed = first.stderr.decode().split("seed ")[1].split()[0]
    assert charrnn_("sample", "--length", "80", "--seed", seed, cwd=home).stdout == first.stdout


def test_sample_many_is_a_line_each_and_stops_before_the_stop_text(home):
    result = charrnn_("sample", "--count", "4", "--stop", "\n", "--length", "300", cwd=home)
    lines = result.stdout.decode().split("\n")
    assert lines[-1] == "" and len(lines) == 5


def test_sample_primes_from_a_file_and_from_stdin(home):
    (home / "prime.txt").write_text("sieben")
    args = ["sample", "--length", "9", "--seed", "1"]
    from_file = charrnn_(*args, "--prime-file", "prime.txt", cwd=home)
    from_stdin = charrnn_(*args, "--prime-file", "-", cwd=home, stdin=b"sieben")
    from_option = charrnn_(*args, "--prime", "sieben", cwd=home)
    assert from_file.stdout == from_stdin.stdout == from_option.stdout != b""


def test_a_prime_with_unknown_characters_is_refused_or_goes_on_without(home):
    assert "'☃' (U+2603)" in one_line(charrnn_("sample", "--prime", "a☃", cwd=home), 2)
    result = charrnn_("sample", "--prime", "d☃u", "--unknown", "skip", "--length", "1", cwd=home)
    assert result.stdout.decode().startswith("du")


def test_stop_texts_with_unknown_characters_are_refused(home):
    assert "☃" in one_line(charrnn_("sample", "--stop", "☃", cwd=home), 2)


@pytest.mark.parametrize("args", [
    ["sample", "--temperature", "nan"],
    ["sample", "--temperature", "-1"],
    ["sample", "--temperature", "inf"],
    ["sample", "--top-p", "0"],
    ["sample", "--top-p", "nan"],
    ["sample", "--count", "0"],
    ["sample", "--length", "-1"],
    ["sample", "--prime", "a", "--prime-file", "b"],
    ["sample", "-m", "nothing.npz"],
    ["eval", "nothing.txt"],
    ["eval", "corpus.txt", "--per-line", "--split", "val"],
    ["eval"],
    ["train", "nothing.txt"],
    ["train", "-", "-"],
    ["train", "corpus.txt", "-c", "nothing.yaml"],
    ["train", "corpus.txt", "--learning-rate", "0"],
    ["train", "corpus.txt", "--learning-rate", "nan"],
    ["train", "corpus.txt", "--steps", "5", "--epochs", "1"],
    ["train", "corpus.txt", "--no-such-option"],
    ["train", "corpus.txt", "-o", "checkpoints"],
    ["train", "corpus.txt", "-o", "corpus.txt/a.npz"],
    ["train", "corpus.txt", "--hidden-size", "10000000", "-o", "big.npz"],
    ["train", "corpus.txt", "--encoding", "klingon"],
    ["nonsense"],
])
def test_what_is_asked_wrongly_is_one_line_and_exit_2(home, args):
    one_line(charrnn_(*args, cwd=home), 2)


@pytest.mark.parametrize("data", [b"", b"x", b"abc\xff"])
def test_a_bad_text_is_one_line_and_exit_1(tmp_path, data):
    (tmp_path / "bad.txt").write_bytes(data)
    line = one_line(charrnn_("train", "bad.txt", cwd=tmp_path), 1)
    assert ("byte 3" in line and "--encoding" in line) if len(data) == 4 else "at least 2" in line


def test_a_file_that_is_no_checkpoint_is_one_line_and_exit_1(home):
    assert "not a charrnn checkpoint" in one_line(
        charrnn_("sample", "-m", "corpus.txt", cwd=home), 1
    )


def test_without_a_checkpoint_sample_says_what_to_do(tmp_path):
    assert "train one" in one_line(charrnn_("sample", cwd=tmp_path), 2)


def test_the_environment_names_the_checkpoint(home, tmp_path):
    named = {"CHARRNN_CHECKPOINT": str(home / "checkpoints/corpus.npz")}
    result = charrnn_("sample", "--length", "3", cwd=tmp_path, env=named)
    assert result.returncode == 0
    assert b"corpus.npz" in result.stderr


def test_the_newest_checkpoint_is_taken(home, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    content = (home / "checkpoints/corpus.npz").read_bytes()
    for age, name in ((300, "old"), (100, "new"), (200, "middle")):
        path = tmp_path / f"checkpoints/{name}.npz"
        path.write_bytes(content)
        os.utime(path, (time.time() - age,) * 2)
    result = charrnn_("sample", "--length", "3", cwd=tmp_path)
    assert b"checkpoints/new.npz" in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_same_command_continues(tmp_path, number, code):
    (tmp_path / "a.txt").write_text(TEXT)
    command = [*COMMAND, "train", "a.txt", *TINY, "--steps", "400", "--dropout", "0.2", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, env=ENVIRONMENT,
                          stderr=subprocess.PIPE) as process:
        for _ in range(30):
            process.stdout.readline()
        process.send_signal(number)
        process.communicate(timeout=30)
    assert process.returncode == code
    assert (tmp_path / "checkpoints/a.npz").exists()
    args = ["train", "a.txt", *TINY, "--steps", "400", "--dropout", "0.2"]
    result = charrnn_(*args, cwd=tmp_path)
    assert result.returncode == 0 and b"continuing" in result.stderr
    assert charrnn_(*args, "-o", "whole.npz", cwd=tmp_path).returncode == 0
    whole = (tmp_path / "whole.npz").read_bytes()
    assert (tmp_path / "checkpoints/a.npz").read_bytes() == whole


def test_two_runs_on_one_checkpoint_are_kept_apart(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    command = [*COMMAND, "train", "a.txt", *TINY, "--steps", "100000", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, env=ENVIRONMENT,
                          stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        result = charrnn_("train", "a.txt", *TINY, "--steps", "100000", cwd=tmp_path)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert f"process {process.pid}" in one_line(result, 1)
    assert process.returncode == 143


def test_sample_into_head_is_quiet(home):
    pipeline = f"{' '.join(COMMAND)} sample --length 100000 --seed 1 | head -c 10"
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {pipeline}"], cwd=home,
                            capture_output=True, timeout=60, env=ENVIRONMENT)
    assert (result.returncode, len(result.stdout)) == (0, 10)
    assert result.stderr.count(b"\n") == 1 and b"seed" in result.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line(home):
    for args in (["eval", "corpus.txt", "--split", "val"], ["sample"], ["train", "--help"]):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([*COMMAND, *args], cwd=home, stdout=full, timeout=60,
                                    stderr=subprocess.PIPE, env=ENVIRONMENT)
        assert result.returncode == 1
        assert result.stderr.decode().splitlines()[-1].startswith("charrnn: standard output")
        assert b"Traceback" not in result.stderr


def test_a_closed_stdout_is_one_line(home):
    result = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} sample >&-"], cwd=home,
                            capture_output=True, timeout=60, env=ENVIRONMENT)
    assert result.returncode == 1
    assert b"standard output is closed" in result.stderr


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
                                    {"LC_ALL": "C"}])
def test_text_is_utf8_whatever_the_locale(home, locale):
    result = charrnn_("sample", "--prime", "Ü", "--length", "0", cwd=home, env=locale)
    assert result.stdout == "Ü".encode()
    result = charrnn_("sample", "--prime", "☃", cwd=home, env=locale)
    one_line(result, 2)


def test_a_config_file_is_overridden_by_options(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "c.yaml").write_text("hidden_size: 5\nlayers: 1\nepochs: 1\n")
    result = charrnn_("train", "a.txt", "-c", "c.yaml", "--hidden-size", "7", "--steps", "3",
                      "--json", cwd=tmp_path)
    start = json.loads(result.stdout.splitlines()[0])
    assert start["steps"] == 3
    assert (start["settings"]["hidden_size"], start["settings"]["layers"]) == (7, 1)


def test_blas_is_held_to_one_thread_and_charrnn_takes_what_is_named(home, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT * 5)
    code = (
        "import os, sys; from charrnn.__main__ import main\n"
        "sys.argv = ['charrnn', 'train', 'a.txt', '--steps', '3', '--threads', '3', '--quiet']\n"
        "try: main()\nexcept SystemExit: print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                            text=True, timeout=60, env=ENVIRONMENT)
    assert result.stdout.strip() == "1", result.stderr
    with np.load(tmp_path / "checkpoints/a.npz") as file:
        assert json.loads(file["meta"].tobytes())["threads"] == 3


def test_every_command_has_help_and_every_setting_an_option(home):
    assert charrnn.__version__ in charrnn_("--version", cwd=home).stdout.decode()
    for command in ([], ["train"], ["sample"], ["eval"]):
        result = charrnn_(*command, "--help", cwd=home)
        assert result.returncode == 0 and len(result.stdout) > 200
    text = charrnn_("train", "--help", cwd=home).stdout.decode()
    for key, field in config.FIELDS.items():
        assert config.option(key) in text
        assert field.metadata["group"] + ":" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_there(home, shell):
    script = charrnn_(cwd=home, env={"_CHARRNN_COMPLETE": f"{shell}_source"})
    assert b"_CHARRNN_COMPLETE" in script.stdout
    words = {"COMP_WORDS": "charrnn train --opti", "COMP_CWORD": "2"}
    if shell == "fish":
        words = {"COMP_WORDS": "charrnn train --opti", "COMP_CWORD": "--opti"}
    offered = charrnn_(cwd=home, env={"_CHARRNN_COMPLETE": f"{shell}_complete"} | words)
    assert b"--optimizer" in offered.stdout
    words["COMP_WORDS"] = "charrnn train --optimizer a"
    words["COMP_CWORD"] = "a" if shell == "fish" else "3"
    offered = charrnn_(cwd=home, env={"_CHARRNN_COMPLETE": f"{shell}_complete"} | words)
    assert b"adagrad" in offered.stdout and b"sgd" not in offered.stdout


def test_without_a_command_the_help_is_shown(home):
    result = charrnn_(cwd=home)
    assert result.returncode == 2
    assert result.stderr.decode().startswith("Usage: charrnn") and result.stderr.count(b"\n") > 10


def test_a_refused_run_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    charrnn_("train", "missing.txt", cwd=tmp_path)
    charrnn_("train", "a.txt", "--hidden-size", "10000000", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_the_text_is_read_ends_at_once(tmp_path, number, code):
    with subprocess.Popen([*COMMAND, "train", "-"], cwd=tmp_path, stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        lock = tmp_path / "checkpoints/.stdin.npz.lock"
        deadline = time.monotonic() + 20
        while not lock.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)  # from the lock to the reading
        process.send_signal(number)
        assert process.wait(timeout=10) == code
        assert process.stderr.read().count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_sample_of_any_length_streams(home):
    args = f"sample --length 100000000000000 --seed 1 -m {home}/checkpoints/corpus.npz"
    result = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} {args} | head -c 5"],
                            capture_output=True, timeout=60, env=ENVIRONMENT)
    assert len(result.stdout) == 5


def test_closed_stderr_puts_nothing_on_stdout(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    command = f"{' '.join(COMMAND)} train a.txt {' '.join(TINY)} --steps 3 --json 2>&-"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True,
                            timeout=60, env=ENVIRONMENT)
    assert result.returncode == 0
    assert all(json.loads(line)["event"] for line in result.stdout.splitlines())


def test_debug_shows_the_traceback_of_an_error(home):
    result = charrnn_("--debug", "eval", "nothing.txt", cwd=home)
    assert b"Traceback" in result.stderr and result.returncode == 2


def test_the_checkpoint_is_read_by_numpy_alone(home):
    with np.load(home / "checkpoints/corpus.npz", allow_pickle=False) as file:
        meta = json.loads(file["meta"].tobytes())
        assert meta["settings"]["hidden_size"] == 8
        assert file["W_hh0"].shape == (8, 8)


def test_baselines_are_a_table_with_the_model_below_and_json_with_the_same_figures(home):
    result = charrnn_("eval", "corpus.txt", "--split", "val", "--baselines", cwd=home)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.decode().splitlines()
    names = [line.split()[0] for line in lines[2:-1]]
    assert names == ["uniform", *(f"{k}-gram" for k in range(1, 9)), "lzma", "corpus"]
    table = {line.split()[0]: float(line.split()[1]) for line in lines[2:-1]}
    assert table["uniform"] == pytest.approx(math.log(len(set(TEXT))), abs=1e-4)
    assert table["1-gram"] > table["8-gram"]
    result = charrnn_("eval", "corpus.txt", "--split", "val", "--baselines", "--json", cwd=home)
    found = json.loads(result.stdout)
    for name, nats in found["baselines"].items():
        assert table[name] == pytest.approx(nats, abs=6e-5)
    assert table["corpus"] == pytest.approx(found["nats_per_char"], abs=6e-5)


def test_baselines_of_another_text_ask_for_the_training_text(home):
    (home / "other.txt").write_text("sieben dunkle Jahre\n" * 9)
    asked = ["eval", "other.txt", "--baselines"]
    assert "--train-text" in one_line(charrnn_(*asked, cwd=home), 2)
    result = charrnn_(*asked, "--train-text", "corpus.txt", cwd=home)
    assert result.returncode == 0 and b"8-gram" in result.stdout
    assert b"not the text" not in result.stderr
    result = charrnn_(*asked, "--train-text", "other.txt", cwd=home)
    assert b"other.txt is not the text that the model was trained on" in result.stderr
    assert "is for --baselines" in one_line(
        charrnn_("eval", "other.txt", "--train-text", "corpus.txt", cwd=home), 2)


def test_surprisal_in_a_pipe_is_a_row_for_each_character_that_adds_up_to_the_score(home):
    result = charrnn_("eval", "corpus.txt", "--split", "val", "--surprisal", cwd=home)
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    score = json.loads(charrnn_("eval", "corpus.txt", "--split", "val", "--json", cwd=home).stdout)
    assert len(rows) == score["chars"]
    mean = sum(float(bits) for bits, _, _ in rows) / len(rows)
    assert mean == pytest.approx(score["bits_per_char"], abs=1e-4)
    assert sum(hit == "1" for _, hit, _ in rows) / len(rows) == pytest.approx(score["accuracy"])
    shown = "".join(symbol for _, _, symbol in rows).replace("\\n", "\n")
    assert shown == TEXT[len(TEXT) - len(rows) :]
    assert "goes with" in one_line(
        charrnn_("eval", "corpus.txt", "--surprisal", "--json", cwd=home), 2)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("environment", "colours"), [
    ({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ({"TERM": "dumb"}, False),
])
def test_surprisal_on_a_terminal_is_the_coloured_text(home, environment, colours):
    import pty

    (home / "short.txt").write_text("sieben\n")
    master, slave = pty.openpty()
    env = {k: v for k, v in ENVIRONMENT.items() if k != "NO_COLOR"} | environment
    subprocess.run([*COMMAND, "eval", "short.txt", "--surprisal"], cwd=home, stdout=slave,
                   stderr=subprocess.DEVNULL, env=env, check=True, timeout=60)
    os.close(slave)
    shown = os.read(master, 10_000).decode()
    os.close(master)
    assert ("\x1b[38;5;" in shown) == colours
    assert ("\t" in shown) != colours


def test_what_a_sample_copies_is_said_on_standard_error(home):
    result = charrnn_("sample", "--length", "300", "--count", "2", "--temperature", "0.3",
                      "--novelty", "corpus.txt", cwd=home)
    assert result.returncode == 0
    said = result.stderr.decode().splitlines()[1:]
    assert len(said) == 2
    assert said[0].startswith("sample 1: the longest passage that stands in corpus.txt has ")
    assert "of its windows of 20 characters" in said[1] and " of 281 do" in said[1]
    assert b"windows" not in result.stdout


def test_that_only_the_end_of_a_long_text_is_counted_is_said(home, monkeypatch, capsys):
    from charrnn import ngram
    from charrnn.cli import cli

    monkeypatch.setattr(ngram, "LARGEST", 1000)
    monkeypatch.chdir(home)
    arguments = ["eval", "corpus.txt", "--split", "val", "--baselines", "-m",
                 "checkpoints/corpus.npz"]
    cli.main(arguments, standalone_mode=False)
    said = capsys.readouterr().err
    assert "the baselines count the last 1,000" in said


def test_a_report_is_one_file_and_replaces_nothing_it_is_made_from(home):
    result = charrnn_("report", "corpus.txt", "-o", "page.html", cwd=home)
    assert result.returncode == 0 and result.stdout == b""
    assert b"page.html: " in result.stderr
    html = (home / "page.html").read_text(encoding="utf-8")
    assert "The held-out part of corpus.txt" in html and "7-gram" in html
    result = charrnn_("report", "-o", "own.html", cwd=home)
    assert result.returncode == 0
    assert "the model wrote itself" in (home / "own.html").read_text(encoding="utf-8")
    for args in (["corpus.txt", "-o", "corpus.txt"], ["-o", "checkpoints/corpus.npz"], ["-o", "."]):
        before = (home / "corpus.txt").read_bytes()
        one_line(charrnn_("report", *args, cwd=home), 2)
        assert (home / "corpus.txt").read_bytes() == before
    (home / "notes.txt").write_text("not to be lost")
    assert "is no page" in one_line(charrnn_("report", "-o", "notes.txt", cwd=home), 2)
    assert (home / "notes.txt").read_text() == "not to be lost"
    assert charrnn_("report", "-o", "own.html", cwd=home).returncode == 0  # a page may be renewed
    (home / "nothing.txt").write_text("")
    assert "nothing to look at" in one_line(charrnn_("report", "nothing.txt", cwd=home), 1)
    assert "cannot be written" in one_line(
        charrnn_("report", "-o", "no/such/folder.html", cwd=home), 1)


def test_a_file_to_validate_on_is_no_split_of_the_corpus(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text(TEXT[:500])
    assert charrnn_("train", "a.txt", "--val", "b.txt", *TINY, "--steps", "3", "-o", "a.npz",
                    cwd=tmp_path).returncode == 0
    asked = ["eval", "a.txt", "-m", "a.npz", "--json", "--split"]
    assert "file of its own" in one_line(charrnn_(*asked, "val", cwd=tmp_path), 2)
    whole = charrnn_(*asked, "train", cwd=tmp_path)
    assert json.loads(whole.stdout)["chars"] == len(TEXT)


@pytest.mark.parametrize(("raised", "code", "words"), [
    (KeyboardInterrupt(), 130, ""),
    (MemoryError(), 1, "charrnn: there is not enough memory for this"),
    (OSError(5, "Input/output error", "a.txt"), 1, "charrnn: a.txt: Input/output error"),
    (ZeroDivisionError("by\nnothing"), 1, "a mistake in charrnn, ZeroDivisionError: by nothing;"),
])
def test_whatever_is_raised_becomes_one_line_and_an_exit_code(monkeypatch, capsys, raised, code,
                                                              words):
    from charrnn import __main__ as program

    def fail(**_):
        raise raised

    monkeypatch.setattr(program.cli, "main", fail)
    monkeypatch.setattr(program, "silence_stdout", lambda: None)
    monkeypatch.setattr(sys, "argv", ["charrnn", "eval"])
    with pytest.raises(SystemExit) as caught:
        program.main()
    said = capsys.readouterr().err
    assert caught.value.code == code
    assert words in said and said.count("\n") == (1 if words else 0)


def test_a_report_on_a_run_with_nothing_held_out_shows_what_was_learned_from(home, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    assert charrnn_("train", "a.txt", *TINY, "--steps", "3", "--val-fraction", "0", "-o", "a.npz",
                    cwd=tmp_path).returncode == 0
    result = charrnn_("report", "a.txt", "-m", "a.npz", cwd=tmp_path)
    assert result.returncode == 0, result
    assert "nothing was held out" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_names_that_are_no_text_do_not_stop_a_report_or_a_table(tmp_path):
    name = os.fsdecode(b"b\xff.txt")
    (tmp_path / name).write_text(TEXT)
    model = os.fsdecode(b"m\xff.npz")
    assert charrnn_("train", name, *TINY, "--steps", "3", "-o", model, cwd=tmp_path).returncode == 0
    for command in (["report", name], ["report"], ["eval", name, "--split", "val", "--baselines"]):
        result = charrnn_(*command, "-m", model, cwd=tmp_path)
        assert result.returncode == 0, result


def test_a_report_on_states_that_overflow_is_one_line(home, tmp_path):
    run = checkpoint.load(home / "checkpoints/corpus.npz")
    run.settings["activation"] = "relu"
    for W in run.best.W_hh:
        W[:] = 4 * np.eye(len(W))
    checkpoint.save(tmp_path / "a.npz", run)
    result = charrnn_("report", str(home / "corpus.txt"), "-m", "a.npz", cwd=tmp_path)
    assert "overflow" in one_line(result, 1)


def test_a_text_to_compare_with_is_read_before_anything_is_written(home):
    one_line(charrnn_("sample", "--novelty", "missing.txt", cwd=home), 2)
    one_line(charrnn_("sample", "--novelty", "-", "--prime-file", "-", cwd=home), 2)
    for wrong in (["--per-line"], ["--dynamic"]):
        one_line(charrnn_("eval", "corpus.txt", "--baselines", "--train-text", "corpus.txt", *wrong,
                          cwd=home), 2)
