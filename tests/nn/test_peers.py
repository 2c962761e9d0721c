"""The three cells against those of PyTorch: logits, loss, gradients, training and scores."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.inference import scoring
from charrnn.nn import optimizers
from charrnn.nn.loss import cross_entropy
from charrnn.nn.network import Activations, backward, forward
from charrnn.nn.parameters import CELLS, Architecture, Parameters, initialize
from charrnn.text.split import Split

pytestmark = pytest.mark.peers
T, B, H, V = 7, 3, 8, 11


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


def same_model(torch, params):
    """The model in PyTorch: its own layers, and an output layer that reads all of them.

    PyTorch has two biases per gate; the second is zero and stays so.
    """
    arch = params.arch
    kind = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[arch.cell_type]
    dtype = getattr(torch, arch.dtype)
    layers = [kind(H if layer else V, H, dtype=dtype) for layer in range(arch.layers)]
    output = torch.nn.Linear(arch.output_size, V, dtype=dtype)
    with torch.no_grad():
        for layer, module in enumerate(layers):
            module.weight_ih_l0[:] = torch.tensor(params.W_xh[layer].T)
            module.weight_hh_l0[:] = torch.tensor(params.W_hh[layer].T)
            module.bias_ih_l0[:] = torch.tensor(params.b_h[layer])
            module.bias_hh_l0.zero_()
            module.bias_hh_l0.requires_grad_(False)
        output.weight[:] = torch.tensor(params.W_hy.T)
        output.bias[:] = torch.tensor(params.b_y)
    return torch.nn.ModuleList(layers), output


def run(torch, model, x, states):
    """Logits (T, B, V) in PyTorch, and the last state of each layer."""
    layers, output = model
    below = torch.nn.functional.one_hot(torch.tensor(x), V).to(output.weight.dtype)
    outs, last = [], []
    for layer, state in zip(layers, states, strict=True):
        below, after = layer(below, state)
        outs.append(below)
        last.append(after)
    return output(torch.cat(outs, dim=2)), last


def torch_states(torch, arch, state):
    """A carried state (B, S*L*H) as PyTorch has it, with a gradient."""
    parts = state.reshape(B, arch.cell.n_states, arch.layers, H)
    states, leaves = [], []
    for layer in range(arch.layers):
        own = [torch.tensor(parts[None, :, s, layer], requires_grad=True)
               for s in range(arch.cell.n_states)]
        leaves.append(own)
        states.append(tuple(own) if len(own) > 1 else own[0])
    return states, leaves


def flat_gradient(params, model):
    """The gradients of the PyTorch model as one of ours."""
    layers, output = model
    grad = Parameters(params.arch)
    for layer, module in enumerate(layers):
        grad.W_xh[layer][:] = module.weight_ih_l0.grad.T
        grad.W_hh[layer][:] = module.weight_hh_l0.grad.T
        grad.b_h[layer][:] = module.bias_ih_l0.grad
    grad.W_hy[:] = output.weight.grad.T
    grad.b_y[:] = output.bias.grad
    return grad


def network(kind, layers, dtype="float64"):
    rng = np.random.default_rng(4)
    params = initialize(Architecture(V, H, layers, dtype=dtype, cell_type=kind), rng)
    params.flat += rng.normal(0, 0.2, params.flat.size).astype(dtype)
    return params, rng


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", CELLS)
def test_logits_loss_and_all_gradients_are_those_of_pytorch(torch, kind, layers):
    params, rng = network(kind, layers)
    x, y = rng.integers(0, V, (2, T, B))
    state = rng.normal(0, 0.5, (B, params.arch.state_size))
    activations, grad = Activations(params.arch, T, B), Parameters(params.arch)
    logits, after = forward(params, x, state, activations)
    kept = logits.copy()
    loss = cross_entropy(logits, y)
    dstate = backward(params, x, logits, activations, grad)

    model = same_model(torch, params)
    states, leaves = torch_states(torch, params.arch, state)
    found, last = run(torch, model, x, states)
    their_loss = torch.nn.functional.cross_entropy(found.reshape(-1, V), torch.tensor(y).ravel())
    their_loss.backward()
    np.testing.assert_allclose(found.detach().numpy().reshape(-1, V), kept, rtol=0, atol=1e-12)
    assert abs(their_loss.item() - loss) < 1e-12
    for name, theirs in flat_gradient(params, model).named.items():
        np.testing.assert_allclose(grad.named[name], theirs, rtol=0, atol=1e-12, err_msg=name)
    shape = B, params.arch.cell.n_states, layers, H
    for layer, own in enumerate(leaves):
        for s, leaf in enumerate(own):
            np.testing.assert_allclose(dstate.reshape(shape)[:, s, layer], leaf.grad[0].numpy(),
                                       rtol=0, atol=1e-12)
            theirs = last[layer][s] if len(own) > 1 else last[layer]
            np.testing.assert_allclose(after.reshape(shape)[:, s, layer],
                                       theirs[0].detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", CELLS)
def test_fifty_steps_with_adam_and_clipping_are_those_of_pytorch(torch, kind):
    params, rng = network(kind, 2)
    text = rng.integers(0, V, (50 * T + 1, B))
    model, rate, longest = same_model(torch, params), 3e-3, 0.25
    weights = [p for module in (*model[0], model[1]) for p in module.parameters()
               if p.requires_grad]
    adam = torch.optim.Adam(weights, rate, (optimizers.BETA1, optimizers.BETA2),
                            optimizers.EPSILON)
    moments, grad = np.zeros((2, params.flat.size)), Parameters(params.arch)
    activations, state = Activations(params.arch, T, B), params.zero_state(B)
    clipped = 0
    for step in range(50):
        x, y = text[step * T : step * T + T], text[step * T + 1 : step * T + T + 1]
        states, _ = torch_states(torch, params.arch, state)
        found, _ = run(torch, model, x, states)
        loss = torch.nn.functional.cross_entropy(found.reshape(-1, V), torch.tensor(y).ravel())
        adam.zero_grad()
        loss.backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in weights))
        with torch.no_grad():
            for p in weights:
                p.grad *= min(1.0, longest / norm.item())
        adam.step()

        logits, after = forward(params, x, state, activations)
        assert cross_entropy(logits, y) == pytest.approx(loss.item(), abs=1e-9)
        backward(params, x, logits, activations, grad)
        state = after.copy()
        clipped += optimizers.clip(grad.flat, longest, 0.0) > longest
        optimizers.adam(params.flat, grad.flat, moments, step + 1, rate)
    assert clipped > 5, "the limit is reached"
    for module, W_hh in zip(model[0], params.W_hh, strict=True):
        np.testing.assert_allclose(module.weight_hh_l0.detach().numpy().T, W_hh, atol=1e-9)
    np.testing.assert_allclose(model[1].weight.detach().numpy().T, params.W_hy, atol=1e-9)


@pytest.mark.parametrize("kind", CELLS)
def test_the_score_of_a_text_is_that_of_pytorch(torch, kind):
    params, rng = network(kind, 2, "float32")
    ids = rng.integers(0, V, 1000)
    x = np.concatenate([ids[:1], ids[:-1]])[:, None]
    with torch.no_grad():
        zero = params.zero_state(B)
        states = [tuple(part[:, :1].contiguous() for part in state) if type(state) is tuple
                  else state[:, :1].contiguous()
                  for state in torch_states(torch, params.arch, zero)[0]]
        found, _ = run(torch, same_model(torch, params), x, states)
        theirs = torch.nn.functional.cross_entropy(found[:, 0].double(), torch.tensor(ids)).item()
    assert scoring.score(params, Split(ids, ids[:1])).nats_per_char == pytest.approx(
        theirs, abs=1e-6)
