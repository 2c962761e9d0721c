"""``charrnn.train``: the runs of the command, from Python."""

from __future__ import annotations

import filecmp
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from commands import ENVIRONMENT, TEXT, TINY, run_charrnn

import charrnn
from charrnn.api import blas, training
from charrnn.api.blas import OneThread
from charrnn.system.lock import locked
from charrnn.training import loop
from charrnn.training.events import Step

SETTINGS = {"hidden_size": 8, "layers": 1, "batch_size": 4, "seq_length": 16, "steps": 20,
            "threads": 1}
DIVERGES = {"optimizer": "sgd", "activation": "relu", "learning_rate": 50.0, "clip_norm": 0,
            "schedule": "constant", "warmup": 0, "steps": 300, "eval_every": 1000}
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX only")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_a_preset_and_the_example_need_no_clone():
    model = charrnn.train(charrnn.example(), config="tiny", steps=20, progress=False)
    assert model.path == Path("checkpoints/tide_clock.npz") and model.settings["hidden_size"] == 16
    with pytest.raises(charrnn.UsageError, match=r"tony: neither a file nor a preset; did you "):
        charrnn.train(charrnn.example(), config="tony")


def train(paths, out=None, **options):
    """A short run without a bar."""
    return charrnn.train(paths, out=out, **{"progress": False} | SETTINGS | options)


@pytest.fixture
def interrupts():
    """What the handler of before gets of Ctrl-C: a late one does not end the tests."""
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGINT, before)


# The run is that of the command.


@pytest.mark.parametrize(("options", "arguments"), [
    ({}, []),
    ({"val": "val.txt", "eval_every": 7}, ["--val", "val.txt", "--eval-every", 7]),
    ({"config": Path("run.yaml"), "dropout": 0.1}, ["-c", "run.yaml", "--dropout", 0.1]),
    ({"deterministic": True, "threads": 2}, ["--deterministic", "--threads", 2]),
    ({"threads": 2, "batch_size": 16}, ["--threads", 2, "--batch-size", 16]),
    ({"level": "byte", "optimizer": "sgd"}, ["--level", "byte", "--optimizer", "sgd"]),
])
def test_the_checkpoint_has_the_same_bytes_as_that_of_the_command(
    home, options, arguments
):
    Path("val.txt").write_text(TEXT[66:400], encoding="utf-8")
    Path("run.yaml").write_text("learning_rate: 0.01\nseed: 5\n")
    model = train("corpus.txt", "api.npz", **options)
    result = run_charrnn("train", "corpus.txt", "-o", "cli.npz", *TINY, "--steps", 20,
                         *([] if "--threads" in arguments else ["--threads", 1]), *arguments,
                         cwd=home)
    assert result.returncode == 0, result.stderr
    assert filecmp.cmp("api.npz", "cli.npz", shallow=False)
    assert model.path == Path("api.npz")
    assert model.score(TEXT) == charrnn.load("cli.npz").score(TEXT)


def test_the_number_of_blas_threads_changes_no_byte(home):
    program = ("import charrnn; charrnn.train('corpus.txt', out='{}.npz', hidden_size=96, steps=20,"
               "threads=1)")
    for threads in ("1", "2"):
        subprocess.run([sys.executable, "-c", program.format(threads)], check=True, timeout=60,
                       capture_output=True, env=ENVIRONMENT | {"OPENBLAS_NUM_THREADS": threads})
    assert filecmp.cmp("1.npz", "2.npz", shallow=False)


def test_paths_mean_the_same_as_on_the_command_line(home):
    (home / "folder").mkdir()
    for name in ("a", "b"):
        (home / "folder" / name).write_text(TEXT[:700], encoding="utf-8")
    whole = TEXT[:700] * 2
    (home / "whole.txt").write_text(whole, encoding="utf-8")
    weights = train("whole.txt").parameters["W_hy"]
    for paths, out in (("folder", "folder.npz"), (home / "folder", "folder.npz"),
                       (["folder/a", home / "folder" / "b"], "a+1.npz"),
                       (("folder/a", "folder/b"), "a+1.npz"),
                       ((f"folder/{name}" for name in "ab"), "a+1.npz")):
        model = train(paths, overwrite=True)
        assert model.path == Path("checkpoints", out)
        np.testing.assert_array_equal(model.parameters["W_hy"], weights)


