"""The same work as PyTorch's users write it: nn.RNN, cross-entropy, clip_grad_norm_, Adam."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from worker import Work, serve

# Modules that read whole windows, and those that take one step.
MODULES = {"rnn": (nn.RNN, nn.RNNCell), "gru": (nn.GRU, nn.GRUCell), "lstm": (nn.LSTM, nn.LSTMCell)}


def zero_state(cell: str, *shape: int):
    """The state of a layer: h, and for an LSTM c as well."""
    h = torch.zeros(shape)
    return (h, torch.zeros(shape)) if cell == "lstm" else h


def detached(state):
    return tuple(part.detach() for part in state) if type(state) is tuple else state.detach()


class Network(nn.Module):
    """charrnn's network: recurrent layers, and an output layer that reads all of them.

    The input is one-hot for up to 128 symbols, where that is faster; for more symbols it is an
    embedding instead of the first W_xh.
    """

    def __init__(self, L: int, H: int, V: int, cell: str) -> None:
        super().__init__()
        self.V = V
        self.embedding = nn.Embedding(V, H) if V > 128 else None
        inputs = [H if self.embedding else V] + [H] * (L - 1)
        self.layers = nn.ModuleList(MODULES[cell][0](size, H) for size in inputs)
        self.output = nn.Linear(L * H, V)

    def forward(self, x, states):
        """Read ``x`` (T, B) from the states of the layers; returns logits and states."""
        h = self.embedding(x) if self.embedding else one_hot(x, self.V).float()
        outputs, after = [], []
        for layer, state in zip(self.layers, states, strict=True):
            h, state = layer(h, state)
            outputs.append(h)
            after.append(state)
        together = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        return self.output(together), after


def train(threads: int, L: int, H: int, B: int, T: int, V: int, cell: str = "rnn") -> Work:
    torch.set_num_threads(threads)
    network = Network(L, H, V, cell)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    text = torch.randint(V, (B, 20 * T + 1))
    state = [zero_state(cell, 1, B, H) for _ in range(L)]
    at = 0

    def step() -> int:
        nonlocal state, at
        x = text[:, at : at + T].T.contiguous()
        y = text[:, at + 1 : at + T + 1].T.contiguous()
        at = (at + T) % (20 * T)
        logits, state = network(x, [detached(s) for s in state])
        loss = cross_entropy(logits.view(-1, V), y.view(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        loss.item()
        return B * T

    return step


def sample(
    threads: int, L: int, H: int, V: int, streams: int, cells: bool, cell: str = "rnn",
    length: int = 200,
) -> Work:
    """Sample with the trained modules, or with ``cells`` of the same shape: less overhead."""
    torch.set_num_threads(threads)
    network = Network(L, H, V, cell)
    stepped = nn.ModuleList(MODULES[cell][1](V if i == 0 else H, H) for i in range(L))

    def next_logits(x, states):
        if not cells:
            logits, states = network(x[None], states)
            return logits[0], states
        h, after = one_hot(x, V).float(), []
        for module, state in zip(stepped, states, strict=True):
            state = module(h, state)
            h = state[0] if type(state) is tuple else state
            after.append(state)
        read = [state[0] if type(state) is tuple else state for state in after]
        return network.output(torch.cat(read, -1)), after

    @torch.inference_mode()
    def generate() -> int:
        shape = (streams, H) if cells else (1, streams, H)
        states = [zero_state(cell, *shape) for _ in range(L)]
        x = torch.zeros(streams, dtype=torch.long)
        for _ in range(length):
            logits, states = next_logits(x, states)
            x = torch.multinomial(torch.softmax(logits, -1), 1)[:, 0]
        return streams * length

    return generate


if __name__ == "__main__":
    serve({"train": train, "sample": sample})
