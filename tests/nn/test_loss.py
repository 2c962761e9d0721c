"""Softmax and cross-entropy have known values, also where exp would overflow."""

from __future__ import annotations

import numpy as np
import pytest
from nn_case import B, H, T

from charrnn.nn.loss import cross_entropy
from charrnn.nn.network import Activations, forward
from charrnn.nn.parameters import Architecture, Parameters


@pytest.mark.parametrize("size", [1, 2, 65])
def test_zero_weights_have_a_loss_of_log_v(size):
    arch = Architecture(size, H, 2, "tanh", "float64")
    params, x = Parameters(arch), np.zeros((T, B), int)
    logits, _ = forward(params, x, params.zero_state(B), Activations(arch, T, B))
    assert cross_entropy(logits, x) == pytest.approx(np.log(size), abs=1e-15)


def test_cross_entropy_is_right_for_logits_that_overflow_exp():
    logits = np.array([[1000.0, 0.0], [-1000.0, 0.0]])
    assert cross_entropy(logits, np.array([[0], [0]])) == pytest.approx(500.0)
    np.testing.assert_allclose(logits, [[0, 0], [-0.5, 0.5]])
