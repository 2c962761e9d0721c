"""The mean of the probabilities of several networks, against that of their own predictions."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.inference.ensemble import Ensemble, log_mean, reader, stepper
from charrnn.inference.sampling import samples
from charrnn.inference.scoring import score, score_lines
from charrnn.nn.parameters import Architecture, initialize
from charrnn.text.split import Split

V = 7


def softmax(z):
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


@pytest.fixture
def members():
    """Networks that share nothing but their symbols."""
    kinds = [(5, 1, "rnn", "float64"), (4, 2, "gru", "float64"), (3, 2, "lstm", "float32")]
    return [initialize(Architecture(V, H, layers, "tanh", dtype, cell), np.random.default_rng(H))
            for H, layers, cell, dtype in kinds]


def text(length, seed=1):
    return np.random.default_rng(seed).integers(V, size=length)


def test_windows_and_steps_predict_the_mean_of_the_probabilities(members):
    network, x = Ensemble(members), text(24).reshape(6, 4)
    alone = [reader(member, 6, 4)(x, member.zero_state(4))[0] for member in members]
    expected = np.mean([softmax(z) for z in alone], axis=0)
    read, state = reader(network, 6, 4), network.zero_state(4)
    z, state = read(x[:2], state)
    np.testing.assert_allclose(np.exp(z), expected[:8], rtol=1e-5)
    z, after = read(x[2:], state)
    np.testing.assert_allclose(np.exp(z), expected[8:], rtol=1e-5)
    assert after.shape == state.shape
    step = stepper(network, state)
    for t in range(2, 6):
        np.testing.assert_allclose(np.exp(step(x[t])), expected[4 * t : 4 * t + 4], rtol=1e-5)


def test_a_reset_reaches_every_member(members):
    network, x = Ensemble(members), text(6).reshape(6, 1)
    reset = (np.arange(6) == 3)[:, None]
    whole, _ = reader(network, 6, 1)(x, network.zero_state(1), reset)
    second, _ = reader(network, 6, 1)(x[3:], network.zero_state(1))
    np.testing.assert_allclose(whole[3:], second, rtol=1e-6)


def test_the_score_is_that_of_the_mean_of_the_probabilities(members):
    part = Split(text(3000), text(3))
    found = score(Ensemble(members), part, threads=2)
    sequence = np.concatenate([part.context, part.ids])[:, None]
    alone = [reader(member, 64, 1) for member in members]
    states, rows = [member.zero_state(1) for member in members], []
    for t in range(0, len(sequence) - 1, 64):
        p = 0
        for i, read in enumerate(alone):
            z, states[i] = read(sequence[t : t + 64], states[i])
            p = p + softmax(z.astype(float)) / len(members)
        rows.append(p)
    p = np.concatenate(rows)[len(part.context) - 1 :][: len(part.ids)]
    nats = -np.log(p[np.arange(len(part.ids)), part.ids]).sum()
    assert found.nats == pytest.approx(nats, rel=1e-4), "segments have a limited context"
    assert found.chars == 3000
    assert abs(found.right - (p.argmax(axis=1) == part.ids).sum()) <= 3


def test_one_member_scores_as_it_does_alone(members):
    part, lines = Split(text(2000), text(3)), [text(5), text(80)]
    for member in members:
        alone, one = score(member, part), score(Ensemble([member]), part)
        assert one.nats == pytest.approx(alone.nats, rel=1e-6)
        for a, b in zip(score_lines(member, lines, 2), score_lines(Ensemble([member]), lines, 2),
                        strict=True):
            assert b.nats == pytest.approx(a.nats, rel=1e-6)


def test_the_mean_of_several_is_better_than_the_mean_of_their_scores(members):
    part = Split(text(2000), text(3))
    alone = [score(member, part).nats for member in members]
    assert score(Ensemble(members), part).nats < np.mean(alone)  # by Jensen's inequality


def test_samples_follow_the_mean_of_the_probabilities(members):
    network = Ensemble(members)
    drawn = np.concatenate([ids for _, ids in samples(network, text(3), count=4000, length=1,
                                                      seed=5)])
    z = [reader(member, 3, 1)(text(3)[:, None], member.zero_state(1))[0][-1:]
         for member in members]
    expected = np.mean([softmax(each) for each in z], axis=0)[0]
    np.testing.assert_allclose(np.bincount(drawn, minlength=V) / 4000, expected, atol=0.03)
    best = np.concatenate([ids for _, ids in samples(network, text(3), count=3, length=1, seed=5,
                                                     temperature=0)])
    assert best.tolist() == 3 * [expected.argmax()]


def test_a_probability_too_small_for_its_type_is_not_lost():
    certain = np.array([[0.0, -500.0]], np.float32)
    np.testing.assert_allclose(log_mean([certain, certain]), certain, atol=1e-6)
    half = np.array([[-500.0, 0.0]], np.float32)
    np.testing.assert_allclose(log_mean([certain, half]), np.log([[0.5, 0.5]]), rtol=1e-6)


def test_logits_that_overflowed_stay_not_finite():
    assert not np.isfinite(log_mean([np.array([[np.inf, 0.0]]), np.zeros((1, 2))])).all()


def test_networks_of_different_vocabularies_are_no_ensemble(members):
    other = initialize(Architecture(V + 1, 3), np.random.default_rng(0))
    with pytest.raises(AssertionError, match="7, 7, 7, 8"):
        Ensemble([*members, other])
