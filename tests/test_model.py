"""The equations, against central differences and against a twin that spells them out."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from conftest import step

from charrnn import products
from charrnn.model import (
    Stepper,
    Tape,
    add_by_symbol,
    backward,
    cross_entropy,
    forward,
    recur,
    unrecur,
)
from charrnn.optim import clip, sgd
from charrnn.parameters import Architecture, Parameters, initialise

NETWORKS = [
    pytest.param(layers, activation, masked, id=f"{layers}-{activation}{'-dropout' * masked}")
    for layers in (1, 2, 3)
    for activation in ("tanh", "relu")
    for masked in (False, True)
]
T, B, H, V = 5, 3, 4, 6


@pytest.fixture(params=["whole", "in blocks"])
def kernel(request, monkeypatch):
    """W_hh in one piece, and cut as it is in large networks on some processors."""
    monkeypatch.setattr(products, "small_products_are_fast", lambda: request.param != "whole")
    monkeypatch.setattr(products, "REGISTER", 3)  # 3 + 1 of the 4 columns
    monkeypatch.setattr(products, "SMALL", 3 * B * (H + 1))  # H + 1: see Stepper


class Case:
    """A small network with every parameter away from zero, and a window to read."""

    def __init__(self, layers, activation, masked=False, V=V, fresh=None):
        rng = np.random.default_rng(7)
        self.arch = Architecture(V, H, layers, activation, "float64")
        self.params = initialise(self.arch, rng)
        self.params.flat += rng.normal(0, 0.3, self.arch.size)
        self.x = rng.integers(0, V, (T, B))
        self.y = rng.integers(0, V, (T, B))
        self.h0 = rng.normal(0, 0.5, (B, layers * H))
        self.mask = (rng.random((B, layers * H)) > 0.3) / 0.7 if masked else None
        self.tape = Tape(self.arch, T, B)
        self.fresh = fresh

    def loss(self):
        logits, _ = forward(self.params, self.x, self.h0, self.tape, self.mask, self.fresh)
        return cross_entropy(logits, self.y)

    def gradient(self):
        grad = Parameters(self.arch)
        logits, _ = forward(self.params, self.x, self.h0, self.tape, self.mask, self.fresh)
        cross_entropy(logits, self.y)
        dh0 = backward(self.params, self.x, logits, self.tape, grad, self.mask, self.fresh)
        return grad, dh0


def central_differences(loss, array, epsilon=1e-5):
    """d loss / d array, one element at a time."""
    result = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        kept = array[i]
        array[i] = kept + epsilon
        above = loss()
        array[i] = kept - epsilon
        below = loss()
        array[i] = kept
        result[i] = (above - below) / (2 * epsilon)
    return result


@pytest.mark.parametrize(("layers", "activation", "masked"), NETWORKS)
def test_gradient_of_every_element_is_its_central_difference(kernel, layers, activation, masked):
    case = Case(layers, activation, masked)
    grad, dh0 = case.gradient()
    for name, analytic in grad.named.items():
        numeric = central_differences(case.loss, case.params.named[name])
        np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-9, err_msg=name)
        assert np.abs(analytic).max() > 1e-6, f"{name} has no gradient to compare"
    np.testing.assert_allclose(
        dh0, central_differences(case.loss, case.h0), rtol=1e-6, atol=1e-9, err_msg="h0"
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_gradients_are_central_differences_where_lanes_begin_anew(kernel, layers):
    fresh = np.zeros((T, B), bool)
    fresh[[0, 2, 4], [1, 0, 1]] = True
    case = Case(layers, "tanh", masked=True, fresh=fresh)
    grad, dh0 = case.gradient()
    for name, analytic in grad.named.items():
        numeric = central_differences(case.loss, case.params.named[name])
        np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(
        dh0, central_differences(case.loss, case.h0), rtol=1e-6, atol=1e-9, err_msg="h0"
    )
    assert not dh0[1].any(), "a lane that begins anew at once has nothing from before"
    assert dh0[[0, 2]].all()


def test_a_lane_that_begins_anew_reads_as_from_the_zero_state():
    case = Case(2, "tanh", fresh=np.arange(T)[:, None] == [1, 3, T])
    logits, h = forward(case.params, case.x, case.h0, case.tape, fresh=case.fresh)
    logits, zero = logits.reshape(T, B, V).copy(), np.zeros_like(case.h0)
    for lane, begin in ((0, 1), (1, 3)):
        alone = Tape(case.arch, T, 1)
        rest, after = forward(case.params, case.x[begin:, [lane]], zero[:1], alone)
        np.testing.assert_allclose(logits[begin:, lane], rest, rtol=1e-12)
        np.testing.assert_allclose(h[lane], after[0], rtol=1e-12)


def twin(case):
    """Loss and gradients, one lane, one step and one pair (i, k) of the double sum at a time.

    For every loss L_i and every step k <= i, what a change of the preactivations a_k does to
    L_i goes through the product of the Jacobians of the steps between (the sums over i and k
    with the product over m of the textbook's dL/dW and dL/dU):

        dL_i/da_k = (p_i - y_i) W_hy' (prod over m = k+1 .. i of D_m R) D_k

    where R carries a state to the next step's preactivations (W_hh' of each layer) and D_m
    is the derivative of all states of step m by all its preactivations, upwards included.
    """
    p, L = case.params, case.arch.layers
    grad = Parameters(case.arch)
    mask = np.ones_like(case.h0) if case.mask is None else case.mask
    part = [slice(layer * H, (layer + 1) * H) for layer in range(L)]
    R = np.zeros((L * H, L * H))
    for layer in range(L):
        R[part[layer], part[layer]] = p.W_hh[layer].T
    loss = 0.0
    for b in range(B):
        s, D, errors = [case.h0[b]], [None], [None]
        for t in range(T):
            h, d = np.zeros(L * H), np.zeros((L * H, L * H))
            for layer in range(L):
                mine = part[layer]
                a = p.b_h[layer] + s[-1][mine] @ p.W_hh[layer]
                if layer == 0:
                    a = a + p.W_xh[0][case.x[t, b]]
                else:
                    below = part[layer - 1]
                    a = a + (h[below] * mask[b, below]) @ p.W_xh[layer]
                h[mine] = np.tanh(a) if case.arch.activation == "tanh" else a * (a > 0)
                slope = 1 - np.tanh(a) ** 2 if case.arch.activation == "tanh" else 1.0 * (a > 0)
                d[mine, mine] = np.diag(slope)
                if layer > 0:
                    through = np.diag(slope) @ p.W_xh[layer].T @ np.diag(mask[b, below])
                    d[mine] += through @ d[below]
            z = (h * mask[b]) @ p.W_hy + p.b_y
            probabilities = np.exp(z) / np.exp(z).sum()
            loss -= np.log(probabilities[case.y[t, b]]) / (T * B)
            error = probabilities.copy()
            error[case.y[t, b]] -= 1
            errors.append(error / (T * B))
            s.append(h)
            D.append(d)
            grad.W_hy += np.outer(h * mask[b], errors[-1])
            grad.b_y += errors[-1]
        for i in range(1, T + 1):
            for k in range(1, i + 1):
                product = np.eye(L * H)
                for m in range(k + 1, i + 1):
                    product = D[m] @ R @ product
                da = (errors[i] @ p.W_hy.T * mask[b]) @ product @ D[k]
                for layer in range(L):
                    mine = part[layer]
                    grad.W_hh[layer] += np.outer(s[k - 1][mine], da[mine])
                    grad.b_h[layer] += da[mine]
                    if layer == 0:
                        grad.W_xh[0][case.x[k - 1, b]] += da[mine]
                    else:
                        below = part[layer - 1]
                        grad.W_xh[layer] += np.outer(s[k][below] * mask[b, below], da[mine])
    return loss, grad


@pytest.mark.parametrize(("layers", "activation", "masked"), NETWORKS)
def test_gradient_is_the_double_sum_of_the_naive_twin(kernel, layers, activation, masked):
    case = Case(layers, activation, masked)
    loss, expected = twin(case)
    assert case.loss() == pytest.approx(loss, rel=1e-12)
    for name, got in case.gradient()[0].named.items():
        np.testing.assert_allclose(
            got, expected.named[name], rtol=1e-9, atol=1e-14, err_msg=name
        )


@pytest.mark.parametrize("size", [3, 128, 129, 5000])
def test_rows_are_summed_by_symbol_for_small_and_large_vocabularies(size):
    rng = np.random.default_rng(0)
    x, da = rng.integers(0, size, 50), rng.normal(size=(50, 3))
    expected = np.zeros((size, 3))
    for symbol, row in zip(x, da, strict=True):
        expected[symbol] += row
    out = np.full((size, 3), np.nan)
    add_by_symbol(x, da, out)
    np.testing.assert_allclose(out, expected, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_forward_over_2t_is_two_forwards_that_carry_the_state(layers):
    case = Case(layers, "tanh")
    x = np.concatenate([case.x, case.y])
    whole, h_whole = forward(case.params, x, case.h0, Tape(case.arch, 2 * T, B))
    first, h = forward(case.params, x[:T], case.h0, case.tape)
    first = first.copy()
    second, h = forward(case.params, x[T:], h, case.tape)
    np.testing.assert_array_equal(whole, np.concatenate([first, second]))
    np.testing.assert_array_equal(h_whole, h)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_forward_and_the_stepper_do_as_the_equations_step_by_step(kernel, layers, activation):
    case = Case(layers, activation)
    logits, last = forward(case.params, case.x, case.h0, case.tape)
    stepper, h = Stepper(case.params, case.h0), case.h0
    for x, read in zip(case.x, logits.reshape(T, B, V), strict=True):
        expected, h = step(case.params, x, h)
        np.testing.assert_allclose(read, expected, rtol=1e-12)
        np.testing.assert_allclose(stepper(x), expected, rtol=1e-12)
    np.testing.assert_allclose(last, h, rtol=1e-12)


def test_a_tape_serves_shorter_windows_and_fewer_lanes():
    case = Case(2, "tanh")
    grad, small = Parameters(case.arch), Parameters(case.arch)
    x, y, h0 = case.x[:3, :2].copy(), case.y[:3, :2], case.h0[:2]
    for tape, into in ((case.tape, grad), (Tape(case.arch, 3, 2), small)):
        logits, _ = forward(case.params, x, h0, tape)
        cross_entropy(logits, y)
        backward(case.params, x, logits, tape, into)
    np.testing.assert_array_equal(grad.flat, small.flat)


def test_the_carried_state_is_neither_kept_nor_changed_by_forward():
    case = Case(2, "tanh")
    before = case.h0.copy()
    once, h = forward(case.params, case.x, case.h0, case.tape)
    once, kept = once.copy(), h.copy()
    again, _ = forward(case.params, case.x, case.h0, case.tape)
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(case.h0, before)
    np.testing.assert_array_equal(h, kept)


@pytest.mark.parametrize("size", [1, 2, 65])
def test_zero_weights_cost_log_of_the_vocabulary(size):
    arch = Architecture(size, H, 2, "tanh", "float64")
    x = np.zeros((T, B), int)
    logits, _ = forward(Parameters(arch), x, np.zeros((B, 2 * H)), Tape(arch, T, B))
    assert cross_entropy(logits, x) == pytest.approx(np.log(size), abs=1e-15)


def test_cross_entropy_survives_logits_that_would_overflow_exp():
    logits = np.array([[1000.0, 0.0], [-1000.0, 0.0]])
    assert cross_entropy(logits, np.array([[0], [0]])) == pytest.approx(500.0)
    np.testing.assert_allclose(logits, [[0, 0], [-0.5, 0.5]])


def test_the_worked_example_of_hell_has_its_published_numbers():
    arch = Architecture(4, 3, 1, "tanh", "float64")  # h, e, l, o
    params = Parameters(arch)
    params.W_xh[0][:] = np.array([
        [0.287027, 0.84606, 0.572392, 0.486813],
        [0.902874, 0.871522, 0.691079, 0.18998],
        [0.537524, 0.09224, 0.558159, 0.491528],
    ]).T
    params.W_hh[0][:] = 0.427043 * np.eye(3)
    params.b_h[0][:] = 0.567001
    params.W_hy[:] = np.array([
        [0.37168, 0.974829459, 0.830034886],
        [0.39141, 0.282585823, 0.659835709],
        [0.64985, 0.09821557, 0.334287084],
        [0.91266, 0.32581642, 0.144630018],
    ]).T
    tape = Tape(arch, 2, 1)
    z, _ = forward(params, np.array([[0], [1]]), params.zero_state(1), tape)
    np.testing.assert_allclose(tape.hs[1:, 0], [
        [0.69316794, 0.89955361, 0.80211853],
        [0.93653377, 0.94910407, 0.76234074],
    ], atol=1e-8)
    np.testing.assert_allclose(z[1], [1.90607489, 1.13779168, 0.95666393, 1.27422796], atol=1e-8)
    p = np.exp(z[1]) / np.exp(z[1]).sum()
    np.testing.assert_allclose(p, [0.41974716, 0.19468236, 0.16242909, 0.22314139], atol=1e-8)


def test_ten_losses_are_the_ones_they_have_always_been():
    case = Case(2, "tanh")
    grad, moments, h = Parameters(case.arch), np.zeros((1, case.arch.size)), case.h0
    losses = []
    for number in range(1, 11):
        logits, h = forward(case.params, case.x, h, case.tape)
        losses.append(cross_entropy(logits, case.y))
        backward(case.params, case.x, logits, case.tape, grad)
        clip(grad.flat, 1.0, 0.0)
        sgd(case.params.flat, grad.flat, moments, number, 0.1)
    np.testing.assert_allclose(losses, PINNED, rtol=0, atol=1e-9)


# As the naive twin above, with the same clipping and momentum, computes them.
PINNED = [
    1.877753229363,
    1.836052706450,
    1.800968247364,
    1.691595034029,
    1.560043593488,
    1.429076614136,
    1.324667276036,
    1.263882934400,
    1.238332296182,
    1.229525546130,
]


@pytest.mark.parametrize("size", [5, 32])
def test_recurrent_weights_begin_orthogonal_and_biases_at_zero(size):
    arch = Architecture(7, size, 2, "tanh", "float64")
    params = initialise(arch, np.random.default_rng(0))
    for W_hh in params.W_hh:
        np.testing.assert_allclose(W_hh @ W_hh.T, np.eye(size), atol=1e-12)
    assert not np.any(params.b_h[0]) and not np.any(params.b_y)


def test_named_parameters_are_views_of_the_flat_vector_and_fill_it():
    params = Parameters(Architecture(5, 3, 2))
    params.flat[:] = 1
    assert sum(view.sum() for view in params.named.values()) == params.flat.size
    params.W_hh[1][:] = 2
    assert (params.flat == 2).sum() == 9


def test_the_loops_over_time_allocate_nothing():
    steps, lanes, units = 50, 32, 64
    rng = np.random.default_rng(0)
    h, a = rng.normal(size=(steps + 1, lanes, units)), rng.normal(size=(steps, lanes, units))
    W, one_step = rng.normal(size=(units, units)), a[0].nbytes
    recur(h, a, W, "tanh")
    tracemalloc.start()
    recur(h, a, W, "tanh")
    forward_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    unrecur(a, h[1:], h[1:], W)
    backward_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # What W_hh is multiplied into, its transpose, and the gradient to begin with.
    assert forward_peak < 2 * one_step
    assert backward_peak < W.nbytes + 3 * one_step
