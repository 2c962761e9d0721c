"""``charrnn train``: what it says, refuses and leaves behind; signals; dry runs; JSON events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import COMMAND, ENVIRONMENT, TEXT, TINY, one_line, run_charrnn, shell

from charrnn.config.settings import FIELDS


def test_train_describes_its_text_and_its_result(home):
    said = (home / "trained.txt").read_text()
    assert f"{len(TEXT):,} characters, {len(set(TEXT))} distinct" in said
    assert "parameters" in said
    assert "hidden_size 8" in said
    assert "bits/char" in said
    assert "charrnn sample -m checkpoints/corpus.npz" in said
    assert "\r" not in said, "no bar where there is no terminal"
    assert (home / "checkpoints/corpus.npz").exists()
    assert sorted(path.name for path in (home / "checkpoints").iterdir()) == ["corpus.npz"]


def test_train_again_prints_already_trained(home):
    result = run_charrnn("train", "corpus.txt", *TINY, "--steps", "60", cwd=home)
    assert result.returncode == 0
    assert b"already trained" in result.stderr


def test_train_with_other_settings_is_refused(home):
    result = run_charrnn("train", "corpus.txt", *TINY, "--steps", "60", "--seed", "9", cwd=home)
    assert "seed 1 (default) there, 9 now" in one_line(result, 2)


def test_a_dry_run_prints_what_would_be_done_and_does_nothing(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    result = run_charrnn("train", "a.txt", "--dry-run", cwd=tmp_path)
    assert result.returncode == 0
    assert b"distinct" in result.stderr
    assert b"steps (30 epochs)" in result.stderr
    chosen = run_charrnn("train", "a.txt", "--dry-run", "--steps", "50", "--json", cwd=tmp_path)
    assert json.loads(chosen.stdout)["steps"] == 50
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_dry_run_prints_how_a_run_would_resume(home):
    again = run_charrnn("train", "corpus.txt", *TINY, "--steps", "60", "--dry-run", cwd=home)
    assert b"already trained: 60 steps are done" in again.stderr
    longer = run_charrnn("train", "corpus.txt", *TINY, "--steps", "90", "--dry-run", cwd=home)
    assert b"would resume after step 60" in longer.stderr


def test_train_json_is_one_object_per_event(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    result = run_charrnn("train", "a.txt", *TINY, "--steps", "10", "--sample-every", "5", "--json",
                         "--quiet", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "start" and kinds[-1] == "end" and kinds.count("step") == 10
    assert set(kinds) == {"start", "step", "eval", "sample", "save", "end"}
    for event in events:
        assert event["steps"] == 10
        assert {"step", "epoch", "elapsed_seconds"} <= set(event)
    step = events[kinds.index("step")]
    assert {"nats_per_char", "bits_per_char", "grad_norm", "learning_rate",
            "chars_per_second"} <= set(step)
    assert events[-1]["best_nats_per_char"] == events[kinds.index("eval")]["nats_per_char"]


@pytest.mark.parametrize(("every", "steps"), [(1, [*range(1, 11)]), (4, [4, 8]), (0, [])])
def test_json_every_prints_fewer_steps_and_all_other_events(tmp_path, every, steps):
    (tmp_path / "a.txt").write_text(TEXT)
    result = run_charrnn("train", "a.txt", *TINY, "--steps", "10", "--eval-every", "5", "--json",
                         "--json-every", every, "--quiet", cwd=tmp_path)
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["step"] for event in events if event["event"] == "step"] == steps
    assert [event["event"] for event in events if event["event"] != "step"] == [
        "start", *["eval", "sample", "save"] * 2, "end"]


def test_json_every_without_json_is_refused(tmp_path):
    assert "only with --json" in one_line(
        run_charrnn("train", "a.txt", "--json-every", "5", cwd=tmp_path), 2)


@pytest.mark.parametrize("data", [b"", b"x", b"abc\xff"])
def test_a_bad_text_is_one_line_and_exit_1(tmp_path, data):
    (tmp_path / "bad.txt").write_bytes(data)
    line = one_line(run_charrnn("train", "bad.txt", cwd=tmp_path), 1)
    assert ("byte 3" in line and "--encoding" in line) if len(data) == 4 else "at least 2" in line


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
SIGNALS += [(signal.SIGHUP, 129)] if hasattr(signal, "SIGHUP") else []


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_saves_and_the_same_command_resumes(tmp_path, number, code):
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
    result = run_charrnn(*args, cwd=tmp_path)
    assert result.returncode == 0 and b"resumed after step" in result.stderr
    assert run_charrnn(*args, "-o", "whole.npz", cwd=tmp_path).returncode == 0
    whole = (tmp_path / "whole.npz").read_bytes()
    assert (tmp_path / "checkpoints/a.npz").read_bytes() == whole


POSIX = pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX")
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")


def in_a_terminal_that_closes(folder, steps, ignoring):
    """The exit code of a run whose terminal closes once it shows its bar."""
    master, slave = os.openpty()
    command = [*COMMAND, "train", "a.txt", *TINY, "--steps", str(steps)]
    code = (f"import fcntl, os, signal, sys, termios\nos.setsid()\n"
            f"signal.signal(signal.SIGHUP, signal.SIG_{'IGN' if ignoring else 'DFL'})\n"
            "fcntl.ioctl(2, termios.TIOCSCTTY, 0)\nos.execv(sys.argv[1], sys.argv[1:])")
    with subprocess.Popen([sys.executable, "-c", code, *command], cwd=folder, stdin=slave,
                          stdout=slave, stderr=slave, env=ENVIRONMENT) as process:
        os.close(slave)
        shown = b""
        while b" left" not in shown:  # the bar
            shown += os.read(master, 1000)
        os.close(master)  # the kernel sends HUP, and so does a shell
        process.send_signal(signal.SIGHUP)
        return process.wait(timeout=30)


@POSIX
def test_a_run_whose_terminal_closes_is_saved(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    assert in_a_terminal_that_closes(tmp_path, 1_000_000, ignoring=False) == 129
    result = run_charrnn("train", "a.txt", *TINY, "--steps", "1000000", "--dry-run", cwd=tmp_path)
    assert b"would resume after step" in result.stderr


@POSIX
def test_a_run_that_ignores_hup_trains_to_its_end(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    assert in_a_terminal_that_closes(tmp_path, 2000, ignoring=True) == 0
    result = run_charrnn("train", "a.txt", *TINY, "--steps", "2000", cwd=tmp_path)
    assert b"already trained: 2,000 steps are done" in result.stderr


@POSIX
def test_under_nohup_a_run_outlives_its_terminal(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    command = ["nohup", *COMMAND, "train", "a.txt", *TINY, "--steps", "300", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, env=ENVIRONMENT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for _ in range(30):
            process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(out.splitlines()[-1])["reason"] == "done"


def result_of(folder):
    """The bytes of the checkpoint that a command made in a folder."""
    return (folder / "checkpoints/a.npz").read_bytes()


TRAIN = f"charrnn train a.txt {' '.join(TINY)} --steps 40"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The checkpoint of a run whose streams are read to their ends."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "a.txt").write_text(TEXT)
    assert shell(TRAIN, cwd=folder).returncode == 0
    return result_of(folder)


def test_a_run_continues_when_the_reader_of_its_events_is_gone(tmp_path, undisturbed):
    (tmp_path / "a.txt").write_text(TEXT)
    result = shell(f"{TRAIN} --json | head -1", cwd=tmp_path)
    assert result.returncode == 0
    assert [json.loads(line)["event"] for line in result.stdout.splitlines()] == ["start"]
    assert result.stderr.count(b"standard output has closed it; the run continues") == 1
    assert b"done: 40 steps" in result.stderr
    assert result_of(tmp_path) == undisturbed


@FULL
@pytest.mark.parametrize("quiet", ["", "--quiet"])
@pytest.mark.parametrize(("to", "words"), [
    (">/dev/full", "standard output: No space left on device"),
    (">&-", "standard output is closed"),
])
def test_a_run_whose_events_cannot_be_written_is_saved_and_exits_1(tmp_path, undisturbed, to,
                                                                   words, quiet):
    (tmp_path / "a.txt").write_text(TEXT)
    result = shell(f"{TRAIN} --json {quiet} {to}", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.decode().splitlines()[-1] == f"charrnn: {words}"
    assert result.stderr.count(words.encode()) == (1 if quiet else 2)
    assert result_of(tmp_path) == undisturbed


@FULL
@pytest.mark.parametrize("to", ["2>/dev/full", "2>&-", "2> >(head -1)"])
def test_a_run_does_not_need_standard_error(tmp_path, undisturbed, to):
    (tmp_path / "a.txt").write_text(TEXT)
    assert shell(f"{TRAIN} {to}", cwd=tmp_path).returncode == 0
    assert result_of(tmp_path) == undisturbed


@FULL
def test_the_output_of_a_dry_run_must_be_writable(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    result = shell(f"{TRAIN} --json --dry-run >/dev/full", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.decode().splitlines()[-1] == (
        "charrnn: standard output: No space left on device")
    assert shell(f"{TRAIN} --json --quiet --dry-run | true", cwd=tmp_path).returncode == 0


def test_two_runs_on_one_checkpoint_are_kept_apart(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    command = [*COMMAND, "train", "a.txt", *TINY, "--steps", "100000", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, env=ENVIRONMENT,
                          stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        result = run_charrnn("train", "a.txt", *TINY, "--steps", "100000", cwd=tmp_path)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert f"process {process.pid}" in one_line(result, 1)
    assert process.returncode == 143


def test_a_config_file_is_overridden_by_options(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "c.yaml").write_text("hidden_size: 5\nlayers: 1\nepochs: 1\n")
    result = run_charrnn("train", "a.txt", "-c", "c.yaml", "--hidden-size", "7", "--steps", "3",
                         "--json", cwd=tmp_path)
    start = json.loads(result.stdout.splitlines()[0])
    assert start["steps"] == 3
    assert (start["settings"]["hidden_size"], start["settings"]["layers"]) == (7, 1)


def test_blas_has_one_thread_and_charrnn_the_requested_number(home, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT * 5)
    code = (
        "import os, sys; from charrnn.cli.main import main\n"
        "sys.argv = ['charrnn', 'train', 'a.txt', '--steps', '3', '--threads', '3', '--quiet']\n"
        "try: main()\nexcept SystemExit: print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                            text=True, timeout=60, env=ENVIRONMENT | {"OPENBLAS_NUM_THREADS": "2"})
    assert result.stdout.strip() == "1", result.stderr
    with np.load(tmp_path / "checkpoints/a.npz") as file:
        assert json.loads(file["meta"].tobytes())["threads"] == 3


def test_a_refused_run_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    run_charrnn("train", "missing.txt", cwd=tmp_path)
    run_charrnn("train", "a.txt", "--hidden-size", "10000000", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
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


def test_the_checkpoint_is_read_by_numpy_alone(home):
    with np.load(home / "checkpoints/corpus.npz", allow_pickle=False) as file:
        meta = json.loads(file["meta"].tobytes())
        assert meta["settings"]["hidden_size"] == 8
        assert file["W_hh0"].shape == (8, 8)


def test_a_folder_given_with_out_gets_the_checkpoint(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    command = ["train", "a.txt", *TINY, "--steps", "3", "-q", "-o"]
    for _ in range(2):  # the second time the folder exists
        result = run_charrnn(*command, "new/runs/", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, b"")
    assert run_charrnn(*command, "new/runs", cwd=tmp_path).returncode == 0
    assert [path.name for path in (tmp_path / "new").rglob("*")] == ["runs", "a.npz"]
    sample = ["sample", "--length", "5", "-m", "new/runs/a.npz"]
    assert run_charrnn(*sample, cwd=tmp_path).returncode == 0


def test_a_new_checkpoint_named_without_an_ending_gets_npz_and_an_old_one_resumes(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    command = ["train", "a.txt", *TINY, "--steps", "3", "-o", "model"]
    assert run_charrnn(*command, cwd=tmp_path).returncode == 0
    assert b"already trained" in run_charrnn(*command, cwd=tmp_path).stderr
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "model.npz"}
    (tmp_path / "model.npz").rename(tmp_path / "model")  # as earlier versions wrote it
    assert b"already trained" in run_charrnn(*command, cwd=tmp_path).stderr
    sample = ["sample", "--length", "5", "-m", "model"]
    assert run_charrnn(*sample, cwd=tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "model"}


def test_a_refused_run_shows_how_to_start_from_the_weights(home):
    result = run_charrnn("train", "corpus.txt", *TINY, "--steps", "60", "--learning-rate", "1e-4",
                         cwd=home)
    line = one_line(result, 2)
    assert "(learning_rate 0.004 (default) there, 0.0001 now)" in line
    assert "(and --init-from checkpoints/corpus.npz to start from its weights)" in line


def test_a_config_with_a_setting_of_another_program_is_refused_with_a_hint(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "c.yaml").write_text("rnn_size: 5\n")
    result = run_charrnn("train", "a.txt", "-c", "c.yaml", cwd=tmp_path)
    assert "'rnn_size' is not a setting; did you mean hidden_size?" in one_line(result, 2)


def test_the_help_of_every_setting_is_short(tmp_path):
    result = run_charrnn("train", "--help", cwd=tmp_path, env={"COLUMNS": "80"})
    lines = result.stdout.decode().splitlines()
    assert max(map(len, lines)) <= 80
    for field in FIELDS.values():
        assert len(field.metadata["help"]) + len(field.metadata["rule"]) <= 120, field.name


def test_output_of_charrnn_next_to_the_text_does_not_become_part_of_it(tmp_path):
    """The second run reads the same text as the first, or it would not resume."""
    (tmp_path / "a.txt").write_text(TEXT)
    train = f"charrnn train . {' '.join(TINY)} --steps 2 -o run.npz"
    commands = [
        f"(echo nohup: ignoring input; date; {train}) > run.log 2>&1",
        "charrnn sample -m run.npz --length 9 --json > sample.json",
        "charrnn eval -m run.npz a.txt --json > eval.json",
        "charrnn eval -m run.npz a.txt --json --per-line > lines.json",
        "charrnn info run.npz --json > info.json",
        f"{train.replace('run.npz', '../other.npz')} --json > train.json",
        f"{train} --json > again.json",
    ]
    result = shell(" && ".join(commands), tmp_path)
    assert result.returncode == 0, result
    names = ["eval.json", "info.json", "lines.json", "run.log", "sample.json", "train.json"]
    start = json.loads((tmp_path / "again.json").read_text().splitlines()[0])
    assert start["chars"] == len(TEXT) and start["step"] == 2
    assert "not read, because written by charrnn: ./eval.json, " in str(start["notes"])
    for name in names:
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / name).rename(tmp_path / "texts" / name)
    result = run_charrnn("train", "texts", "--dry-run", cwd=tmp_path)
    assert "texts is a folder without files to read" in one_line(result, 2)
