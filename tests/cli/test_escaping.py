"""What comes from outside does nothing to a terminal, and harmless text is shown as it is."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import unicodedata

import pytest
from commands import COMMAND, ENVIRONMENT, TEXT, TINY, run_charrnn
from examples import a_checkpoint

from charrnn.storage import checkpoint

pytestmark = pytest.mark.skipif(sys.platform != "linux",
                                reason="file names and terminals are others elsewhere")

STEERING = "\x1b[2J\x1b]0;title\x07\x9b31m\x7f\r\u202egpj\u2066"
EVIL = f"e{STEERING}\n\t" + os.fsdecode(b"\xff") + "e"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
HARMLESS = f"می\u200cخواهم {FAMILY} a\u3000b\u00a0c\ufeff\u2028\u200f"
BIDI = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def on_terminal(*args, cwd, stderr=subprocess.PIPE, stdin=None, env=None):
    """Standard output, which is a terminal, standard error, and the exit code of a command."""
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen([*COMMAND, *map(str, args)], cwd=cwd, env=ENVIRONMENT | (env or {}),
                          stdin=subprocess.PIPE if stdin else subprocess.DEVNULL, stdout=theirs,
                          stderr=theirs if stderr is subprocess.STDOUT else stderr) as process:
        os.close(theirs)
        if stdin:
            process.stdin.write(stdin)
            process.stdin.close()
        shown = b""
        with contextlib.suppress(OSError):  # how Linux ends the reading of a terminal
            while data := os.read(ours, 4096):
                shown += data
        os.close(ours)
        said = process.stderr.read() if process.stderr else b""
    return shown.decode().replace("\r\n", "\n"), said.decode(), process.returncode


def steering(shown):
    """The characters that may do something to a terminal, or hide what stands there."""
    return [c for c in shown if c not in "\n\t" and (
        unicodedata.category(c) in ("Cc", "Cs") or unicodedata.bidirectional(c) in BIDI)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of files with evil names, and a model of one of them."""
    folder = tmp_path_factory.mktemp("place")
    (folder / f"{EVIL}.txt").write_text(TEXT + HARMLESS)
    (folder / "other.txt").write_text(TEXT * 2)
    (folder / "evil.txt").write_text(f"{STEERING}\n" * 9)
    (folder / f"{EVIL}.yaml").write_text("layers: 2x\n")
    (folder / "key.yaml").write_text('"lay\\e[2J\\u202E": 1\n')
    (folder / "value.yaml").write_text('encoding: "mac\\e[2Jx"\n')
    (folder / "broken.yaml").write_text("a: \x1b[2J\n")
    (folder / f"{EVIL}.none").write_text("no checkpoint")
    (folder / f"{EVIL}.d").mkdir()
    (folder / f"{EVIL}.d" / f"{EVIL}.txt").write_text(TEXT)
    (folder / f"{EVIL}.d" / "b.txt").write_text(TEXT)
    (folder / f"{EVIL}.empty").mkdir()
    return folder


EVIL_MODEL = f"{EVIL}.npz"


TRAIN = ["train", f"{EVIL}.txt", *TINY, "--steps", "9"]


@pytest.fixture(scope="module")
def trained(place):
    result = run_charrnn(*TRAIN, "-o", EVIL_MODEL, cwd=place)
    assert result.returncode == 0, result
    return place


def test_a_run_is_shown_with_its_names_and_its_text_escaped(place):
    shown, said, code = on_terminal(*TRAIN, "-o", f"shown{EVIL_MODEL}", "--sample-every", "3",
                                    "--json", cwd=place)
    assert code == 0, said
    assert not steering(shown + said)
    assert said.splitlines()[0].startswith(r"e\x1b[2J\x1b]0;title\x07\x9b31m\x7f\r\u202egpj\u2066"
                                           r"\n\t\udcffe.txt: 3,9")


