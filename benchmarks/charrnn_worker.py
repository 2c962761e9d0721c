"""charrnn's tasks: training steps, scoring, sampling, reading."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from charrnn.system import machine

machine.use_one_blas_thread()  # as the program does, before NumPy is imported

import numpy as np  # noqa: E402
from worker import Work, serve  # noqa: E402

from charrnn.config.settings import Config  # noqa: E402
from charrnn.inference import sampling, scoring  # noqa: E402
from charrnn.nn.parameters import Architecture, initialize  # noqa: E402
from charrnn.nn.stepper import Stepper  # noqa: E402
from charrnn.text import corpus  # noqa: E402
from charrnn.text.split import Split  # noqa: E402
from charrnn.training.prepare import prepare  # noqa: E402
from charrnn.training.run import Request  # noqa: E402
from charrnn.training.step import TrainingStep  # noqa: E402

SEED = 1


def text_of(symbols: int, length: int) -> str:
    """Random text with ``symbols`` different characters: ASCII if 95 are enough, else Chinese."""
    first = 32 if symbols <= 95 else 0x4E00
    ids = np.random.default_rng(SEED).integers(symbols, size=length)
    ids[:symbols] = np.arange(symbols)
    return "".join(map(chr, (ids + first).tolist()))


def train(
    threads: int, L: int, H: int, B: int, T: int, V: int, cell: str = "rnn",
    dropout: float = 0.0, weight_decay: float = 0.0, chars: int = 300_000,
) -> Work:
    """Complete training steps: window, forward, backward, clipping, Adam."""
    settings = dataclasses.replace(
        Config(), cell=cell, layers=L, hidden_size=H, batch_size=B, seq_length=T, dropout=dropout,
        weight_decay=weight_decay, threads=threads, val_fraction=0.0, learning_rate=1e-4,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "text.txt")
        path.write_text(text_of(V, max(chars, 4 * B * T)))
        request = Request([str(path)], Path(folder, "model.npz"), settings)
        run = prepare(request)
    assert (run.batches.B, run.batches.T) == (B, T), "the text is too short for this batch"
    checkpoint, one = run.checkpoint, TrainingStep(run)

    def step() -> int:
        checkpoint.progress.step += 1
        gradient = one.update(checkpoint.last, checkpoint.moments, checkpoint.state,
                              checkpoint.progress.step, 10**9).gradient
        checkpoint.state = gradient.state
        return gradient.chars

    return step


def model(L: int, H: int, V: int, cell: str = "rnn"):
    return initialize(Architecture(V, H, L, cell_type=cell), np.random.default_rng(SEED))


def evaluate(threads: int, L: int, H: int, V: int, chars: int = 111_540) -> Work:
    """Score a text as long as the validation part of tiny-shakespeare, a tenth of it."""
    params = model(L, H, V)
    text = np.random.default_rng(SEED).integers(V, size=chars).astype(np.uint8)

    def score() -> int:
        return scoring.score(params, Split(text, text[:1]), threads).chars

    return score


def sample(
    threads: int, L: int, H: int, V: int, streams: int, cell: str = "rnn", length: int = 1000
) -> Work:
    """Generate ``streams`` samples at once."""
    params = model(L, H, V, cell)

    def generate() -> int:
        chunks = sampling.samples(params, np.array([0]), count=streams, length=length, seed=SEED,
                                  threads=threads)
        return sum(len(ids) for _, ids in chunks)

    return generate


def read_weights(threads: int, L: int, H: int, V: int, cell: str = "rnn") -> Work:
    """Only the matrix products of sampling one text, which read every weight once."""
    params = model(L, H, V, cell)
    layers = Stepper(params, params.zero_state(1)).layers

    def multiply() -> int:
        for _, times, padded in layers:
            times(padded)
        return 1

    return multiply


def read(path: str) -> Work:
    """Read a file and encode it. Counts bytes, not characters."""
    size = Path(path).stat().st_size

    def encode() -> int:
        corpus.read([path], corpus.TextOptions("char", "utf-8"))
        return size

    return encode


if __name__ == "__main__":
    serve({"train": train, "evaluate": evaluate, "sample": sample, "products": read_weights,
           "read": read})
