"""Dynamic evaluation scores each symbol with weights trained only on the text before it."""

from __future__ import annotations

import numpy as np
import pytest
from reference import step

from charrnn.inference import dynamic, scoring
from charrnn.nn.loss import cross_entropy
from charrnn.nn.network import Activations, backward, forward
from charrnn.nn.parameters import Architecture, Parameters, initialize
from charrnn.text.split import DocumentStarts, Split

V = 5


@pytest.fixture
def params():
    return initialize(Architecture(V, 6, 2, "tanh", "float64"), np.random.default_rng(3))


def text(length, seed=0):
    return np.random.default_rng(seed).integers(0, V, length).astype(np.uint8)


def nats_of(params, part):
    return np.concatenate([block.nats for block in dynamic.evaluate(params, part)])


def by_definition(params, part):
    """Symbol by symbol; after every 16 symbols, an update by the gradient of those 16."""
    params, squares, nats = params.copy(), [], []
    state = params.zero_state(1)
    read = part.context[-128:]
    for symbol in read[:-1]:
        _, state = step(params, np.array([symbol]), state)
    inputs = np.concatenate([read[-1:], part.ids[:-1]])
    for t in range(0, len(part), 16):
        x, y, first = inputs[t : t + 16], part.ids[t : t + 16], state
        for symbol, target in zip(x, y, strict=True):
            z, state = step(params, np.array([symbol]), state)
            nats.append(np.log(np.exp(z[0]).sum()) - z[0, target])
        activations, grad = Activations(params.arch, len(x), 1), Parameters(params.arch)
        logits, _ = forward(params, x[:, None], first, activations)
        cross_entropy(logits, y[:, None])
        backward(params, x[:, None], logits, activations, grad)
        squares.append(grad.flat**2)
        params.flat -= 1e-4 * grad.flat / (np.sqrt(np.mean(squares, axis=0)) + 1e-5)
    return np.array(nats)


@pytest.mark.parametrize("before", [1, 2, 128, 300])
@pytest.mark.parametrize("length", [1, 15, 16, 17, 100])
def test_every_symbol_has_the_surprisal_of_the_definition(params, length, before):
    part = Split(text(length), text(before, seed=1))
    np.testing.assert_allclose(nats_of(params, part), by_definition(params, part), rtol=1e-9)


def test_evaluation_does_not_change_the_given_weights(params):
    before = params.flat.copy()
    list(dynamic.evaluate(params, Split(text(200), text(1))))
    np.testing.assert_array_equal(params.flat, before)


def test_the_first_symbols_are_scored_with_the_original_weights(params):
    part = Split(text(16), text(128, seed=1))
    adapted, fixed = next(dynamic.evaluate(params, part)), next(scoring.score_blocks(params, part))
    np.testing.assert_allclose(adapted.nats, fixed.nats, rtol=1e-9)
    np.testing.assert_array_equal(adapted.right, fixed.right)


def test_the_score_of_a_repetitive_text_improves(params):
    part = Split(np.tile(text(7), 3000), text(1))
    adapted = scoring.total(dynamic.evaluate(params, part))
    fixed = scoring.score(params, part)
    assert adapted.chars == fixed.chars == 21_000
    assert adapted.nats_per_char < fixed.nats_per_char - 0.5


@pytest.mark.parametrize("at", [0, 1, 15, 16, 17])
def test_a_document_is_read_from_the_zero_state(params, at):
    ids, context, start = text(40), text(30, seed=1), 4
    nats = nats_of(params, Split(ids, context, DocumentStarts(np.array([-3, at]), start)))
    end = at // 16 * 16 + 16  # of the symbols between two updates
    alone = next(scoring.score_blocks(params, Split(ids[at:end], np.array([start])))).nats
    if at < 16:  # before the first update
        np.testing.assert_allclose(nats[at:end], alone, rtol=1e-9)
    usual = nats_of(params, Split(ids, context))
    assert not np.allclose(nats[at:end], usual[at:end], rtol=1e-4)
