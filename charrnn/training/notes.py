"""What a user should know about a run before its first step."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

import numpy as np

from charrnn.text.corpus import Text
from charrnn.text.display import count, display_list, printable_name, undecodable_note
from charrnn.text.files import files_of, left_out_notes
from charrnn.training.run import Request, Run


def take_notes(run: Run, request: Request, val_text: Text | None) -> None:
    """Add the notes on a run's texts, batches and validation to the run."""
    batches, config, text = run.batches, run.config, run.text
    files = files_of(request.corpora)
    if len(files) > 1:
        run.notes.append(f"{len(files):,} files are read as one text: {display_list(files)}")
    run.notes += left_out_notes([*request.corpora, *([request.val] if request.val else [])])
    run.notes += undecodable_note(text.undecodable, config.errors)
    if val_text:
        run.notes += [f"{val_text.name}: {note}" for note in
                      undecodable_note(val_text.undecodable, config.errors)]
    if text.unknown:
        run.notes.append(f"{count(text.unknown, 'character')} replaced by U+FFFD: each occurs "
                         f"fewer than {config.min_count} times in the text")
    if isinstance(text.ids, np.memmap):
        where = "a temporary file, which is deleted at the end"
        if text.ids.filename is not None:
            where = printable_name(str(text.ids.filename))
        run.notes.append(f"the text is large: its symbols, {text.ids.nbytes / 1e9:,.1f} GB, are "
                         f"in {where}")
    shrunk = [
        f"{key} is reduced from {asked} to {fits}"
        for key, asked, fits in (("batch_size", config.batch_size, batches.B),
                                 ("seq_length", config.seq_length, batches.T))
        if fits < asked
    ]
    if shrunk:
        run.notes.append(f"the text is short: {', '.join(shrunk)}")
    if not len(run.validation):
        run.notes.append("there is no validation text, so the last weights count as the best")
    if _validates_on_training_text(request, run.checkpoint.origin):
        run.notes.append("all of the validation text is also training text, so the score does not "
                         "show how well the model predicts new text")


def _validates_on_training_text(request: Request, origin: dict[str, str | None]) -> bool:
    """Whether every file of ``--val`` is also a file of the corpus, or they are the same text."""
    if request.val is None:
        return False
    val, corpus = _by_size(files_of([request.val])), _by_size(files_of(request.corpora))
    return origin["val"] == origin["corpus"] or (None not in val and all(
        size in corpus and _digests(files) <= _digests(corpus[size])
        for size, files in val.items()
    ))


def _by_size(files: Iterable[str]) -> dict[int | None, list[str]]:
    """Files by size; None is the size of inputs that cannot be read twice."""
    found: dict[int | None, list[str]] = {}
    for file in files:
        regular = file != "-" and os.path.isfile(file)
        found.setdefault(os.path.getsize(file) if regular else None, []).append(file)
    return found


def _digests(files: Iterable[str]) -> set[bytes]:
    """SHA-256 of the bytes of each file, or its path if it no longer exists."""
    found = set()
    for file in files:
        try:
            with open(file, "rb") as data:
                found.add(hashlib.file_digest(data, "sha256").digest())
        except OSError:
            found.add(os.fsencode(file))
    return found
