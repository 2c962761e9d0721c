"""The gated cells, against naive implementations that handle one gate and one step at a time."""

from __future__ import annotations

import tracemalloc

import gated_cells
import numpy as np
import pytest

from charrnn.nn.cells.cell import by_block
from charrnn.nn.cells.gates import scales, sigmoid_from_tanh
from charrnn.nn.cells.gru import Gru
from charrnn.nn.cells.lstm import Lstm
from charrnn.nn.cells.rnn import orthogonal
from charrnn.nn.loss import cross_entropy
from charrnn.nn.network import Activations, backward, forward
from charrnn.nn.optimizers import clip, sgd
from charrnn.nn.parameters import Architecture, Parameters, initialize

B, H = 3, 4
CELLS = {"gru": (Gru(), gated_cells.Gru("tanh")), "lstm": (Lstm(), gated_cells.Lstm("tanh"))}
each_cell = pytest.mark.parametrize(("cell", "naive"), CELLS.values(), ids=CELLS)


class Layer:
    """Arrays of a layer with random numbers in them, in the shapes of the contract."""

    def __init__(self, cell, T, resetting, B=B, H=H, seed=5):
        rng = np.random.default_rng(seed)
        k = cell.n_blocks
        self.state = rng.normal(size=(cell.n_states, T + 1, B, H))
        self.a, self.da = rng.normal(size=(2, k, T, B, H))
        self.W_hh, self.dh = by_block(rng.normal(size=(H, k * H)), k), rng.normal(size=(T, B, H))
        self.saved, self.scratch = np.empty((cell.n_saved, T, B, H)), np.empty((T, B, H))
        self.reset = rng.random((T, B)) < 0.4 if resetting else None

    def forward(self, cell):
        cell.forward(self.state, self.a, self.W_hh, self.saved, self.reset)
        return self.state

    def backward(self, cell):
        return cell.backward(self.state, self.dh, self.W_hh, self.saved, self.da, self.scratch,
                             self.reset)


def test_the_names_of_the_gates_are_those_of_their_blocks():
    gru, reset, update = Gru(), Gru.gates["reset"], Gru.gates["update"]
    layer = Layer(gru, 3, resetting=False)
    n = np.tanh(layer.a[2])
    layer.a[[reset, update]] = -1000
    np.testing.assert_allclose(layer.forward(gru)[0, 1:], n)
    layer = Layer(gru, 3, resetting=False)
    layer.a[update] = 1000
    h = layer.forward(gru)[0]
    np.testing.assert_allclose(h[1:], np.broadcast_to(h[0], h[1:].shape))

    lstm, gates = Lstm(), Lstm.gates
    layer = Layer(lstm, 3, resetting=False)
    layer.a[gates["input"]], layer.a[gates["forget"]] = -1000, 1000
    layer.a[gates["output"]] = -1000
    h, c = layer.forward(lstm)
    np.testing.assert_allclose(c[1:], np.broadcast_to(c[0], c[1:].shape))
    np.testing.assert_allclose(h[1:], 0, atol=1e-12)


