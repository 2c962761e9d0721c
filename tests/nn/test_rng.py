"""Random numbers: that whoever takes some rows of an array gets those of the whole."""

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
