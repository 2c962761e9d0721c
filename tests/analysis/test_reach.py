"""Gradient reach, against numerical gradients."""

from __future__ import annotations

import numpy as np
import pytest
from reference import step

from charrnn.analysis import reach
from charrnn.nn.network import Activations, forward
from charrnn.nn.parameters import Architecture, initialize


@pytest.fixture(scope="module")
def params():
    made = initialize(Architecture(6, 5, 2, "tanh", "float64"), np.random.default_rng(5))
    made.W_hy *= 2
    return made


def symbols(length, seed=0):
    return np.random.default_rng(seed).integers(0, 6, length).astype(np.uint8)


@pytest.mark.parametrize("V", [6, 50, 5000])
def test_reach_is_the_same_with_the_vocabulary_narrowed(monkeypatch, V):
    made = initialize(Architecture(V, 7, 2, "tanh", "float64"), np.random.default_rng(5))
    ids = np.random.default_rng(1).integers(0, V, 600)
    monkeypatch.setattr(reach, "LARGE", V)
    expected = reach.reach(made, ids)
    monkeypatch.setattr(reach, "LARGE", V - 1)
    np.testing.assert_allclose(reach.reach(made, ids), expected, rtol=1e-9)


def test_reach_equals_the_norms_of_numerical_gradients(params, monkeypatch):
    monkeypatch.setattr(reach, "REACH", 5)
    monkeypatch.setattr(reach, "PLACES", 1)
    ids = symbols(40).astype(np.intp)
    found = reach.reach(params, ids)
    end, epsilon = 2 * reach.REACH, 1e-6
    x = ids[end - 2 * reach.REACH : end + 1]
    norms = []
    for k in range(1, 6):
        state = params.zero_state(1)
        for symbol in x[: len(x) - 1 - k]:
            _, state = step(params, np.array([symbol]), state)

        def loss(state, k=k):
            for symbol in x[len(x) - 1 - k : -1]:
                z, state = step(params, np.array([symbol]), state)
            return np.log(np.exp(z[0]).sum()) - z[0, x[-1]]

        gradient = [(loss(state + epsilon * e) - loss(state - epsilon * e)) / (2 * epsilon)
                    for e in np.eye(10)[:, None]]
        norms.append([np.linalg.norm(gradient[:5]), np.linalg.norm(gradient[5:])])
    np.testing.assert_allclose(found, np.array(norms) / norms[0], rtol=1e-5)
    assert reach.reach(params, ids[:8]) == []


def test_the_shortest_text_with_a_reach_has_one_position(params, monkeypatch):
    monkeypatch.setattr(reach, "REACH", 5)
    ids = symbols(40).astype(np.intp)
    shortest = reach.reach(params, ids[:12])
    monkeypatch.setattr(reach, "PLACES", 1)
    assert len(shortest) == 5
    np.testing.assert_allclose(shortest, reach.reach(params, ids), rtol=1e-9)
    assert reach.reach(params, ids[:11]) == []


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_reach_is_of_the_whole_carried_state_of_every_cell(kind, monkeypatch):
    monkeypatch.setattr(reach, "REACH", 4)
    monkeypatch.setattr(reach, "PLACES", 1)
    arch = Architecture(6, 3, 2, dtype="float64", cell_type=kind)
    params, ids = initialize(arch, np.random.default_rng(5)), symbols(10).astype(np.intp)
    x, epsilon, norms = ids[:, None], 1e-6, []
    for k in range(1, 5):
        _, state = forward(params, x[: 8 - k], params.zero_state(1), Activations(arch, 8, 1))

        def loss(state, k=k):
            z, _ = forward(params, x[8 - k : 8], state, Activations(arch, 8, 1))
            return np.log(np.exp(z[-1]).sum()) - z[-1, ids[8]]

        gradient = [(loss(state + epsilon * e) - loss(state - epsilon * e)) / (2 * epsilon)
                    for e in np.eye(arch.state_size)[:, None]]
        by_layer = np.reshape(gradient, (arch.cell.n_states, 2, 3))
        norms.append(np.sqrt((by_layer ** 2).sum(axis=(0, 2))))
    np.testing.assert_allclose(reach.reach(params, ids), norms / norms[0], rtol=1e-5)
