"""Random numbers: rows drawn separately equal the rows of the whole array."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.nn.rng import Purpose, generator, uniform_rows


@pytest.mark.parametrize("width", [1, 3, 7, 8, 13, 100])
def test_rows_of_random_numbers_are_those_of_the_whole_array(width):
    whole = generator(5, Purpose.DROPOUT, 9).random((12, width), np.float32)
    for start in range(12):
        for stop in range(start + 1, 13):
            some = uniform_rows(5, Purpose.DROPOUT, 9, slice(start, stop), width)
            np.testing.assert_array_equal(some, whole[start:stop])


@pytest.mark.parametrize(("arguments", "first"), [
    ((1, Purpose.PARAMETERS), 0.3035680343067586),
    ((5, Purpose.DROPOUT, 2, 1), 0.41687108092352054),
    ((3, Purpose.SAMPLING, 7), 0.7099148034862988),
    ((3, Purpose.WINDOW_OFFSET, 1), 0.30586132917863407),
])
def test_the_numbers_of_a_seed_never_change(arguments, first):
    assert generator(*arguments).random() == first
