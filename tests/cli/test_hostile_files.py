"""The commands among files that somebody planted: nothing is destroyed, and nothing hangs."""

from __future__ import annotations

import os
import shutil

import pytest
from commands import TEXT, TINY, one_line, run_charrnn

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and FIFOs")
TRAIN = ["train", "a.txt", *TINY, "--threads", "1", "--quiet", "--steps", "2"]


@pytest.fixture
def folder(home, tmp_path):
    """A text, a model of it and a file that is precious."""
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "keep").write_text("precious")
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(home / "checkpoints/corpus.npz", tmp_path / "good.npz")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


@pytest.mark.parametrize("name", [".a.npz.lock", ".a.npz.tmp"])
def test_training_follows_no_link_next_to_its_checkpoint(folder, name):
    (folder / "checkpoints" / name).symlink_to("../keep")
    result = run_charrnn(*TRAIN, cwd=folder)
    if name.endswith("lock"):
        assert "it is a link; remove it" in one_line(result, 2)
    else:
        assert result.returncode == 0 and result.stderr == b""
        assert os.listdir(folder / "checkpoints") == ["a.npz"]
    assert (folder / "keep").read_text() == "precious"


@pytest.mark.parametrize("command", [TRAIN, [*TRAIN, "--dry-run"], ["report", "-m", "good.npz"]],
                         ids=["train", "dry-run", "report"])
def test_an_invalid_file_name_is_refused_in_one_line(folder, command):
    before = sorted(os.listdir(folder))
    for out in ("", "missing/../x", "x" * 300, "fifo", "/dev/stdout"):
        one_line(run_charrnn(*command, "-o", out, cwd=folder), 2)
    assert sorted(os.listdir(folder)) == before


def test_a_device_is_not_replaced_by_a_checkpoint(folder):
    one_line(run_charrnn(*TRAIN, "--overwrite", "-o", "/dev/null", cwd=folder), 2)
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize("command", [
    ["sample", "-m", "fifo"], ["eval", "a.txt", "-m", "fifo"], ["report", "-m", "fifo"],
    ["sample", "-m", "/dev/zero"], [*TRAIN, "--init-from", "fifo"]], ids=range(5))
def test_a_fifo_given_as_a_checkpoint_is_refused_at_once(folder, command):
    assert "not a regular file" in one_line(run_charrnn(*command, cwd=folder), 2)