@pytest.mark.parametrize("args", [
    ["train", f"{EVIL}.txt", "--dry-run"],
    ["train", f"{EVIL}.d", "--dry-run"],
    ["train", f"{EVIL}.empty"],
    ["train", f"{EVIL}.missing"],
    ["train", "evil.txt", "--dry-run", "-o", "evil.npz"],
    ["train", "other.txt", "-o", EVIL_MODEL],
    ["train", "other.txt", "-o", f"{EVIL}.none"],
    ["train", f"{EVIL}.txt", "-o", f"{EVIL}.txt"],
    ["train", "other.txt", "-o", f"{EVIL}.d"],
    ["train", "other.txt", "-o", f"{EVIL}.txt/a.npz"],
    [*TRAIN, "-o", EVIL_MODEL],
    ["train", "other.txt", "--init-from", EVIL_MODEL, "--layers", "7", "-o", "o.npz"],
    ["train", "other.txt", "--val", f"{EVIL}.missing"],
    ["train", f"{EVIL}.txt", "--encoding", "ascii"],
    ["train", "other.txt", "--encoding", "mac\x1bcyrillic\n", "--dry-run"],
    ["train", "other.txt", "--encoding", "kling\x1bon"],
    ["train", "other.txt", "--layers", EVIL],
    ["train", "other.txt", "-c", f"{EVIL}.yaml"],
    ["train", "other.txt", "-c", f"{EVIL}.missing"],
    ["train", "other.txt", "-c", "key.yaml"],
    ["train", "other.txt", "-c", "value.yaml"],
    ["train", "other.txt", "-c", "broken.yaml"],
    ["sample", "-m", f"{EVIL}.none"],
    ["sample", "-m", f"{EVIL}.missing"],
    ["sample", "-m", EVIL_MODEL, "--length", "30", "--novelty", f"{EVIL}.txt"],
    ["sample", "-m", EVIL_MODEL, "--prime", f"{EVIL}"],
    ["sample", "-m", EVIL_MODEL, "--stop", f"{EVIL}"],
    ["sample", "-m", EVIL_MODEL, "--prime-file", "evil.txt"],
    ["sample", "-m", EVIL_MODEL, "--top-k", EVIL],
    ["eval", f"{EVIL}.txt", "-m", EVIL_MODEL],
    ["eval", f"{EVIL}.txt", "-m", EVIL_MODEL, "--json"],
    ["eval", f"{EVIL}.txt", "-m", EVIL_MODEL, "--split", "val", "--baselines"],
    ["eval", "other.txt", "-m", EVIL_MODEL, "--baselines", "--train-text", f"{EVIL}.d"],
    ["eval", "other.txt", "-m", EVIL_MODEL, "--split", "val"],
    ["eval", "evil.txt", "-m", EVIL_MODEL],
    ["eval", "evil.txt", "-m", EVIL_MODEL, "--per-line", "--unknown", "skip"],
    ["eval", "evil.txt", "-m", EVIL_MODEL, "--per-line", "--unknown", "skip", "--json"],
    ["eval", "evil.txt", "-m", EVIL_MODEL, "--surprisal", "--unknown", "skip"],
    ["report", f"{EVIL}.txt", "-m", EVIL_MODEL, "-o", f"{EVIL}.html"],
    ["report", f"{EVIL}.txt", "-m", EVIL_MODEL, "-o", f"{EVIL}.none"],
    ["report", f"{EVIL}.txt", "-m", EVIL_MODEL, "-o", f"{EVIL}.d"],
    ["tr\x1b[2Jain"],
    ["train", "other.txt", "--opt\x1b[2J"],
    ["eval", "other.txt", "--split", EVIL],
    ["--debug", "eval", f"{EVIL}.missing", "-m", EVIL_MODEL],
], ids=lambda args: " ".join(args).replace(EVIL, "EVIL").encode("unicode_escape").decode())
def test_control_characters_are_escaped_in_every_message(trained, args):
    shown, said, code = on_terminal(*args, cwd=trained)
    assert code in (0, 1, 2), said
    assert not steering(re.sub(r"\x1b\[[0-9;]*m", "", shown))
    assert not steering(said)
    if code and args[0] != "--debug":
        assert said.splitlines()[-1].startswith("charrnn")
        assert len(said.splitlines()) <= 2, "a name stays in its line"


def test_a_live_bar_shows_nothing_from_outside(trained):
    shown, _, code = on_terminal("train", f"{EVIL}.txt", *TINY, "--steps", "40", "--eval-every",
                                 "10", "-o", f"bar{EVIL}.npz", cwd=trained,
                                 stderr=subprocess.STDOUT)
    assert code == 0
    assert "step 40/40" in shown
    assert not steering(re.sub(r"\r|\x1b\[A", "", shown)), "but what moves the bar"


def test_the_printed_sample_command_can_be_copied_whatever_the_name(trained):
    result = run_charrnn(*TRAIN, "-o", EVIL_MODEL, cwd=trained)
    command = result.stderr.decode().splitlines()[-1].partition("charrnn ")[2]
    copied = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} {command} --length 5"],
                            cwd=trained, capture_output=True, env=ENVIRONMENT, timeout=60)
    assert copied.returncode == 0, (command, copied)


