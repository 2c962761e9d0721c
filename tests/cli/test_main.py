"""The commands, run as a user runs them: what is on each stream, and the exit code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from commands import COMMAND, ENVIRONMENT, TEXT, TINY, one_line, run_charrnn

import charrnn
from charrnn.cli import main as program
from charrnn.config.settings import FIELDS, option_name


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
def test_a_usage_error_is_one_line_and_exit_2(home, args):
    one_line(run_charrnn(*args, cwd=home), 2)


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
def test_text_is_utf8_in_every_locale(home, locale):
    result = run_charrnn("sample", "--prime", "Ü", "--length", "0", cwd=home, env=locale)
    assert result.stdout == "Ü".encode()
    result = run_charrnn("sample", "--prime", "☃", cwd=home, env=locale)
    one_line(result, 2)


def test_every_command_has_help_and_every_setting_an_option(home):
    for option in ("--version", "-V"):
        assert charrnn.__version__ in run_charrnn(option, cwd=home).stdout.decode()
    for command in ([], *([name] for name in program.cli.commands)):
        result = run_charrnn(*command, "--help", cwd=home)
        assert result.returncode == 0 and len(result.stdout) > 100
        assert run_charrnn("help", *command, cwd=home).stdout == result.stdout
    text = run_charrnn("train", "--help", cwd=home).stdout.decode()
    for key, field in FIELDS.items():
        assert option_name(key) in text
        assert field.metadata["group"] + ":" in text


def test_without_a_command_the_help_is_shown(home):
    result = run_charrnn(cwd=home)
    assert result.returncode == 2
    assert result.stderr.decode().startswith("Usage: charrnn") and result.stderr.count(b"\n") > 10


@pytest.mark.parametrize("columns", ["50", "80", "100"])
def test_the_help_shows_every_summary_in_full(home, columns):
    shown = run_charrnn("--help", cwd=home, env={"COLUMNS": columns}).stdout.decode()
    commands = shown.partition("Commands:\n")[2]
    names = [line.split()[0] for line in commands.splitlines() if line[2] != " "]
    assert names == list(program.cli.commands)
    assert names[:4] == ["train", "sample", "eval", "report"] and names[-1] == "help"
    for name, command in program.cli.commands.items():
        assert f"{name} {command.short_help}" in " ".join(commands.split()), name
    assert all(len(line) < int(columns) for line in commands.splitlines())


def test_quiet_commands_print_errors_and_nothing_else_on_standard_error(home, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    model = ["-m", home / "checkpoints/corpus.npz"]
    text = tmp_path / "a.txt"
    for args in (["sample", *model], ["eval", text, *model], ["eval", text, *model, "--dynamic"],
                 ["eval", text, *model, "--split", "val", "--baselines"], ["report", *model],
                 ["sample", *model, "--prime", "\\n", "--unknown", "skip"]):
        for option in ("-q", "--quiet"):
            result = run_charrnn(*args, option, cwd=tmp_path)
            assert (result.returncode, result.stderr) == (0, b""), args
            assert result.stdout or args[0] == "report"
    one_line(run_charrnn("sample", "-q", "-m", "missing.npz", cwd=tmp_path), 2)
    assert run_charrnn("help", "-q", cwd=tmp_path).stdout.startswith(b"Usage: charrnn ")


def test_what_a_sample_copies_is_a_result_that_quiet_does_not_suppress(home):
    result = run_charrnn("sample", "-q", "--novelty", "corpus.txt", "--length", "20", cwd=home)
    assert result.returncode == 0
    assert result.stderr.startswith(b"the longest passage ") and result.stderr.count(b"\n") == 1
    assert b" of 1 (" in result.stderr


def test_the_help_breaks_no_word_on_a_narrow_terminal(tmp_path):
    for command in ("train", "sample", "eval", "report", "info", "help"):
        help_text = run_charrnn(command, "--help", cwd=tmp_path, env={"COLUMNS": "50"})
        shown = help_text.stdout.decode()
        assert max(map(len, shown.splitlines())) <= 50, shown
        if command not in ("train", "help"):
            assert "$CHARRNN_CHECKPOINT," in shown
        assert run_charrnn("help", command, cwd=tmp_path, env={"COLUMNS": "50"}).stdout == (
            help_text.stdout)


def test_closed_stderr_puts_nothing_on_stdout(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    command = f"{' '.join(COMMAND)} train a.txt {' '.join(TINY)} --steps 3 --json 2>&-"
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True,
                            timeout=60, env=ENVIRONMENT)
    assert result.returncode == 0
    assert all(json.loads(line)["event"] for line in result.stdout.splitlines())


def test_debug_shows_the_traceback_of_an_error(home):
    result = run_charrnn("--debug", "eval", "nothing.txt", cwd=home)
    assert b"Traceback" in result.stderr and result.returncode == 2


def after_interrupt(error):
    """An error that was raised where Ctrl-C was being handled."""
    error.__context__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(("raised", "code", "words"), [
    (KeyboardInterrupt(), 130, ""),
    (MemoryError(), 1, "charrnn: there is not enough memory"),
    (OSError(5, "Input/output error", "a.txt"), 1, "charrnn: a.txt: Input/output error"),
    (RuntimeError("can't start new thread"), 1, "raise its limit on processes (ulimit -u)"),
    (after_interrupt(ImportError("numpy")), 130, ""),
    (after_interrupt(OSError(28, "No space left on device")), 130, ""),
    (ZeroDivisionError("by\nnothing"), 1, "internal error, ZeroDivisionError: by nothing; please"),
])
def test_every_exception_becomes_one_line_and_an_exit_code(monkeypatch, capsys, raised, code,
                                                              words):
    def fail(**_):
        raise raised

    monkeypatch.setattr(program.cli, "main", fail)
    monkeypatch.setattr(program, "silence_stdout", lambda: None)
    monkeypatch.setattr(sys, "argv", ["charrnn", "eval"])
    with pytest.raises(SystemExit) as caught:
        program.main()
    messages = capsys.readouterr().err
    assert caught.value.code == code
    assert words in messages and messages.count("\n") == (1 if words else 0)


def test_a_refused_thread_is_one_line(home):
    code = ("import sys, threading\n"
            "def start(self): raise RuntimeError(\"can't start new thread\")\n"
            "threading.Thread.start = start\n"
            "from charrnn.__main__ import main\nsys.argv[0] = 'charrnn'\nmain()")
    for args in (["train", "corpus.txt", "-o", "other.npz"], ["eval", "corpus.txt"],
                 ["sample", "--novelty", "corpus.txt"]):
        result = subprocess.run([sys.executable, "-c", code, *args], cwd=home, timeout=60,
                                capture_output=True, env=ENVIRONMENT | {"OMP_NUM_THREADS": "4"})
        line = one_line(result, 1)
        assert "--threads 1" in line and "ulimit -u" in line
    assert not (home / "other.npz").exists()


@pytest.mark.parametrize(("args", "messages"), [
    (["train", "a"], True), (["--debug", "train", "a"], True), (["eval", "train"], False),
    (["sample", "-m", "train"], False), (["--debug", "eval", "train"], False),
])
def test_only_an_interrupted_run_mentions_its_first_step(monkeypatch, capsys, args, messages):
    def stopped(**_):
        raise SystemExit(143)

    monkeypatch.setattr(program.cli, "main", stopped)
    monkeypatch.setattr(sys, "argv", ["charrnn", *args])
    with pytest.raises(SystemExit) as caught:
        program.main()
    assert caught.value.code == 143
    assert ("stopped before the first step" in capsys.readouterr().err) == messages


# charrnn, started with interrupts blocked, which are let through once its first line has run.
LATER = """
import signal, sys
install = signal.signal
def announced(number, handler):
    install(number, handler)
    signal.signal = install
    print("here", flush=True)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
