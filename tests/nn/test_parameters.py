"""Parameters: their initial values, and their layout in one flat vector."""

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


def test_input_and_output_weights_start_gaussian_with_the_documented_variances():
    V, H = 300, 100
    params = initialize(Architecture(V, H, 2, "tanh", "float64"), np.random.default_rng(0))
    drawn = ((params.W_xh[0], 1), (params.W_xh[1], H**-0.5), (params.W_hy, (2 * H) ** -0.5))
    for W, spread in drawn:
        error = spread / W.size**0.5
        assert abs(W.mean()) < 4 * error
        assert W.std() == pytest.approx(spread, abs=4 * error)


def test_by_default_a_network_is_one_tanh_layer_of_the_vanilla_cell_in_float32():
    arch = Architecture(5, 3)
    assert (arch.layers, arch.activation, arch.dtype, arch.cell_type) == (
        1, "tanh", "float32", "rnn")
    assert list(arch.shapes()) == ["W_xh0", "W_hh0", "b_h0", "W_hy", "b_y"]
