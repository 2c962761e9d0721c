"""Settings whose default follows from the text or from other settings: computed for a new run.

The computed values become settings of the run and are stored with it, so that a run resumes with
them even if a later version has other rules. docs/experiments.md has the experiments.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from charrnn.config.parsing import check_consistent
from charrnn.config.settings import BUDGETS, NETWORK, Config
from charrnn.nn.parameters import Architecture
from charrnn.text.batches import Batches
from charrnn.text.split import Split, default_fraction

# The peak learning rate of up to 256 units; more units need proportionally less.
LEARNING_RATES = {"rnn": 4e-3, "gru": 8e-3, "lstm": 1.5e-2}

# The ``work`` of a run of QUICK_MINUTES on two cores without AVX-512.
QUICK_LOOK, QUICK_MINUTES = 2.4e12, 2.25

# Besides its weights, the time of a character depends on its element-wise operations. One value
# of a vanilla cell, or a logit, takes as long as this many weights; a gated unit five times that.
WEIGHTS_PER_VALUE, GATED = 109, 5


def before_split(config: Config, chars: int, val_file: bool) -> Config:
    """``config`` with the share of the validation part of a text of so many characters.

    With a validation file the text is not split, and ``val_fraction`` stays None.
    """
    return _filled(config, val_fraction=None if val_file else default_fraction(chars))


def after_split(
    config: Config, train: Split, validation: Split, batches: Batches, V: int
) -> Config:
    """``config`` with all other defaults, for a vocabulary of ``V`` symbols: of DERIVED, only
    ``val_fraction`` with a validation file and ``steps`` with another budget stay None."""
    chars = len(train)
    config = _filled(config, cell=cell(config))
    config = _filled(config, hidden_size=hidden_size(config, chars), layers=2)
    arch = Architecture(V, config.hidden_size, config.layers,  # type: ignore[arg-type]
                        cell_type=config.cell)  # type: ignore[arg-type]
    budget = any(getattr(config, key) is not None for key in BUDGETS)
    config = _filled(
        config,
        learning_rate=learning_rate(arch),
        dropout=dropout(arch, chars, planned_steps(config, arch, batches) / batches.windows),
        weight_decay=weight_decay(chars, config.optimizer),
        eval_every=eval_every(len(validation), batches),
        steps=None if budget else steps(arch, batches),
    )
    check_consistent(config)
    return config


def _filled(config: Config, **values: Any) -> Config:
    """``config`` with a value for each of these settings that has none."""
    missing = {key: value for key, value in values.items() if getattr(config, key) is None}
    return dataclasses.replace(config, **missing)


def cell(config: Config) -> str:
    """A GRU learns more in the same time on every text tried, short or long.

    Who sets a size or relu gets a vanilla RNN, as always.
    """
    named = any(getattr(config, key) is not None for key in NETWORK)
    return "rnn" if named or config.activation != "tanh" else "gru"


def hidden_size(config: Config, chars: int) -> int:
    """256, but with gates fewer for less than 900,000 training characters: a multiple of 32.

    Best in measurements: 96 for 76,000 (docs/experiments.md). A vanilla RNN overfits less.
    """
    if config.cell == "rnn":
        return 256
    return max(32, min(256, 32 * round(8 * math.pow(chars / 900_000, 0.4))))


def learning_rate(arch: Architecture) -> float:
    """The peak learning rate, with two significant digits."""
    return float(f"{LEARNING_RATES[arch.cell_type] * min(1, 256 / arch.hidden_size):.2g}")


def dropout(arch: Architecture, chars: int, epochs: float) -> float:
    """0.3 for short texts, falling to none for long ones.

    With gates it is proportional to the epochs, and to the parameters per training character.
    Best in measurements of vanilla RNNs, with the default weight decay: 0.25 for 76,000, 0.1 for
    300,000, 0 to 0.02 for 900,000.
    """
    if arch.cell_type == "rnn":
        return round(min(0.3, 20_000 / chars), 2)
    return round(min(0.3, 0.008 * epochs * arch.size / chars), 2)


def weight_decay(chars: int, optimizer: str) -> float:
    """0.3 up to 83,000 training characters, falling to 0.1 at 250,000; 0 except with adam.

    Best in measurements: 0.3 for 76,000, 0.1 for 300,000 and more.
    """
    return round(min(0.3, max(0.1, 25_000 / chars)), 2) if optimizer == "adam" else 0.0


def eval_every(validation: int, batches: Batches) -> int:
    """Steps between validations of ``validation`` characters, at least 50.

    Training reads at least five times as much text as validation. Scoring is more than twice as
    fast as training, so validation takes less than a tenth of the time.
    """
    return max(50, -(-5 * validation // (batches.T * batches.B)))


def steps(arch: Architecture, batches: Batches) -> int:
    """The default length of a run: QUICK_LOOK, but at most 6,000 steps and 30 epochs."""
    affordable = QUICK_LOOK / (work(arch) * batches.B * batches.T)
    return max(1, min(6000, 30 * batches.windows, int(float(f"{affordable:.2g}"))))


def planned_steps(config: Config, arch: Architecture, batches: Batches) -> float:
    """The length of the run; that of a budget in minutes as ``work`` predicts it."""
    if config.max_minutes is not None:
        quick = QUICK_LOOK / (work(arch) * batches.B * batches.T)
        return config.max_minutes / QUICK_MINUTES * quick
    if config.epochs is not None:
        return config.epochs * batches.windows
    return config.steps or steps(arch, batches)


def work(arch: Architecture) -> int:
    """The time of a training step per character, in the time that it takes per weight.

    Fits the speeds of twelve networks on three processors to ten percent. The first W_xh does
    not count, because its product is a look-up.
    """
    weights = arch.size - math.prod(arch.shapes()["W_xh0"])
    values = arch.output_size * (1 if arch.cell_type == "rnn" else GATED)
    return weights + WEIGHTS_PER_VALUE * (values + arch.vocabulary_size)
