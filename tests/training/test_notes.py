"""Notes on a run: validation on the training text, output of charrnn among the texts."""

from __future__ import annotations

import hashlib
import os

import pytest
from training_runs import TEXT, prepared

OVERLAP = "all of the validation text is also training text"


def test_validation_on_the_training_text_is_noted(corpus, tmp_path):
    copy, other, folder = tmp_path / "copy.txt", tmp_path / "other.txt", tmp_path / "both"
    copy.write_bytes(corpus.read_bytes())
    other.write_text(TEXT[1:])
    folder.mkdir()
    for file in (copy, other):
        (folder / file.name).write_bytes(file.read_bytes())

    def noted(text, val):
        return any(OVERLAP in note for note in prepared(text, tmp_path / "a.npz", val=val).notes)

    for text, val in ((corpus, corpus), (corpus, copy), (folder, other), (folder, folder)):
        assert noted(text, val), (text, val)
    for text, val in ((corpus, other), (copy, folder), (corpus, None)):
        assert not noted(text, val), (text, val)


@pytest.mark.parametrize("named", [None, 7])
def test_a_validation_folder_is_compared_with_each_training_file_once(
    tmp_path, monkeypatch, named
):
    (tmp_path / "texts").mkdir()
    for number in range(40):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"{TEXT[:200]}{number:02}\n")
    opened = []
    real = hashlib.file_digest

    def file_digest(file, name):
        opened.append(file.name)
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    val = tmp_path / "texts" / f"{named}.txt" if named is not None else tmp_path / "val"
    if named is None:
        (tmp_path / "val").mkdir()
        for number in range(20):
            os.link(tmp_path / "texts" / f"{number}.txt", val / f"{number}.txt")
    notes = prepared(tmp_path / "texts", tmp_path / "a.npz", val=val).notes
    assert any(OVERLAP in note for note in notes)
    assert len(opened) == (60 if named is None else 41)


def test_a_validation_text_of_another_size_is_not_compared(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(hashlib, "file_digest", None)
    (tmp_path / "val.txt").write_text(TEXT[2:])
    notes = prepared(corpus, tmp_path / "a.npz", val=tmp_path / "val.txt").notes
    assert not any(OVERLAP in note for note in notes)


def test_a_log_that_is_named_is_read_with_a_note(tmp_path):
    log = tmp_path / "run.log"
    log.write_text("a.txt: 1,115 characters, 65 distinct\nmodel: 24 parameters\n" + TEXT)
    notes = prepared(log, tmp_path / "a.npz").notes
    assert f"read as text, but probably written by charrnn: {log}" in notes
