"""Requests for a run: where its checkpoint is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.errors import UsageError
from charrnn.training.run import checkpoint_path


@pytest.mark.parametrize(("out", "corpora", "path"), [
    (None, ["texts/a.txt"], "checkpoints/a.npz"),
    (None, ["a.txt.gz"], "checkpoints/a.npz"),
    (None, ["a.b.txt", "c.txt", "d.txt"], "checkpoints/a.b+2.npz"),
    (None, ["-"], "checkpoints/stdin.npz"),
    (None, ["folder.of.texts"], "checkpoints/folder.of.texts.npz"),
    ("model.npz", ["a.txt"], "model.npz"),
    ("model", ["a.txt"], "model.npz"),
    ("runs/model", ["a.txt"], "runs/model.npz"),
    ("runs/model.1", ["a.txt"], "runs/model.1"),
    ("old-model", ["a.txt"], "old-model"),
    ("dead-link", ["a.txt"], "dead-link"),
    ("runs/new/.", ["a.txt"], "runs/new/a.npz"),
    ("runs/", ["a.txt"], "runs/a.npz"),
    ("runs/new/", ["a.txt", "b.txt"], "runs/new/a+1.npz"),
    ("folder.of.texts", ["a.txt"], "folder.of.texts/a.npz"),
    (".", ["a.txt"], "a.npz"),
])
def test_a_checkpoint_is_named_by_out_or_after_the_text(tmp_path, monkeypatch, out, corpora, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.of.texts").mkdir()
    (tmp_path / "old-model").write_bytes(b"as earlier versions named it")
    (tmp_path / "dead-link").symlink_to("nothing")
    assert checkpoint_path(out, corpora) == Path(path)


def test_a_checkpoint_cannot_go_to_standard_output():
    with pytest.raises(UsageError, match="name a file with -o"):
        checkpoint_path("-", ["a.txt"])
    assert checkpoint_path("./-", ["a.txt"]) == Path("-.npz")
