"""Example vocabularies and checkpoints."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from charrnn.config.parsing import resolve
from charrnn.config.settings import FIELDS
from charrnn.nn.parameters import Parameters
from charrnn.storage.checkpoint import Checkpoint, architecture
from charrnn.storage.metadata import Progress
from charrnn.text.vocabulary import Vocabulary

SLOTS = {"adam": 2, "rmsprop": 1, "adagrad": 1, "sgd": 1}


def a_vocabulary(text):
    """The vocabulary of the characters of a text."""
    return Vocabulary(np.array(sorted(set(map(ord, text))), np.uint32), "char")


def a_checkpoint(text="\nabé", B=3, seed=0, **settings):
    """A checkpoint from the middle of a run, in which all numbers differ."""
    explicit = {"hidden_size": 2, "layers": 1, "optimizer": "sgd"} | settings
    if explicit.get("level", "char") == "char":
        explicit = {"errors": "replace"} | explicit
    derived = {"cell": "rnn", "learning_rate": 4e-3}
    derived |= {"val_fraction": 0.1, "dropout": 0.3, "weight_decay": 0.0, "eval_every": 3}
    resolved = dataclasses.replace(resolve({}, derived | explicit), steps=explicit.get("steps", 20))
    vocabulary = Vocabulary.of_bytes() if resolved.level == "byte" else a_vocabulary(text)
    arch = architecture(dataclasses.asdict(resolved), len(vocabulary))
    rng = np.random.default_rng(seed)

    def numbers(*shape):
        return rng.normal(size=shape).astype(arch.dtype)

    return Checkpoint(
        settings=dataclasses.asdict(resolved),
        explicit=[key for key in FIELDS if key in explicit],
        vocabulary=vocabulary,
        best=Parameters(arch, numbers(arch.size)),
        last=Parameters(arch, numbers(arch.size)),
        moments=numbers(SLOTS[resolved.optimizer], arch.size),
        state=numbers(B, arch.state_size),
        progress=Progress(step=7, steps=20, minutes=0.1, best_nats=1 / 3, best_step=6, stale=1,
                          losses=math.pi, norms=2 / 7, since=2, high=1),
        corpus="déjà vu.txt",
        origin={"corpus": "ab" * 32, "val": None, "init_from": "cd" * 32},
        threads=3,
        history=[[3, 1.1, None, 0.7, 2e-3], [6, 1 / 3, 0.3, 1e-300, 0.1 + 0.2]],
        samples=[[3, "bäa\n\x1b"], [6, ""]],
        undecodable=5 if resolved.errors != "strict" else 0,
    )


def same(found, expected):
    """Assert that two checkpoints have equal contents."""
    for field in ("settings", "explicit", "progress", "corpus", "origin", "threads", "history",
                  "samples", "undecodable"):
        assert getattr(found, field) == getattr(expected, field), field
    assert np.array_equal(found.vocabulary.codes, expected.vocabulary.codes)
    assert found.vocabulary.level == expected.vocabulary.level
    for a, b in (
        (found.best.flat, expected.best.flat), (found.last.flat, expected.last.flat),
        (found.moments, expected.moments), (found.state, expected.state),
    ):  # fmt: skip
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