def test_a_run_that_has_ended_is_only_loaded(home):
    train("corpus.txt", "a.npz")
    before = Path("a.npz").stat()
    model = train("corpus.txt", "a.npz")
    assert Path("a.npz").stat() == before
    assert model.history[-1].step == 20
    assert train("corpus.txt", "a.npz", steps=30).history[-1].step == 30, "more steps resume it"


def test_another_run_is_refused_unless_it_may_be_replaced(home):
    train("corpus.txt", "a.npz")
    before = Path("a.npz").read_bytes()
    with pytest.raises(charrnn.UsageError, match=r"^a\.npz holds another run \(hidden_size 8 there,"
                                                 " 9 now.*overwrite=True"):
        train("corpus.txt", "a.npz", hidden_size=9)
    assert Path("a.npz").read_bytes() == before
    assert train("corpus.txt", "a.npz", hidden_size=9, overwrite=True).settings["hidden_size"] == 9


def test_a_run_starts_from_the_weights_of_another(home):
    first = train("corpus.txt", "a.npz")
    for start in ("a.npz", "a", first):
        second = train("corpus.txt", "b.npz", init_from=start, learning_rate=1e-12)
        np.testing.assert_allclose(second.parameters["W_xh0"], first.parameters["W_xh0"],
                                   atol=1e-6)


# Settings.


@pytest.mark.parametrize(("key", "value", "stored"), [
    ("learning_rate", 0.25, 0.25), ("learning_rate", np.float32(0.1), 0.1),
    ("learning_rate", 1, 1.0), ("learning_rate", "0.25", 0.25), ("learning_rate", 1e-05, 1e-05),
    ("hidden_size", np.int64(9), 9), ("hidden_size", 9.0, 9), ("hidden_size", np.array(9), 9),
    ("deterministic", True, True), ("deterministic", np.bool_(True), True),
    ("deterministic", False, False), ("activation", "relu", "relu"), ("dropout", 0, 0.0),
    ("clip_norm", None, 1.0), ("patience", None, None), ("dtype", np.float64, "float64"),
    ("dtype", np.dtype("float32"), "float32"),
])
def test_settings_are_values_of_python_and_numpy(key, value, stored):
    given = {key: value, "steps": 1, "batch_size": 2, "seq_length": 8}
    found = charrnn.train("corpus.txt", progress=False, **given).settings[key]
    assert (found, type(found)) == (stored, type(stored))


@pytest.mark.parametrize(("settings", "message"), [
    ({"hidden_siez": 9}, "^'hidden_siez' is not a setting; did you mean hidden_size"),
    ({"cell_type": "gru"}, "^'cell_type' is not a setting: cell chooses rnn, gru or lstm"),
    ({"learning_rate": -1}, "^learning_rate: -1 is out of range: above 0$"),
    ({"learning_rate": float("nan")}, "^learning_rate: 'nan' is not a number"),
    ({"hidden_size": 1.5}, "^hidden_size: '1.5' is not a whole number"),
    ({"steps": True}, "^steps: 'true' is not a whole number"),
    ({"level": "bytes"}, "^level: 'bytes' is not one of char, byte"),
    ({"layers": [1, 2]}, "^layers takes a single value, not list"),
    ({"layers": np.array([1, 2])}, "^layers takes a single value, not ndarray"),
    ({"verbose": 0}, "^'verbose' is not a setting; did you mean progress"),
    ({"random_state": 0}, "^'random_state' is not a setting; did you mean seed"),
    ({"errors": "ignore"}, "^errors: 'ignore' is not one of [a-z, ]*; did you mean skip[?]$"),
    ({"config": "run.yaml"}, "^run.yaml, line 1: 'out' is not a setting: use the argument out"),
    ({"epochs": 3}, "^steps and epochs set the length of the run"),
])
def test_a_wrong_setting_is_refused_before_anything_is_written(settings, message):
    Path("run.yaml").write_text("out: a.npz\n")
    with pytest.raises(charrnn.UsageError, match=message):
        train("corpus.txt", **settings)
    assert sorted(os.listdir()) == ["corpus.txt", "run.yaml"]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"paths": b"corpus.txt"}, "^paths must be a path or a list of paths, not bytes"),
    ({"paths": [b"corpus.txt"]}, "^each item of paths must be a path, a str or a Path, not bytes"),
    ({"paths": None}, "^paths must be a path or a list of paths, not NoneType"),
    ({"paths": {"corpus.txt"}}, r"^paths is a set, which has no order: give a list"),
    ({"val": ["corpus.txt"]}, "^val must be a path"), ({"val": 0.1}, "^val must be a path"),
    ({"config": {"steps": 3}}, "^config must be a path"),
    ({"cache": False}, "^cache must be a path"),
    ({"out": 7}, "^out must be a path"), ({"init_from": 7}, "^init_from must be a path"),
    ({"overwrite": "no"}, "^overwrite must be True or False, not 'no'"),
])
def test_an_argument_of_the_wrong_type_is_named(arguments, message):
    with pytest.raises(TypeError, match=message):
        train(**{"paths": "corpus.txt"} | arguments)
    assert sorted(os.listdir()) == ["corpus.txt"]