def test_the_content_of_a_lock_is_escaped(trained):
    import fcntl

    shutil.copy(trained / EVIL_MODEL, trained / "locked.npz")
    with open(trained / ".locked.npz.lock", "w+b") as lock:
        lock.write(b"1\x1b[2J\n\x9b7\x07")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        shown, said, code = on_terminal("train", f"{EVIL}.txt", *TINY, "-o", "locked.npz",
                                        cwd=trained)
    assert (code, shown) == (2, "")
    assert "is not a lock that charrnn can use" in said
    assert not steering(said) and said.count("\n") == 1


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A folder with a checkpoint that somebody else sealed, and a text it can read."""
    folder = tmp_path_factory.mktemp("foreign")
    made = a_checkpoint(f"\nabé{STEERING}", hidden_size=4, encoding="mac_cyrillic")
    made.settings["encoding"] = "mac\x1b\x9bcyrillic\n"
    made.corpus, made.samples = EVIL, [[3, f"{STEERING}{HARMLESS}\r\n"]]
    checkpoint.save(folder / "a.npz", made)
    (folder / "a.txt").write_text("abba\n" * 60)
    return folder


@pytest.mark.parametrize("args", [
    ["sample", "--length", "300", "--count", "3", "--novelty", "a.txt"],
    ["eval", "a.txt"],
    ["eval", "a.txt", "--surprisal"],
    ["train", "a.txt", "-o", "a.npz"],
    ["train", "a.txt", "-o", "new.npz", "--init-from", "a.npz", "--steps", "3"],
    ["report", "a.txt"],
    ["report"],
], ids=" ".join)
def test_a_foreign_checkpoint_cannot_control_a_terminal_or_a_page(foreign, args):
    environment = {"CHARRNN_CHECKPOINT": "a.npz", "TERM": "xterm"}
    shown, said, code = on_terminal(*args, cwd=foreign, env=environment)
    assert code in (0, 1, 2)
    assert not steering(re.sub(r"\x1b\[[0-9;]*m", "", shown))
    assert not steering(said)
    assert "internal error" not in said
    if args[0] == "report":
        assert code == 0, said
        page = (foreign / "report.html").read_text(encoding="utf-8")
        assert not steering(page)
        assert HARMLESS in page


def test_harmless_text_is_shown_as_it_is_on_a_terminal_too(tmp_path):
    text = f"{HARMLESS}\r\n" * 60
    (tmp_path / f"{HARMLESS}.txt").write_text(text, newline="")
    shown, said, code = on_terminal(
        "train", f"{HARMLESS}.txt", *TINY, "--steps", "9", "--sample-every", "3", "-o", "a.npz",
        cwd=tmp_path)
    assert code == 0, said
    assert said.startswith(f"{HARMLESS}.txt: ")
    (tmp_path / "text.txt").write_text(text[: len(text) // 60 * 3], newline="")
    prime = ["--prime-file", "text.txt", "--length", "0"]
    assert on_terminal("sample", "-m", "a.npz", *prime, cwd=tmp_path)[0] == f"{HARMLESS}\r\n" * 3
    shown, _, _ = on_terminal("eval", "text.txt", "-m", "a.npz", "--per-line", cwd=tmp_path)
    rows = shown.removesuffix("\r\n").split("\r\n")
    assert [row.split("\t")[3] for row in rows] == [HARMLESS] * 3
    shown, _, _ = on_terminal("eval", "text.txt", "-m", "a.npz", "--surprisal", cwd=tmp_path,
                              env={"TERM": "xterm"})
    colored = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert colored.partition("\n\n")[2] == f"{HARMLESS}⏎\n" * 3 + "\n"
    shown, _, _ = on_terminal("eval", "text.txt", "-m", "a.npz", "--surprisal", cwd=tmp_path,
                              env={"NO_COLOR": "1"})
    piped = run_charrnn("eval", "text.txt", "-m", "a.npz", "--surprisal", cwd=tmp_path)
    assert shown == piped.stdout.decode()
    symbols = [row.split("\t")[2] for row in shown.rstrip("\n").split("\n")]
    assert "".join(symbols) == f"{HARMLESS}\\r\\n" * 3


def test_a_pipe_gets_samples_and_lines_as_they_are(foreign):
    (foreign / "lines.txt").write_bytes(b"ab\x1b[2J\r\n\xe9\x9b\n")
    trained = run_charrnn("train", "lines.txt", "--level", "byte", *TINY, "--steps", "1",
                          "--val-fraction", "0", "-o", "bytes.npz", cwd=foreign)
    assert trained.returncode == 0, trained
    model = ["-m", "bytes.npz"]
    prime = ["--prime-file", "lines.txt", "--length", "0"]
    sampled = run_charrnn("sample", *model, *prime, cwd=foreign).stdout
    assert sampled == b"ab\x1b[2J\r\n\xe9\x9b\n"
    rows = run_charrnn("eval", "lines.txt", *model, "--per-line", cwd=foreign).stdout
    assert [row.split(b"\t")[3] for row in rows.split(b"\n")[:2]] == [b"ab\x1b[2J\r", b"\xe9\x9b"]
    shown, _, _ = on_terminal("sample", *model, *prime, cwd=foreign)
    assert shown == "ab\\x1b[2J\r\n\ufffd\n", "a character of three bytes that lacks the last"
    shown, _, _ = on_terminal("eval", "lines.txt", *model, "--per-line", cwd=foreign)
    assert "\tab\\x1b[2J\r\n" in shown and "\t\ufffd\n" in shown