@each_cell
@pytest.mark.parametrize("T", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("resetting", [False, True])
def test_time_loops_agree_with_one_gate_and_one_step_at_a_time(kernel, cell, naive, T, resetting):
    fast, slow = Layer(cell, T, resetting), Layer(cell, T, resetting)
    np.testing.assert_allclose(fast.forward(cell), slow.forward(naive), rtol=1e-12, atol=1e-14)
    for found, expected in zip(fast.backward(cell), slow.backward(naive), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(fast.da, slow.da, rtol=1e-11, atol=1e-13)


@each_cell
def test_a_single_step_agrees_with_one_gate_at_a_time(cell, naive):
    rng = np.random.default_rng(2)
    a, product = rng.normal(size=(2, cell.n_blocks, B, H))
    state, expected = np.tile(rng.normal(size=(cell.n_states, B, H)), (2, 1, 1, 1))
    cell.stepper(list(state), a.copy(), product.copy())()
    naive.step(list(expected), a, product)
    np.testing.assert_allclose(state, expected, rtol=1e-13)


@each_cell
def test_the_loops_over_time_allocate_nothing(cell, naive):
    layer = Layer(cell, T=50, resetting=False, B=32, H=64)
    layer.forward(cell)
    tracemalloc.start()
    layer.forward(cell)
    forward_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    layer.backward(cell)
    backward_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one_step = layer.a[:, 0].nbytes
    # The matrix in the order of the products, what it is multiplied into, and a few (B, H).
    assert forward_peak < layer.W_hh.nbytes * 2 + 2 * one_step
    assert backward_peak < layer.W_hh.nbytes * 2 + 4 * one_step


@each_cell
def test_initial_weights_are_orthogonal_in_each_block(cell, naive):
    kH = cell.n_blocks * 16
    W_xh, W_hh, b_h = np.empty((9, kH)), np.empty((16, kH)), np.empty(kH)
    cell.initialize(W_xh, W_hh, b_h, np.random.default_rng(3), one_hot=True)
    for block in np.split(W_hh, cell.n_blocks, axis=1):
        np.testing.assert_allclose(block.T @ block, np.eye(16), atol=1e-12)
    first, second = np.split(W_hh, cell.n_blocks, axis=1)[:2]
    assert np.abs(first - second).max() > 0.1, "each block has a matrix of its own"
    assert W_xh.std() == pytest.approx(1, rel=0.1)
    expected = np.zeros(kH)
    if isinstance(cell, Lstm):
        expected[16:32] = 1  # the forget gate
    np.testing.assert_array_equal(b_h, expected)


# Computed by the naive cells of gated_cells, with the same clipping and momentum.
PINNED = {
    "gru": [2.051426223759, 2.066350130690, 2.018754250265, 1.954517340104, 1.876764422237,
            1.794237165363, 1.716053720136, 1.649494237310, 1.596210394283, 1.554038650440],
    "lstm": [1.804076194021, 1.800211767946, 1.812568147873, 1.813707774644, 1.799474990052,
             1.775919356675, 1.747803500805, 1.718249152231, 1.689368323025, 1.662583202545],
}


@pytest.mark.parametrize("kind", PINNED)
def test_the_first_ten_losses_never_change(kind):
    T, V, rng = 5, 6, np.random.default_rng(7)
    arch = Architecture(V, H, 2, dtype="float64", cell_type=kind)
    params = initialize(arch, rng)
    params.flat += rng.normal(0, 0.3, arch.size)
    x, y = rng.integers(0, V, (2, T, B))
    state = rng.normal(0, 0.5, (B, arch.state_size))
    activations, grad = Activations(arch, T, B), Parameters(arch)
    moments, losses = np.zeros((1, arch.size)), []
    for number in range(1, 11):
        logits, state = forward(params, x, state, activations)
        losses.append(cross_entropy(logits, y))
        backward(params, x, logits, activations, grad)
        clip(grad.flat, 1.0, 0.0)
        sgd(params.flat, grad.flat, moments, number, 0.1)
    np.testing.assert_allclose(losses, PINNED[kind], rtol=0, atol=1e-9)


def test_the_sigmoid_is_exact_at_both_ends_and_in_the_middle():
    x = np.array([-1e4, -30.0, -1.0, 0.0, 1.0, 30.0, 1e4])
    half = np.tanh(x / 2)
    sigmoid_from_tanh(half)
    np.testing.assert_allclose(half, 1 / (1 + np.exp(-np.clip(x, -700, 700))), atol=1e-16)
    np.testing.assert_array_equal(scales("ifgo", "float64").ravel(), [0.5, 0.5, 1, 0.5])


def test_orthogonal_is_orthogonal():
    W = orthogonal(5, np.random.default_rng(0))
    np.testing.assert_allclose(W @ W.T, np.eye(5), atol=1e-14)
