"""What follows from the settings of a run and its text: the default dropout."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from training_runs import prepared

from charrnn.text.split import Split


@pytest.mark.parametrize(("chars", "expected"), [(1000, 0.3), (200_000, 0.1), (10**8, 0.0)])
def test_the_default_dropout_is_the_higher_the_less_text_there_is(
    corpus, tmp_path, chars, expected
):
    text = Split(np.broadcast_to(np.uint8(1), chars), np.zeros(1, np.uint8))  # takes no memory
    run = prepared(corpus, tmp_path / "a.npz", dropout=None)
    assert dataclasses.replace(run, train=text).dropout == pytest.approx(expected, abs=1e-3)
    run = prepared(corpus, tmp_path / "a.npz", dropout=0.0)
    assert dataclasses.replace(run, train=text).dropout == 0
