"""The network, against central differences and a naive reference implementation."""

from __future__ import annotations

import numpy as np
import pytest
from nn_case import B, Case, H, T, V, central_differences
from reference import step

from charrnn.nn.loss import cross_entropy
from charrnn.nn.network import Activations, add_by_symbol, backward, forward
from charrnn.nn.optimizers import clip, sgd
from charrnn.nn.parameters import Architecture, Parameters

NETWORKS = [
    pytest.param(layers, activation, masked, id=f"{layers}-{activation}{'-dropout' * masked}")
    for layers in (1, 2, 3)
    for activation in ("tanh", "relu")
    for masked in (False, True)
]


@pytest.mark.parametrize(("layers", "activation", "masked"), NETWORKS)
def test_gradient_of_every_element_equals_its_central_difference(
    kernel, layers, activation, masked
):
    case = Case(layers, activation, masked)
    grad, dstate = case.gradient()
    for name, analytic in grad.named.items():
        numeric = central_differences(case.loss, case.params.named[name])
        np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-9, err_msg=name)
        assert np.abs(analytic).max() > 1e-6, f"{name} has no gradient to compare"
    np.testing.assert_allclose(
        dstate, central_differences(case.loss, case.state), rtol=1e-6, atol=1e-9, err_msg="state"
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_gradients_with_resets_equal_central_differences(kernel, layers):
    reset = np.zeros((T, B), bool)
    reset[[0, 2, 4], [1, 0, 1]] = True
    case = Case(layers, "tanh", masked=True, reset=reset)
    grad, dstate = case.gradient()
    for name, analytic in grad.named.items():
        numeric = central_differences(case.loss, case.params.named[name])
        np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(
        dstate, central_differences(case.loss, case.state), rtol=1e-6, atol=1e-9, err_msg="state"
    )
    assert not dstate[1].any(), "a sequence reset at step 0 does not depend on the carried state"
    assert dstate[[0, 2]].all()


def test_a_sequence_that_is_reset_continues_from_the_zero_state():
    case = Case(2, "tanh", reset=np.arange(T)[:, None] == [1, 3, T])
    logits, last = case.forward()
    logits, zero = logits.reshape(T, B, V).copy(), np.zeros_like(case.state)
    for sequence, start in ((0, 1), (1, 3)):
        alone = Activations(case.arch, T, 1)
        rest, after = forward(case.params, case.x[start:, [sequence]], zero[:1], alone)
        np.testing.assert_allclose(logits[start:, sequence], rest, rtol=1e-12)
        np.testing.assert_allclose(last[sequence], after[0], rtol=1e-12)


def naive(case):
    """Loss and gradients, one sequence, one step and one pair (i, k) of the double sum at a time.

    The gradient of the loss L_i with respect to the pre-activations a_k of a step k <= i is a
    product of the Jacobians of the steps between them (textbooks write dL/dW and dL/dU as sums
    over i and k of this product over m):

        dL_i/da_k = (p_i - y_i) W_hy' (prod over m = k+1 .. i of D_m R) D_k

    where R maps a change of the states to the next step's pre-activations (W_hh' of each layer)
    and D_m is the Jacobian of all states of step m with respect to all its pre-activations,
    including those of lower layers.
    """
    p, L, LH = case.params, case.arch.layers, case.arch.output_size
    grad = Parameters(case.arch)
    mask = np.ones((B, LH)) if case.mask is None else case.mask
    part = [case.arch.columns(layer) for layer in range(L)]
    R = np.zeros((LH, LH))
    for layer in range(L):
        R[part[layer], part[layer]] = p.W_hh[layer].T
    loss = 0.0
    for b in range(B):
        s, D, errors = [case.state[b]], [None], [None]
        for t in range(T):
            h, d = np.zeros(LH), np.zeros((LH, LH))
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
                product = np.eye(LH)
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
def test_gradient_equals_the_double_sum_of_the_naive_reference(kernel, layers, activation, masked):
    case = Case(layers, activation, masked)
    loss, expected = naive(case)
    assert case.loss() == pytest.approx(loss, rel=1e-12)
    for name, got in case.gradient()[0].named.items():
        np.testing.assert_allclose(
            got, expected.named[name], rtol=1e-9, atol=1e-14, err_msg=name
        )


@pytest.mark.parametrize("size", [3, 128, 129, 5000])
def test_rows_are_summed_by_symbol_for_small_and_large_vocabularies(size):
    rng = np.random.default_rng(0)
    x, da = rng.integers(0, size, 50), rng.normal(size=(2, 50, 3))
    expected = np.zeros((2, size, 3))
    for i, symbol in enumerate(x):
        expected[:, symbol] += da[:, i]
    out = np.full((2, size, 3), np.nan)
    add_by_symbol(x, da, out)
    np.testing.assert_allclose(out, expected, atol=1e-12)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_forward_over_2t_equals_two_forwards_with_carried_state(layers):
    case = Case(layers, "tanh")
    x = np.concatenate([case.x, case.y])
    whole, last = forward(case.params, x, case.state, Activations(case.arch, 2 * T, B))
    first, state = forward(case.params, x[:T], case.state, case.activations)
    first = first.copy()
    second, state = forward(case.params, x[T:], state, case.activations)
    # Products of T*B and of 2T*B rows may differ in their last bits; those of the loop do not.
    np.testing.assert_allclose(np.concatenate([first, second]), whole, rtol=1e-12)
    np.testing.assert_allclose(state, last, rtol=1e-12)
    np.testing.assert_array_equal(state[:, :H], last[:, :H], "the first layer, bit for bit")


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_forward_follows_the_equations_step_by_step(kernel, layers, activation):
    case = Case(layers, activation)
    logits, last = case.forward()
    state = case.state
    for x, found in zip(case.x, logits.reshape(T, B, V), strict=True):
        expected, state = step(case.params, x, state)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(last, state, rtol=1e-12)


def test_activations_can_be_reused_for_shorter_windows_and_fewer_sequences():
    case = Case(2, "tanh")
    grad, small = Parameters(case.arch), Parameters(case.arch)
    x, y, state = case.x[:3, :2].copy(), case.y[:3, :2], case.state[:2]
    for activations, into in ((case.activations, grad), (Activations(case.arch, 3, 2), small)):
        logits, _ = forward(case.params, x, state, activations)
        cross_entropy(logits, y)
        backward(case.params, x, logits, activations, into)
    np.testing.assert_array_equal(grad.flat, small.flat)


def test_forward_neither_keeps_nor_changes_the_carried_state():
    case = Case(2, "tanh")
    before = case.state.copy()
    once, last = case.forward()
    once, kept = once.copy(), last.copy()
    again, _ = case.forward()
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(case.state, before)
    np.testing.assert_array_equal(last, kept)


def test_sequences_of_a_batch_do_not_mix():
    case, steps = Case(2, "tanh"), 20
    x = np.random.default_rng(1).integers(0, V, (steps, B))
    zero = case.params.zero_state(B)
    together, _ = forward(case.params, x, zero, Activations(case.arch, steps, B))
    together = together.reshape(steps, B, V).copy()
    for b in range(B):
        alone, _ = forward(case.params, x[:, [b]], zero[:1], Activations(case.arch, steps, 1))
        np.testing.assert_allclose(together[:, b], alone, rtol=1e-12)


def test_the_worked_example_of_hell_gives_its_published_numbers():
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
    activations = Activations(arch, 2, 1)
    z, _ = forward(params, np.array([[0], [1]]), params.zero_state(1), activations)
    np.testing.assert_allclose(activations.hs[1:, 0], [
        [0.69316794, 0.89955361, 0.80211853],
        [0.93653377, 0.94910407, 0.76234074],
    ], atol=1e-8)
    np.testing.assert_allclose(z[1], [1.90607489, 1.13779168, 0.95666393, 1.27422796], atol=1e-8)
    p = np.exp(z[1]) / np.exp(z[1]).sum()
    np.testing.assert_allclose(p, [0.41974716, 0.19468236, 0.16242909, 0.22314139], atol=1e-8)


def test_the_first_ten_losses_never_change():
    case = Case(2, "tanh")
    grad, moments, state = Parameters(case.arch), np.zeros((1, case.arch.size)), case.state
    losses = []
    for number in range(1, 11):
        logits, state = forward(case.params, case.x, state, case.activations)
        losses.append(cross_entropy(logits, case.y))
        backward(case.params, case.x, logits, case.activations, grad)
        clip(grad.flat, 1.0, 0.0)
        sgd(case.params.flat, grad.flat, moments, number, 0.1)
    np.testing.assert_allclose(losses, PINNED, rtol=0, atol=1e-9)


# Computed by the naive reference above, with the same clipping and momentum.
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


def test_the_vanilla_cell_saves_nothing_but_its_states():
    arch = Architecture(V, H, 3)
    widths = {"states": 3 * H, "saved": 0, "out": 3 * H, "a": H, "dh": 3 * H, "scratch": H,
              "logits": V}
    assert Activations.widths(arch) == widths
    assert Activations.entries(arch, T, B) == (T + 1) * B * sum(widths.values())
