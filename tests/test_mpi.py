"""Processes that train together under mpiexec: started, stopped, killed and misused."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charrnn.storage import checkpoint
from charrnn.system import machine

MPIEXEC = Path(sys.executable).with_name("mpiexec")

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(not MPIEXEC.exists() or importlib.util.find_spec("mpi4py") is None,
                       reason="mpi4py or mpiexec is not installed beside Python"),
]

TEXT = "Wer reitet so spät durch Nacht und Wind? Es ist der Vater mit seinem Kind.\n" * 80
PYTHON = [sys.executable, "-W", "error"]
COMMAND = [*PYTHON, "-m", "charrnn"]
ENVIRONMENT = {key: value for key, value in os.environ.items()
               if not key.startswith(("PMI_", "OMPI_", "SLURM_"))} | {"OPENBLAS_NUM_THREADS": "1"}
TINY = ["train", "a.txt", "-o", "a.npz", "--hidden-size", "8", "--layers", "1", "--batch-size",
        "32", "--seq-length", "16", "--dropout", "0.1", "--eval-every", "20", "--quiet"]
SAME = [*TINY, "--steps", "60", "--save-every", "10", "--deterministic"]
LONG = [*TINY, "--steps", "1000000", "--eval-every", "1000000", "--save-every", "1000000"]
SOON = 10  # seconds within which a job must end

# charrnn, except that the process WHO does something before it computes a step.
CHANGED = """
import os, signal, sys
from charrnn.cli.main import main
from charrnn.training.step import TrainingStep
update = TrainingStep.update
def changed(self, params, moments, state, step, steps):
    if step == 25 and self.run.processes.rank == int(os.environ["WHO"]):
        {}
    return update(self, params, moments, state, step, steps)
TrainingStep.update = changed
main()
"""


def started(size, command):
    """The command line that starts ``size`` processes."""
    return [*map(str, [MPIEXEC, "-n", size] if size else []), *map(str, command)]


def mpi(size, args, cwd, command=COMMAND, **env):
    """Run charrnn in ``size`` processes, or without a launcher if that is 0."""
    return subprocess.run(started(size, [*command, *args]), cwd=cwd, capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=60, env=ENVIRONMENT | env)


def changed(size, who, what, args, cwd):
    """Run charrnn with process ``who`` doing ``what``; the job must end within SOON seconds."""
    begin = time.monotonic()
    result = mpi(size, args, cwd, [*PYTHON, "-c", CHANGED.format(what)], WHO=str(who))
    assert time.monotonic() - begin < SOON
    return result


def background(size, args, cwd):
    return subprocess.Popen(started(size, [*COMMAND, *args, "--json"]), cwd=cwd,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=ENVIRONMENT)


def until(process, kind, count=1):
    """Read the events of a run up to the ``count``-th of a kind, and return that one."""
    for line in process.stdout:
        event = json.loads(line)
        count -= event["event"] == kind
        if count == 0:
            return event
    raise AssertionError(process.communicate())


def ended(process):
    """Wait for a run that was told to stop; returns its standard error, at most one line."""
    printed = process.communicate(timeout=SOON)[1].decode()
    assert printed.count("\n") <= 1, printed
    return printed


def one_line(result, code):
    line = result.stderr.decode()
    assert result.returncode == code, result
    assert line.count("\n") == 1 and line.startswith("charrnn"), line
    assert result.stdout == b""
    return line


def events(result):
    assert (result.returncode, result.stderr) == (0, b""), result
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The file of a deterministic run of a single process."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "a.txt").write_text(TEXT, encoding="utf-8")
    assert mpi(0, SAME, folder).returncode == 0
    return (folder / "a.npz").read_bytes()


def finishes(folder, size, whole):
    """The same command resumes the run, and ends with the bytes of an uninterrupted run."""
    result = mpi(size, SAME, folder)
    assert result.returncode == 0, result
    assert (folder / "a.npz").read_bytes() == whole


def test_any_number_of_processes_trains_the_same_model_and_prints_once(folder):
    found = {}
    for size in (0, 1, 2, 4):
        args = [*TINY, "--steps", "20", "--json", "--overwrite"]
        found[size] = events(mpi(size, args, folder))
        kinds = [event["event"] for event in found[size]]
        assert kinds == ["start", *["step"] * 20, "eval", "sample", "save", "end"]
        assert found[size][0]["processes"] == max(1, size)
        assert checkpoint.load(folder / "a.npz").processes == max(1, size)
    for size in (1, 2, 4):
        for event, alone in zip(found[size][1:22], found[0][1:22], strict=True):
            assert event["nats_per_char"] == pytest.approx(alone["nats_per_char"], rel=1e-4)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_deterministic_run_is_the_same_file_on_any_number_of_processes(folder, whole, size):
    finishes(folder, size, whole)
    assert sorted(path.name for path in folder.iterdir()) == ["a.npz", "a.txt"]


def test_every_line_for_people_is_printed_once(folder):
    result = mpi(4, [*TINY[:-1], "--steps", "5"], folder)
    printed = result.stderr.decode()
    assert (result.returncode, result.stdout) == (0, b"")
    assert "4 processes of 1 thread" in printed
    for once in ("distinct", "parameters", "done: 5 steps", "checkpoint: a.npz"):
        assert printed.count(once) == 1


@pytest.mark.parametrize(("size", "who"), [(2, 0), (2, 1), (4, 3)])
def test_a_killed_process_ends_the_job_and_the_last_save_resumes(
    folder, whole, size, who
):
    result = changed(size, who, "os.kill(os.getpid(), signal.SIGKILL)", SAME, folder)
    assert result.returncode != 0
    assert checkpoint.load(folder / "a.npz").progress.step == 20
    finishes(folder, 2, whole)


def test_a_process_that_exits_ends_the_job(folder, whole):
    assert changed(2, 1, "os._exit(3)", SAME, folder).returncode != 0
    assert checkpoint.load(folder / "a.npz").progress.step == 20
    finishes(folder, 4, whole)


@pytest.mark.parametrize(("size", "who"), [(2, 0), (4, 2)])
def test_a_process_that_raises_ends_the_job_with_one_line(folder, whole, size, who):
    line = one_line(changed(size, who, "1 / 0", SAME, folder), 1)
    assert "internal error, ZeroDivisionError" in line
    assert ("(process 2 of 4)" in line) == (who > 0)
    assert checkpoint.load(folder / "a.npz").progress.step == 20
    finishes(folder, 1, whole)


def test_a_process_that_failed_ends_the_job_even_if_it_is_interrupted(folder):
    what = ("import threading; "
            "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start(); 1 / 0")
    assert "ZeroDivisionError" in one_line(changed(2, 1, what, SAME, folder), 1)


def test_while_the_first_process_is_stuck_another_one_prints_the_error(folder):
    stuck = """
