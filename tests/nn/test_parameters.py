"""Parameters: their initial values, and their place in one flat vector."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.nn.parameters import Architecture, Parameters, initialize


@pytest.mark.parametrize("size", [5, 32])
def test_recurrent_weights_start_orthogonal_and_biases_at_zero(size):
    arch = Architecture(7, size, 2, "tanh", "float64")
    params = initialize(arch, np.random.default_rng(0))
    for W_hh in params.W_hh:
        np.testing.assert_allclose(W_hh @ W_hh.T, np.eye(size), atol=1e-12)
    assert not np.any(params.b_h[0]) and not np.any(params.b_y)


def test_named_parameters_are_views_of_the_flat_vector_and_fill_it():
    params = Parameters(Architecture(5, 3, 2))
    params.flat[:] = 1
    assert sum(view.sum() for view in params.named.values()) == params.flat.size
    params.W_hh[1][:] = 2
    assert (params.flat == 2).sum() == 9
