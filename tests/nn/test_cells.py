"""The cell contract: a GRU and an LSTM work everywhere without changes to the package."""

from __future__ import annotations

import numpy as np
import pytest
from nn_case import B, H, T, V, central_differences

from charrnn.api import loaded as api
from charrnn.api.report import report
from charrnn.config.parsing import resolve
from charrnn.inference import dynamic, scoring
from charrnn.nn.loss import cross_entropy
from charrnn.nn.network import Activations, backward, forward
from charrnn.nn.parameters import CELLS, Architecture, Parameters, initialize
from charrnn.nn.stepper import Stepper
from charrnn.storage import checkpoint
from charrnn.system.signals import Signals
from charrnn.text.split import DocumentStarts, Split
from charrnn.training.loop import train
from charrnn.training.prepare import prepare
from charrnn.training.run import Request


@pytest.fixture(params=list(CELLS))
def kind(request):
    """The name of each cell in turn."""
    return request.param


@pytest.fixture
def cell(kind):
    """The cell of that name."""
    return CELLS[kind]("tanh")


def network(kind, layers, seed=7):
    """A network with nonzero parameters, a window, and a state to start from."""
    rng, arch = np.random.default_rng(seed), Architecture(
        V, H, layers, dtype="float64", cell_type=kind)
    params = initialize(arch, rng)
    params.flat += rng.normal(0, 0.3, arch.size)
    x, y = rng.integers(0, V, (2, T, B))
    return params, x, y, rng.normal(0, 0.5, (B, arch.state_size))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("resetting", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_every_gradient_equals_its_central_difference(kind, cell, layers, resetting, masked):
    params, x, y, state = network(kind, layers)
    arch, rng = params.arch, np.random.default_rng(3)
    mask = (rng.random((B, arch.output_size)) > 0.3) / 0.7 if masked else None
    reset = np.zeros((T, B), bool) if resetting else None
    if resetting:
        reset[[0, 2, 4], [1, 0, 1]] = True
    activations, grad = Activations(arch, T, B), Parameters(arch)

    def loss():
        logits, _ = forward(params, x, state, activations, mask, reset)
        return cross_entropy(logits, y)

    logits, _ = forward(params, x, state, activations, mask, reset)
    cross_entropy(logits, y)
    dstate = backward(params, x, logits, activations, grad, mask, reset)
    for name, analytic in [*grad.named.items(), ("state", dstate)]:
        array = state if name == "state" else params.named[name]
        numeric = central_differences(loss, array)
        np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-9, err_msg=name)
    for part in np.split(dstate, cell.n_states, axis=1):
        assert np.abs(part[[0, 2]]).min() > 1e-9, "the loss depends on every carried state"
    if resetting:
        assert not dstate[1].any(), "no gradient flows to before the reset"


def test_the_sizes_of_arrays_follow_from_the_cell(kind, cell):
    arch = Architecture(V, H, 2, cell_type=kind)
    shapes = arch.shapes()
    kH = cell.n_blocks * H
    assert (shapes["W_xh0"], shapes["W_xh1"], shapes["W_hh1"]) == ((V, kH), (H, kH), (H, kH))
    assert (shapes["b_h0"], shapes["W_hy"]) == ((kH,), (2 * H, V))
    assert (arch.output_size, arch.state_size) == (2 * H, cell.n_states * 2 * H)
    activations = Activations(arch, T, B)
    numbers = sum(memory.size for memory in activations._memory.values())
    assert numbers == Activations.entries(arch, T, B)


def test_two_windows_equal_one_of_twice_the_length(kind):
    params, x, y, state = network(kind, 2)
    both, activations = np.concatenate([x, y]), Activations(params.arch, 2 * T, B)
    expected, last = forward(params, both, state, activations)
    expected = expected.copy()
    first, between = forward(params, x, state, activations)
    first = first.copy()
    second, after = forward(params, y, between, activations)
    np.testing.assert_allclose(np.concatenate([first, second]), expected, rtol=1e-12)
    np.testing.assert_allclose(after, last, rtol=1e-12)


@pytest.mark.parametrize("layers", [1, 3])
def test_the_stepper_equals_forward(kind, cell, layers):
    params, x, _, state = network(kind, layers)
    expected, _ = forward(params, x, state, Activations(params.arch, T, B))
    step = Stepper(params, state)
    logits = np.concatenate([step(row).copy() for row in x])
    np.testing.assert_allclose(logits, expected, rtol=1e-12)


def test_scoring_in_segments_is_close_to_one_pass(kind):
    params, *_ = network(kind, 2)
    ids = np.random.default_rng(1).integers(0, V, 3000)
    part = Split(ids, ids[:1], DocumentStarts(np.array([700, 1500]), 0))
    x = np.concatenate([ids[:1], ids])[:, None]
    reset = part.resets.apply(x, np.arange(len(x))[:, None])
    logits, _ = forward(params, x[:-1], params.zero_state(1), Activations(params.arch, 3000, 1),
                        reset=reset[:-1])
    loss = cross_entropy(logits.copy(), ids[:, None])
    assert scoring.score(params, part).nats_per_char == pytest.approx(loss, abs=1e-4)
    assert len(list(dynamic.evaluate(params, Split(ids[:50], ids[:1])))) == 4


def test_a_run_trains_saves_resumes_samples_and_reports(kind, cell, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog; and again.\n" * 40)
    given = {"cell": kind, "hidden_size": 6, "layers": 2, "batch_size": 8, "seq_length": 8,
             "dropout": 0.1, "steps": 40, "eval_every": 10, "learning_rate": 0.02, "min_count": 2}

    def run(name, stop_after=None, **more):
        config = resolve({}, given | more)
        request = Request([str(text)], tmp_path / name, config, frozenset(given | more))
        events = train(prepare(request), signals := Signals())
        for event in events:
            if event.step == stop_after:
                signals.stop = 2
        return event

    assert run("whole.npz").reason == "done"
    assert run("parts.npz", stop_after=13).reason == "stopped"
    assert run("parts.npz").reason == "done"
    assert (tmp_path / "parts.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    saved = checkpoint.load(tmp_path / "whole.npz")
    assert saved.state.shape == (8, cell.n_states * 2 * 6)
    assert saved.history[-1][2] < saved.history[0][2] < np.log(28), "the validation loss falls"

    for threads in (1, 2):
        run(f"{threads}.npz", deterministic=True, threads=threads)
    one, two = (checkpoint.load(tmp_path / f"{threads}.npz") for threads in (1, 2))
    np.testing.assert_array_equal(one.last.flat, two.last.flat)
    np.testing.assert_array_equal(one.state, two.state)

    model = api.load(tmp_path / "whole.npz")
    pieces = list(model.sample([model.encode_prime("the ")], count=3, length=20, seed=1))
    assert sum(len(piece.ids) for piece in pieces if not piece.is_prime) == 60
    units = {"rnn": "tanh", "gru": "GRU", "lstm": "LSTM"}[kind]
    assert f"2 x 6 {units} units" in report(model, [str(text)])
