"""Options: which checkpoint is meant where none is named; completion in shells."""

from __future__ import annotations

import os
import time

import pytest
from commands import one_line, run_charrnn


def test_without_a_checkpoint_sample_says_what_to_do(tmp_path):
    assert "train one" in one_line(run_charrnn("sample", cwd=tmp_path), 2)


def test_the_environment_names_the_checkpoint(home, tmp_path):
    named = {"CHARRNN_CHECKPOINT": str(home / "checkpoints/corpus.npz")}
    result = run_charrnn("sample", "--length", "3", cwd=tmp_path, env=named)
    assert result.returncode == 0
    assert b"corpus.npz" in result.stderr


def test_the_newest_checkpoint_is_taken(home, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    content = (home / "checkpoints/corpus.npz").read_bytes()
    for age, name in ((300, "old"), (100, "new"), (200, "middle")):
        path = tmp_path / f"checkpoints/{name}.npz"
        path.write_bytes(content)
        os.utime(path, (time.time() - age,) * 2)
    result = run_charrnn("sample", "--length", "3", cwd=tmp_path)
    assert b"checkpoints/new.npz" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="links and FIFOs")
def test_what_is_no_regular_file_is_not_taken_for_the_newest_checkpoint(home, tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    os.mkfifo(folder / "fifo.npz")
    (folder / "folder.npz").mkdir()
    (folder / "device.npz").symlink_to("/dev/zero")
    (folder / "gone.npz").symlink_to("nowhere")
    (folder / "circle.npz").symlink_to("circle.npz")
    assert "train one" in one_line(run_charrnn("sample", cwd=tmp_path), 2)
    (folder / "link.npz").symlink_to(home / "checkpoints/corpus.npz")
    result = run_charrnn("sample", "--length", "3", cwd=tmp_path)
    assert b"checkpoints/link.npz" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_is_there(home, shell):
    script = run_charrnn(cwd=home, env={"_CHARRNN_COMPLETE": f"{shell}_source"})
    assert b"_CHARRNN_COMPLETE" in script.stdout
    words = {"COMP_WORDS": "charrnn train --opti", "COMP_CWORD": "2"}
    if shell == "fish":
        words = {"COMP_WORDS": "charrnn train --opti", "COMP_CWORD": "--opti"}
    offered = run_charrnn(cwd=home, env={"_CHARRNN_COMPLETE": f"{shell}_complete"} | words)
    assert b"--optimizer" in offered.stdout
    words["COMP_WORDS"] = "charrnn train --optimizer a"
    words["COMP_CWORD"] = "a" if shell == "fish" else "3"
    offered = run_charrnn(cwd=home, env={"_CHARRNN_COMPLETE": f"{shell}_complete"} | words)
    assert b"adagrad" in offered.stdout and b"sgd" not in offered.stdout
