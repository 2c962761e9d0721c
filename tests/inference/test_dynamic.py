"""Dynamic evaluation: each symbol is scored by what was learned before it; nothing is kept."""

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
    """Symbol by symbol; after every sixteen an update by the gradient of those sixteen."""
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


def test_the_weights_that_are_evaluated_do_not_change(params):
    before = params.flat.copy()
    list(dynamic.evaluate(params, Split(text(200), text(1))))
    np.testing.assert_array_equal(params.flat, before)


def test_the_first_symbols_are_scored_by_the_weights_as_they_are(params):
    part = Split(text(16), text(128, seed=1))
    learned, fixed = next(dynamic.evaluate(params, part)), next(scoring.score_blocks(params, part))
    np.testing.assert_allclose(learned.nats, fixed.nats, rtol=1e-9)
    np.testing.assert_array_equal(learned.right, fixed.right)


def test_a_text_that_repeats_itself_is_learned(params):
    part = Split(np.tile(text(7), 3000), text(1))
    learned = scoring.total(dynamic.evaluate(params, part))
    fixed = scoring.score(params, part)
    assert learned.chars == fixed.chars == 21_000
    assert learned.nats_per_char < fixed.nats_per_char - 0.5


@pytest.mark.parametrize("at", [0, 1, 15, 16, 17])
def test_a_document_is_read_from_the_zero_state(params, at):
    ids, context, start = text(40), text(30, seed=1), 4
    nats = nats_of(params, Split(ids, context, DocumentStarts(np.array([-3, at]), start)))
    end = at // 16 * 16 + 16  # of the symbols between two updates
    alone = next(scoring.score_blocks(params, Split(ids[at:end], np.array([start])))).nats
    if at < 16:  # weights as they are
        np.testing.assert_allclose(nats[at:end], alone, rtol=1e-9)
    usual = nats_of(params, Split(ids, context))
    assert not np.allclose(nats[at:end], usual[at:end], rtol=1e-4)
