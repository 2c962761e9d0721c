"""Which checkpoint is meant: names in short, the environment, the newest one, dead links."""

from __future__ import annotations

import os
import shutil
import time

import pytest
from commands import one_line, run_charrnn


def test_without_a_checkpoint_the_error_gives_the_remedy(tmp_path):
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
def test_only_a_regular_file_can_be_the_newest_checkpoint(home, tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    os.mkfifo(folder / "fifo.npz")
    (folder / "folder.npz").mkdir()
    (folder / "device.npz").symlink_to("/dev/zero")
    (folder / "gone.npz").symlink_to("nowhere")
    (folder / "circle.npz").symlink_to("circle.npz")
    for name in ("gone.npz", "circle.npz"):
        os.utime(folder / name, (1, 1), follow_symlinks=False)
    (folder / "link.npz").symlink_to(home / "checkpoints/corpus.npz")
    result = run_charrnn("sample", "--length", "3", cwd=tmp_path)
    assert b"checkpoints/link.npz" in result.stderr


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_a_newest_checkpoint_that_is_a_dead_link_is_named(home, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(home / "checkpoints/corpus.npz", tmp_path / "checkpoints/old.npz")
    os.utime(tmp_path / "checkpoints/old.npz", (1, 1))
    (tmp_path / "checkpoints/latest.npz").symlink_to("/no/such/file.npz")
    line = one_line(run_charrnn("sample", cwd=tmp_path), 2)
    assert "checkpoints/latest.npz, the newest checkpoint, is a link" in line
    assert "(/no/such/file.npz)" in line and "-m" in line
    line = one_line(run_charrnn("sample", "-m", "latest", cwd=tmp_path), 2)
    assert "no such checkpoint; did you mean" not in line


@pytest.mark.parametrize("name", ["other", "other.npz", "checkpoints/other", "./checkpoints/other",
                                  "checkpoints", "checkpoints/"])
def test_a_checkpoint_is_found_without_its_ending_and_its_folder(home, tmp_path, name):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "other").mkdir()  # a folder of texts
    shutil.copy(home / "checkpoints/corpus.npz", tmp_path / "checkpoints/other.npz")
    by_variable = {"env": {"CHARRNN_CHECKPOINT": name}}
    for args, more in ((["-m", name], {}), ([name], {}), ([], by_variable)):
        result = run_charrnn("sample", *args, "--length", "3", cwd=tmp_path, **more)
        assert result.returncode == 0, result
        assert result.stderr.startswith(b"checkpoints/other.npz, seed ")


def test_an_empty_name_is_not_the_newest_checkpoint(home):
    for args in (["-m", ""], [""]):
        assert "the name is empty" in one_line(run_charrnn("sample", *args, cwd=home), 2)


def test_the_named_file_comes_before_one_with_a_longer_name(home, tmp_path):
    for name in ("a", "a.npz"):
        shutil.copy(home / "checkpoints/corpus.npz", tmp_path / name)
    result = run_charrnn("sample", "-m", "a", "--length", "3", cwd=tmp_path)
    assert result.stderr.startswith(b"a, seed ")


def test_a_checkpoint_that_does_not_exist_is_named_with_a_similar_one(home, tmp_path):
    assert "corpsu: no such checkpoint; did you mean checkpoints/corpus.npz?" in one_line(
        run_charrnn("sample", "-m", "corpsu", cwd=home), 2)
    named = {"CHARRNN_CHECKPOINT": "nothing.npz"}
    assert "$CHARRNN_CHECKPOINT names nothing.npz: no such checkpoint" in one_line(
        run_charrnn("sample", cwd=tmp_path, env=named), 2)


def test_a_hint_names_the_folder_that_was_searched_and_no_folder_or_dissimilar_file(home, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copy(home / "checkpoints/corpus.npz", tmp_path / "other/model.npz")
    assert "other/mdel: no such checkpoint; did you mean other/model.npz?" in one_line(
        run_charrnn("sample", "-m", "other/mdel", cwd=tmp_path), 2)
    shutil.copy(home / "checkpoints/corpus.npz", tmp_path / "je.npz")
    (tmp_path / "nop.npz").mkdir()
    for name in ("nope.npz", "nope"):
        line = one_line(run_charrnn("sample", "-m", name, cwd=tmp_path), 2)
        assert line.endswith(f"{name}: no such checkpoint\n")


def test_only_a_bare_name_is_looked_for_in_checkpoints(home, tmp_path):
    here = tmp_path / "here"
    (here / "checkpoints/sub").mkdir(parents=True)
    for name in ("model2.npz", "here/checkpoints/sub/model.npz"):
        shutil.copy(home / "checkpoints/corpus.npz", tmp_path / name)
    os.rename(tmp_path / "model2.npz", here / "model2.npz")  # checkpoints/../model2.npz
    for name in ("../model2", "../model2.npz", "sub/model"):
        line = one_line(run_charrnn("sample", "-m", name, cwd=here), 2)
        assert f"{name}: no such checkpoint" in line


def test_a_name_with_a_slash_at_the_end_is_a_folder(home, tmp_path):
    for folder in ("checkpoints", "runs"):
        (tmp_path / folder).mkdir()
    for name in ("checkpoints/runs.npz", "checkpoints/other.npz", "runs/a.npz"):
        shutil.copy(home / "checkpoints/corpus.npz", tmp_path / name)
    result = run_charrnn("sample", "-m", "runs/", "--length", "3", cwd=tmp_path)
    assert result.stderr.startswith(b"runs/a.npz, seed ")
    for name in ("other/", "runs/a.npz/"):
        line = one_line(run_charrnn("sample", "-m", name, cwd=tmp_path), 2)
        assert f"{name}: no such folder" in line


def test_the_name_of_a_checkpoint_and_of_a_folder_with_checkpoints_is_refused(home, tmp_path):
    for folder in ("checkpoints", "runs"):
        (tmp_path / folder).mkdir()
    for name in ("checkpoints/runs.npz", "runs/a.npz"):
        shutil.copy(home / "checkpoints/corpus.npz", tmp_path / name)
    line = one_line(run_charrnn("sample", "-m", "runs", cwd=tmp_path), 2)
    assert "folder runs/" in line and "or the file checkpoints/runs.npz" in line
    os.remove(tmp_path / "runs/a.npz")
    result = run_charrnn("sample", "-m", "runs", "--length", "3", cwd=tmp_path)
    assert result.stderr.startswith(b"checkpoints/runs.npz, seed "), "a folder of texts"


def test_hidden_files_are_not_checkpoints(home, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(home / "checkpoints/corpus.npz", tmp_path / "checkpoints/a.npz")
    os.utime(tmp_path / "checkpoints/a.npz", (1, 1))
    (tmp_path / "checkpoints/._a.npz").write_bytes(b"of another program")
    result = run_charrnn("sample", "--length", "3", cwd=tmp_path)
    assert result.stderr.startswith(b"checkpoints/a.npz, seed ")


def test_a_text_with_the_name_of_a_checkpoint_gets_the_checkpoint_as_a_hint(home, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in ("x", "y"):
        (tmp_path / name).write_text("a text")
    for name in ("x.npz", "checkpoints/y.npz"):
        shutil.copy(home / "checkpoints/corpus.npz", tmp_path / name)
        line = one_line(run_charrnn("sample", "-m", name[-5], cwd=tmp_path), 2)
        assert line.endswith(f"{name[-5]}: it is not a checkpoint; did you mean {name}?\n")


def test_a_run_starts_from_a_named_checkpoint_never_from_the_newest(home, tmp_path):
    shutil.copy(home / "checkpoints/corpus.npz", tmp_path / "a.npz")
    (tmp_path / "runs").mkdir()
    shutil.copy(home / "checkpoints/corpus.npz", tmp_path / "runs/b.npz")
    (tmp_path / "empty").mkdir()
    start = ("train", home / "corpus.txt", "--steps", "1", "--init-from")
    assert "the name is empty" in one_line(run_charrnn(*start, "", cwd=tmp_path), 2)
    for folder in ("runs", "runs/", "empty", "."):
        line = one_line(run_charrnn(*start, folder, cwd=tmp_path), 2)
        assert f"--init-from {folder}: it is a folder; name one of its checkpoints" in line
    result = run_charrnn(*start, "runs/b", cwd=tmp_path)
    assert result.returncode == 0
    assert b"note: the weights are those of runs/b.npz, step 60" in result.stderr
    resumed = run_charrnn(*start[:3], "2", "--init-from", "runs/b", cwd=tmp_path)
    assert resumed.returncode == 0 and b"the weights are those of" not in resumed.stderr
