"""Optimizers, clipping and schedules, against scalar versions of the papers' formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.config.settings import FIELDS
from charrnn.nn.optimizers import OPTIMIZERS, clip, learning_rate, norm

GRADS = [[0.5, -2.0], [0.25, 1.0], [-1.0, 0.125], [3.0, 0.0]]
RATE = 0.1


def run(name):
    update, slots = OPTIMIZERS[name]
    theta, moments = np.array([1.0, -1.0]), np.zeros((slots, 2))
    for step, grad in enumerate(GRADS, start=1):
        update(theta, np.array(grad), moments, step, RATE)
    return theta


def by_hand(one):
    """Apply a scalar rule to each of the two parameters."""
    return [one(start, [grad[i] for grad in GRADS]) for i, start in enumerate([1.0, -1.0])]


def adam(theta, grads):
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g * g
        theta -= RATE * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.99**t)) + 1e-8)
    return theta


def rmsprop(theta, grads):
    r = 0.0
    for g in grads:
        r = 0.95 * r + 0.05 * g * g
        theta -= RATE * g / (math.sqrt(r) + 1e-8)
    return theta


def adagrad(theta, grads):
    s = 0.0
    for g in grads:
        s += g * g
        theta -= RATE * g / (math.sqrt(s) + 1e-8)
    return theta


def sgd(theta, grads):
    velocity = 0.0
    for g in grads:
        velocity = 0.9 * velocity + g
        theta -= RATE * velocity
    return theta


@pytest.mark.parametrize("rule", [adam, rmsprop, adagrad, sgd])
def test_each_optimizer_follows_its_paper(rule):
    np.testing.assert_allclose(run(rule.__name__), by_hand(rule), rtol=1e-12)


def test_every_optimizer_is_among_those_checked_and_offered():
    assert set(OPTIMIZERS) == {"adam", "rmsprop", "adagrad", "sgd"}
    assert set(OPTIMIZERS) == set(FIELDS["optimizer"].metadata["choices"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_minimizes_a_quadratic(name):
    update, slots = OPTIMIZERS[name]
    theta, moments = np.array([3.0, -2.0]), np.zeros((slots, 2))
    for step in range(1, 501):
        # Adagrad's steps shrink by themselves, so its rate is constant and larger.
        rate = 1.0 if name == "adagrad" else 0.1 * (1 - step / 501)
        update(theta, 2 * theta, moments, step, rate)
    assert np.abs(theta).max() < 0.05


def test_clipping_by_norm_scales_the_gradient_and_returns_its_previous_norm():
    grad = np.array([3.0, 4.0])
    assert clip(grad, 1.0, 0.0) == pytest.approx(5)
    np.testing.assert_allclose(grad, [0.6, 0.8])


def test_a_gradient_below_the_limit_does_not_change():
    grad = np.array([0.3, 0.4])
    assert clip(grad, 1.0, 0.0) == pytest.approx(0.5)
    np.testing.assert_array_equal(grad, [0.3, 0.4])


def test_clipping_by_value_limits_single_entries():
    grad = np.array([3.0, -7.0, 1.0])
    assert clip(grad, 0.0, 2.0) == pytest.approx(math.sqrt(59))
    np.testing.assert_array_equal(grad, [2, -2, 1])


def test_values_are_clipped_before_the_norm():
    grad = np.array([30.0, 4.0])
    clip(grad, 1.0, 3.0)
    np.testing.assert_allclose(grad, [math.sqrt(0.5), math.sqrt(0.5)])


def test_the_norm_is_computed_after_clipping_by_value():
    grad = np.array([0.9, 0.2])
    clip(grad, 0.5, 0.4)
    np.testing.assert_array_equal(grad, [0.4, 0.2])  # after the first clipping the norm is < 0.5


def test_zero_turns_clipping_off():
    grad = np.array([1e6, -1e6])
    clip(grad, 0.0, 0.0)
    np.testing.assert_array_equal(grad, [1e6, -1e6])


def test_the_norm_is_right_where_squares_overflow_float32():
    assert norm(np.array([3e30, 4e30], np.float32)) == pytest.approx(5e30, rel=1e-6)
    assert math.isinf(norm(np.array([np.inf, 0], np.float32)))
    assert math.isnan(norm(np.array([np.nan, 0], np.float32)))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "exponential"])
def test_warm_up_is_linear_up_to_the_peak(schedule):
    rates = [learning_rate(step, 0.5, schedule, 10, 1000) for step in range(1, 11)]
    np.testing.assert_allclose(rates, 0.5 * np.arange(1, 11) / 10)


def test_schedules_have_their_known_values():
    def at(step, schedule):
        return learning_rate(step, 1.0, schedule, 100, 1100)

    assert at(601, "constant") == at(1100, "constant") == 1
    assert at(601, "cosine") == pytest.approx(0.5)
    assert at(351, "cosine") == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert 0 < at(1100, "cosine") < 1e-5
    assert at(1101, "cosine") == pytest.approx(0, abs=1e-12)
    assert at(601, "exponential") == pytest.approx(0.1)
    assert at(1101, "exponential") == pytest.approx(0.01)


def test_warm_up_takes_at_most_a_tenth_of_a_short_run():
    assert learning_rate(2, 1.0, "constant", 100, 20) == 1
    assert learning_rate(1, 1.0, "constant", 100, 20) == 0.5
    assert learning_rate(1, 1.0, "constant", 100, 5) == 1
    assert learning_rate(1, 1.0, "cosine", 0, 1) >= 0
