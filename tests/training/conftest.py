from __future__ import annotations

import pytest
from training_runs import SHARED_TEXT, TEXT

from charrnn.text.batches import Batches


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def shared_corpus(tmp_path, monkeypatch):
    """A text for several processes, with as many shards as sequences."""
    monkeypatch.setattr(Batches, "SEQUENCES_PER_SHARD", 1)
    path = tmp_path / "corpus.txt"
    path.write_text(SHARED_TEXT)
    return path


@pytest.fixture
def library(tmp_path):
    """Three files, of which the last is held out in part."""
    (tmp_path / "library").mkdir()
    for name, lines in (("a", 7), ("b", 5), ("c", 8)):
        (tmp_path / "library" / name).write_text(TEXT[: 79 * lines + 3])
    return tmp_path / "library"