def test_a_second_text_is_not_the_checkpoint_and_no_text_is_replaced_by_one():
    Path("other.txt").write_text("a text")
    with pytest.raises(TypeError, match="1 positional argument"):
        charrnn.train("corpus.txt", "other.txt", overwrite=True)
    with pytest.raises(charrnn.UsageError, match=r"^other\.txt is not a charrnn checkpoint, and "
                                                 "overwrite=True replaces only checkpoints"):
        train("corpus.txt", "other.txt", overwrite=True)
    assert Path("other.txt").read_text() == "a text"


@pytest.mark.parametrize(("paths", "error", "message"), [
    ("the text itself\n" * 2000, charrnn.UsageError, "^paths must be the path of .* not the text"),
    ("abc " * 1000, charrnn.UsageError, "write the text to a file first"),
    ("", charrnn.UsageError, "^paths is an empty path"),
    ("missing.txt", charrnn.UsageError, r"^missing\.txt: no such file"),
    ([], charrnn.UsageError, "^there is no text to train on"),
    ("-", charrnn.UsageError, "not standard input"),
    ("empty.txt", charrnn.CorpusError, r"^empty\.txt"),
    ("latin.txt", charrnn.CorpusError, r'is not utf-8.*level="byte"'),
])
def test_a_text_that_cannot_be_read_is_an_error_and_leaves_nothing(paths, error, message):
    Path("empty.txt").write_text("")
    Path("latin.txt").write_bytes(b"\xe9\xe9\xe9")
    with pytest.raises(error, match=message) as caught:
        train(paths)
    assert len(str(caught.value)) < 250
    assert not Path("checkpoints").exists()


# Locks, signals and the environment are left as they were.


def test_the_checkpoint_is_locked_only_during_the_run(monkeypatch):
    with locked(Path("a.npz")), pytest.raises(charrnn.LockedError, match=r"^a\.npz is locked"):
        train("corpus.txt", "a.npz")
    assert not Path("a.npz").exists()
    seen = []

    def watched(run, signals):
        for event in loop_train(run, signals):
            if isinstance(event, Step):
                with pytest.raises(charrnn.LockedError), locked(Path("a.npz")):
                    pass
                seen.append(event.step)
            yield event

    loop_train = loop.train
    monkeypatch.setattr(loop, "train", watched)
    train("corpus.txt", "a.npz")
    assert len(seen) == 20
    with locked(Path("a.npz")):
        pass
    assert not list(Path().glob("*lock*"))


def test_a_run_changes_no_environment_and_no_signal_handler(interrupts):
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    environment = dict(os.environ)
    train("corpus.txt", "a.npz")
    for settings in ({"hidden_size": 9}, DIVERGES | {"overwrite": True}):
        with pytest.raises(charrnn.CharrnnError):
            train("corpus.txt", "a.npz", **settings)
    assert [signal.getsignal(number) for number in signal.valid_signals()] == handlers
    assert dict(os.environ) == environment


@pytest.mark.parametrize("save_every", [1, 1000])
def test_a_run_that_diverges_leaves_the_last_good_checkpoint(save_every):
    with pytest.raises(charrnn.DivergedError, match=r"diverged.*lower learning_rate.*clip_norm=1"):
        train("corpus.txt", "a.npz", save_every=save_every, **DIVERGES)
    assert Path("a.npz").exists() == (save_every == 1)
    if save_every == 1:
        weights = charrnn.load("a.npz").parameters
        assert all(np.isfinite(array).all() for array in weights.values())
    assert len(os.listdir()) == 1 + (save_every == 1), "no lock, no temporary file"


def test_it_works_in_another_thread(interrupts):
    expected = train("corpus.txt", "main.npz")
    handler, found = signal.getsignal(signal.SIGINT), []
    thread = threading.Thread(target=lambda: found.append(train("corpus.txt", "thread.npz")))
    thread.start()
    while thread.is_alive():
        assert signal.getsignal(signal.SIGINT) is handler
        thread.join(0.001)
    np.testing.assert_array_equal(found[0].parameters["W_hy"], expected.parameters["W_hy"])
    assert filecmp.cmp("main.npz", "thread.npz", shallow=False)


