"""Notes on a run: validation on the training text."""

from __future__ import annotations

from training_runs import TEXT, prepared

OVERLAP = "the validation text is the training text or part of it"


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
