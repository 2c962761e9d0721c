"""The stepper follows the equations, one step at a time."""

from __future__ import annotations

import numpy as np
import pytest
from nn_case import Case
from reference import step

from charrnn.nn.stepper import Stepper


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_stepper_follows_the_equations_step_by_step(kernel, layers, activation):
    case = Case(layers, activation)
    stepper, state = Stepper(case.params, case.state), case.state
    for x in case.x:
        expected, state = step(case.params, x, state)
        np.testing.assert_allclose(stepper(x), expected, rtol=1e-12)