def interrupt_when(path, times=1):
    """Send this process Ctrl-C as soon as a file is there."""
    def wait():
        deadline = time.monotonic() + 30
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@posix
def test_ctrl_c_saves_then_raises_and_the_same_call_resumes_to_the_same_bytes(interrupts):
    run = {"steps": 3000, "save_every": 50}
    train("corpus.txt", "whole.npz", **run)
    handler = signal.getsignal(signal.SIGINT)
    thread = interrupt_when(Path("cut.npz"))
    with pytest.raises(KeyboardInterrupt):
        train("corpus.txt", "cut.npz", **run)
    thread.join()
    assert signal.getsignal(signal.SIGINT) is handler
    assert interrupts == [], "it came to the run"
    assert not list(Path().glob("*lock*"))
    assert not filecmp.cmp("cut.npz", "whole.npz", shallow=False)
    model = train("corpus.txt", "cut.npz", **run)
    assert model.history[-1].step == 3000
    assert filecmp.cmp("cut.npz", "whole.npz", shallow=False)


@posix
def test_ctrl_c_before_the_first_step_has_nothing_to_save(interrupts, monkeypatch):
    def prepare(request):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(training, "prepare", prepare)
    with pytest.raises(KeyboardInterrupt):
        train("corpus.txt", "a.npz")
    assert sorted(os.listdir()) == ["corpus.txt"]


@posix
def test_a_second_ctrl_c_stops_at_once_and_leaves_a_complete_file(interrupts, monkeypatch):
    def impatient(run, signals):
        for event in loop_train(run, signals):
            if isinstance(event, Step) and event.step == 12:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                pytest.fail("the second one was kept")
            yield event

    loop_train = loop.train
    monkeypatch.setattr(loop, "train", impatient)
    with pytest.raises(KeyboardInterrupt):
        train("corpus.txt", "a.npz", save_every=5)
    assert interrupts == []
    assert charrnn.load("a.npz")._model.checkpoint.progress.step == 10


@posix
def test_ctrl_c_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        thread = interrupt_when(Path("a.npz"))
        model = train("corpus.txt", "a.npz", steps=400, save_every=5)
        thread.join()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert model.history[-1].step == 400


@posix
def test_other_signals_end_the_process_as_usual_and_the_run_can_be_resumed(home):
    program = ("import charrnn; charrnn.train('corpus.txt', out='a.npz', hidden_size=8, "
               "steps=10**6, batch_size=4, save_every=5, progress=False)")
    process = subprocess.Popen([sys.executable, "-c", program], cwd=home, env=ENVIRONMENT)
    deadline = time.monotonic() + 30
    while not Path("a.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM
    step = charrnn.load("a.npz")._model.checkpoint.progress.step
    model = charrnn.train("corpus.txt", out="a.npz", hidden_size=8, steps=step + 1, batch_size=4,
                          save_every=5, progress=False)
    assert model.history[-1].step == step + 1


# BLAS.


def test_a_blas_that_cannot_be_limited_has_all_threads_or_causes_a_warning(monkeypatch):
    monkeypatch.setattr(blas, "_find", lambda: None)
    for module in (blas, training):
        monkeypatch.setattr(module, "one_blas_thread", OneThread())
    for variable in blas.machine.BLAS_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    with pytest.warns(UserWarning, match="OMP_NUM_THREADS=1 before NumPy is imported"):
        train("corpus.txt", threads=2, batch_size=16)
    monkeypatch.setattr(blas.machine, "affinity", lambda: frozenset(range(4)))
    train("corpus.txt", "one.npz", threads=None, batch_size=32)
    assert charrnn.load("one.npz")._model.checkpoint.threads == 1


def test_a_checkpoint_of_the_command_is_resumed(home):
    result = run_charrnn("train", "corpus.txt", "-o", "a.npz", *TINY, "--steps", 10, "--threads", 1,
                         cwd=home)
    assert result.returncode == 0, result.stderr
    shutil.copy("a.npz", "b.npz")
    result = run_charrnn("train", "corpus.txt", "-o", "b.npz", *TINY, "--steps", 20, "--threads", 1,
                         cwd=home)
    assert result.returncode == 0, result.stderr
    train("corpus.txt", "a.npz")
    assert filecmp.cmp("a.npz", "b.npz", shallow=False)
