"""A text and a model of it, for the tests of the commands."""

from __future__ import annotations

import pytest
from commands import TEXT, TINY, run_charrnn


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a text and a model of it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "corpus.txt").write_text(TEXT, encoding="utf-8")
    result = run_charrnn("train", "corpus.txt", *TINY, "--steps", "60", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert result.stdout == b""
    folder.joinpath("trained.txt").write_bytes(result.stderr)
    return folder
