"""Dynamic evaluation: every symbol by what was learned before it, and nothing kept."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import step

from charrnn import dynamic, evaluation
from charrnn.lanes import Resets
from charrnn.model import Tape, backward, cross_entropy, forward
from charrnn.parameters import Architecture, Parameters, initialise

V = 5


@pytest.fixture
def params():
    return initialise(Architecture(V, 6, 2, "tanh", "float64"), np.random.default_rng(3))


def text(length, seed=0):
    return np.random.default_rng(seed).integers(0, V, length).astype(np.uint8)


def by_definition(params, before, ids):
    """Symbol by symbol; after every sixteen a step against the gradient of those sixteen."""
    params, squares, nats = params.copy(), [], []
    h = params.zero_state(1)
    read = before[-128:]
    for symbol in read[:-1]:
        _, h = step(params, np.array([symbol]), h)
    inputs = np.concatenate([read[-1:], ids[:-1]])
    for t in range(0, len(ids), 16):
        x, y, h0 = inputs[t : t + 16], ids[t : t + 16], h
        for symbol, target in zip(x, y, strict=True):
            z, h = step(params, np.array([symbol]), h)
            nats.append(np.log(np.exp(z[0]).sum()) - z[0, target])
        tape, grad = Tape(params.arch, len(x), 1), Parameters(params.arch)
        logits, _ = forward(params, x[:, None], h0, tape)
        cross_entropy(logits, y[:, None])
        backward(params, x[:, None], logits, tape, grad)
        squares.append(grad.flat**2)
        params.flat -= 1e-4 * grad.flat / (np.sqrt(np.mean(squares, axis=0)) + 1e-5)
    return np.array(nats)


@pytest.mark.parametrize("before", [1, 2, 128, 300])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 100])
def test_every_symbol_has_the_surprisal_of_the_definition(params, length, before):
    preceding = text(before, seed=1)
    blocks = list(dynamic.surprisals(params, text(length), preceding))
    nats = np.concatenate([nats for nats, _ in blocks])
    np.testing.assert_allclose(nats, by_definition(params, preceding, text(length)), rtol=1e-9)


def test_the_weights_that_are_scored_stay_as_they_are(params):
    before = params.flat.copy()
    list(dynamic.surprisals(params, text(200), text(1)))
    np.testing.assert_array_equal(params.flat, before)


def test_the_first_window_is_scored_by_the_weights_as_they_are(params):
    nats, right = next(dynamic.surprisals(params, text(16), text(128, seed=1)))
    fixed, fixed_right = next(evaluation.surprisals(params, text(16), text(128, seed=1)))
    np.testing.assert_allclose(nats, fixed, rtol=1e-9)
    np.testing.assert_array_equal(right, fixed_right)


def test_a_text_that_repeats_itself_is_learned(params):
    again_and_again = np.tile(text(7), 3000)
    learned = evaluation.total(dynamic.surprisals(params, again_and_again, text(1)))
    fixed = evaluation.score(params, again_and_again, text(1))
    assert learned.chars == fixed.chars == 21_000
    assert learned.nats_per_char < fixed.nats_per_char - 0.5


@pytest.mark.parametrize("at", [0, 1, 15, 16, 17])
def test_where_a_document_begins_it_is_read_from_the_zero_state(params, at):
    ids, start = text(40), 4
    resets = Resets(np.array([-3, at]), start)
    blocks = dynamic.surprisals(params, ids, text(30, seed=1), resets)
    nats = np.concatenate([nats for nats, _ in blocks])
    end = at // 16 * 16 + 16  # of the window in which nothing is learned yet
    alone = next(evaluation.surprisals(params, ids[at:end], np.array([start])))[0]
    if at < 16:  # weights as they are
        np.testing.assert_allclose(nats[at:end], alone, rtol=1e-9)
    usual = np.concatenate([n for n, _ in dynamic.surprisals(params, ids, text(30, seed=1))])
    assert not np.allclose(nats[at:end], usual[at:end], rtol=1e-4)