signal.signal = announced
from charrnn.__main__ import main
sys.argv[0] = "charrnn"
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX only")
@pytest.mark.parametrize("args", [
    ["--help"], ["train", "corpus.txt", *TINY, "--steps", "1000000", "--quiet"],
    ["sample", "--length", "100000000", "--seed", "1"], ["eval", "-"], ["report"],
], ids=lambda args: args[0])
def test_an_interrupt_at_any_moment_of_the_start_is_quiet(home, tmp_path, args):
    """At moments that are spread over the first 300 ms, in steps that grow."""
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)

    def interrupted(moment):
        """The exit code of the command."""
        more = {"train": ["-o", str(tmp_path / f"{moment}.npz")],
                "report": ["-o", str(tmp_path / f"{moment}.html")]}
        # No warnings: a file may be left open.
        command = [sys.executable, "-c", LATER, *args, *more.get(args[0], [])]
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, bufsize=0,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       env=ENVIRONMENT)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        with process:
            if moment > 0:
                assert process.stdout.readline() == b"here\n"
            time.sleep(0.3 * (moment / 24) ** 1.5)
            process.send_signal(signal.SIGINT)
            messages = process.communicate(timeout=20)[1].decode()
        for word in ("Traceback", "internal", "ignored", "Error"):
            assert word not in messages, (moment, messages)
        assert messages.count("\n") <= 2, (moment, messages)  # the seed, and the newline after ^C
        return process.returncode

    with ThreadPoolExecutor(2) as pool:  # most of the time is spent in waiting
        codes = list(pool.map(interrupted, range(24)))
    assert set(codes) <= {130, 0}, codes
    assert codes[0] == 130
    assert 0 not in codes or args[0] in ("--help", "report")


@pytest.mark.parametrize("arguments", [
    ["sample", "--temperature", "1" * 20_000 + "x"], ["sample", "--count", "1" * 20_000],
    ["eval", "--split", "x" * 20_000, "a.txt"], ["x" * 20_000], ["train", "--" + "x" * 20_000],
], ids=lambda arguments: arguments[0][:8])
def test_an_error_message_is_short_however_long_the_input(tmp_path, arguments):
    assert len(one_line(run_charrnn(*arguments, cwd=tmp_path), 2)) < 600