import os
import shlex
from charrnn.cli.main import main
from charrnn.training import prepare
original = prepare._prepare
def changed(request, processes):
    if processes.is_first:
        return original(request, processes)
    raise SystemExit(143)
prepare._prepare = changed
main()
"""
    result = mpi(4, TINY, folder, [*PYTHON, "-c", stuck])
    assert result.returncode == 143
    assert result.stderr.decode() == (
        "stopped before the first step: there was nothing to save (process 1 of 4)\n")


def test_an_error_of_all_processes_is_printed_once(folder):
    diverging = ["--optimizer", "sgd", "--activation", "relu", "--learning-rate", "100",
                 "--warmup", "0", "--clip-norm", "0", "--schedule", "constant", "--steps", "300"]
    assert "training diverged at step" in one_line(mpi(2, [*TINY, *diverging], folder), 1)


@pytest.mark.parametrize(("number", "code", "size", "then"), [
    (signal.SIGINT, 130, 2, 4), (signal.SIGTERM, 143, 4, 2), (signal.SIGTERM, 143, 2, 0),
])
def test_a_signal_to_the_launcher_saves_and_other_processes_resume(
    folder, number, code, size, then
):
    # The learning rate must not depend on the length of the run, which is only known afterwards.
    args = [*SAME, "--schedule", "constant", "--warmup", "0", "--steps", "1000000"]
    with background(size, args, folder) as process:
        until(process, "step", 5)
        process.send_signal(number)
        assert ended(process) == ""
    assert process.returncode == code
    step = checkpoint.load(folder / "a.npz").progress.step
    args[-1] = str(step + 20)
    start = events(mpi(then, [*args, "--json"], folder))[0]
    assert (start["step"], start["continued"]) == (step, True)
    assert mpi(0, [*args, "-o", "whole.npz"], folder).returncode == 0
    assert (folder / "a.npz").read_bytes() == (folder / "whole.npz").read_bytes()


def test_the_stop_of_a_job_is_printed_once(folder):
    with background(2, [arg for arg in LONG if arg != "--quiet"], folder) as process:
        until(process, "step", 5)
        process.send_signal(signal.SIGTERM)
        printed = process.communicate(timeout=SOON)[1].decode()
    assert process.returncode == 143
    assert printed.count("stopped after step") == 1


@pytest.mark.parametrize(("who", "name", "code"), [(1, "SIGTERM", 143), (0, "SIGINT", 130),
                                                  (1, "SIGHUP", 129)])
def test_a_signal_to_one_process_stops_all(folder, whole, who, name, code):
    result = changed(2, who, f"os.kill(os.getpid(), signal.{name})", SAME, folder)
    assert (result.returncode, result.stderr) == (code, b"")
    assert checkpoint.load(folder / "a.npz").progress.step == 25
    finishes(folder, 4, whole)


def test_usr1_to_the_launcher_saves_and_the_run_continues(folder):
    with background(2, LONG, folder) as process:
        until(process, "step", 5)
        assert not (folder / "a.npz").exists()
        process.send_signal(signal.SIGUSR1)
        saved = until(process, "save")
        assert checkpoint.load(folder / "a.npz").progress.step == saved["step"]
        assert until(process, "step", 5)["step"] == saved["step"] + 5
        process.send_signal(signal.SIGTERM)
        assert ended(process) == ""
    assert process.returncode == 143


@pytest.mark.parametrize(("args", "words"), [
    ([*TINY, "--no-such-option"], "No such option"),
    (["train", "missing.txt"], "missing.txt: no such file"),
    (["train", "-"], "standard input reaches only one of 4 processes"),
    ([*TINY, "-c", "missing.yaml"], "missing.yaml"),
    ([*TINY, "-c", "bad.yaml"], "bad.yaml"),
    ([*TINY, "--batch-size", "30"], "30 sequences cannot be divided evenly among 4 processes"),
    ([*TINY, "--batch-size", "8", "--deterministic"], "8 sequences, summed in 1 shard because of "),
    ([*TINY, "-o", "/dev/null"], "/dev/null"),
])
def test_a_usage_error_is_one_line_and_exit_2(folder, args, words):
    (folder / "bad.yaml").write_text("no_such_setting: 1\n")
    begin = time.monotonic()
    assert words in one_line(mpi(4, args, folder), 2)
    assert time.monotonic() - begin < SOON
    assert not (folder / "a.npz").exists()


def test_without_mpi4py_what_to_install_is_printed_once(folder):
    (folder / "hidden").mkdir()
    (folder / "hidden/mpi4py.py").write_text("raise ModuleNotFoundError")
    path = os.pathsep.join([str(folder / "hidden"), os.environ.get("PYTHONPATH", "")])
    line = one_line(mpi(2, TINY, folder, PYTHONPATH=path), 2)
    assert "2 processes" in line and "pip install mpi4py mpich" in line


def each(command):
    """A shell command that each process runs, with its rank in $PMI_RANK."""
    return ["sh", "-c", f'exec "$0" {command}', *COMMAND]


def test_processes_that_find_different_files_are_refused(folder):
    for rank in (0, 1):
        (folder / f"{rank}.txt").write_text(TEXT + str(rank))
    line = one_line(mpi(2, TINY, folder, each('"$@" $PMI_RANK.txt')), 2)
    assert "process 1 of 2 differs from process 0 in the text" in line
    line = one_line(mpi(2, TINY, folder, each('"$@" --seed $PMI_RANK')), 2)
    assert "process 1 of 2 differs from process 0 in the seed (1, 0)" in line
    assert not (folder / "a.npz").exists()


@pytest.mark.parametrize("who", [0, 1])
def test_a_process_that_fails_before_joining_the_others_ends_the_job(folder, who):
    (folder / f"{1 - who}.yaml").write_text("seed: 3\n")
    begin = time.monotonic()
    line = one_line(mpi(2, LONG, folder, each('"$@" -c $PMI_RANK.yaml')), 2)
    assert time.monotonic() - begin < SOON
    assert f"{who}.yaml" in line
    assert ("(process 1 of 2)" in line) == (who == 1)


def test_a_launcher_of_another_mpi_library_is_refused(folder):
    alone = ["sh", "-c", 'unset PMI_FD PMI_PORT; exec "$0" "$@"', *COMMAND]
    line = one_line(mpi(2, TINY, folder, alone), 2)
    assert "the launcher started 2 processes, but MPI finds 1" in line
    other = {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "3"}
    assert "started 3 processes" in one_line(mpi(0, TINY, folder, **other), 2)


def test_a_reader_that_closes_the_pipe_ends_the_job(folder):
    command = shlex.join(started(2, [*COMMAND, *LONG, "--json"]))
    result = subprocess.run(["bash", "-c", f"{command} | head -1"], cwd=folder, timeout=SOON,
                            capture_output=True, env=ENVIRONMENT)
    assert json.loads(result.stdout)["event"] == "start"
    end = time.monotonic() + SOON
    while b"is locked" in (result := mpi(0, [*TINY, "--steps", "3"], folder)).stderr:
        assert time.monotonic() < end
    assert result.returncode == 0


def test_a_second_job_on_the_same_checkpoint_is_refused(folder):
    with background(2, LONG, folder) as process:
        until(process, "step")
        line = one_line(mpi(2, LONG, folder), 1)
        process.send_signal(signal.SIGTERM)
        assert ended(process) == ""
    assert "a.npz is locked: process" in line
    assert process.returncode == 143


def test_the_cores_are_divided_among_the_processes(folder):
    free = dict.fromkeys(machine.BLAS_VARIABLES, "")
    for size in (1, 2, 4):
        (start,) = events(mpi(size, [*TINY, "--dry-run", "--json"], folder, **free))
        assert start["threads"] == max(1, len(machine.affinity()) // size)
        assert start["processes"] == size
    (start,) = events(mpi(2, [*TINY, "--dry-run", "--json"], folder, OPENBLAS_NUM_THREADS="3"))
    assert start["threads"] == 3
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
