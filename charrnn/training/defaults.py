"""Settings whose default follows from the text or from other settings: computed for a new run.

The computed values become settings of the run and are stored with it, so that a run resumes with
them even if a later version has other rules.
"""

from __future__ import annotations

import dataclasses

from charrnn.config.settings import BUDGETS, Config
from charrnn.text.batches import Batches
from charrnn.text.split import Split, default_fraction


def before_split(config: Config, chars: int, val_file: bool) -> Config:
    """``config`` with the defaults that follow from the number of characters of the text.

    With a validation file the text is not split, and ``val_fraction`` stays None.
    """
    fraction = None if val_file else default_fraction(chars)
    return _filled(config, val_fraction=fraction, weight_decay=config.decay)


def after_split(config: Config, train: Split, validation: Split, batches: Batches) -> Config:
    """``config`` with the defaults that follow from the split and the batches: of DERIVED, only
    ``val_fraction`` with a validation file and ``steps`` with another budget stay None."""
    budget = any(getattr(config, key) is not None for key in BUDGETS)
    return _filled(
        config,
        dropout=dropout(len(train)),
        eval_every=eval_every(len(validation), batches),
        steps=None if budget else steps(batches),
    )


def _filled(config: Config, **values: float | None) -> Config:
    """``config`` with a value for each of these settings that has none."""
    missing = {key: value for key, value in values.items() if getattr(config, key) is None}
    return dataclasses.replace(config, **missing)  # type: ignore[arg-type]


def dropout(chars: int) -> float:
    """0.3 up to 67,000 training characters, falling to none at 4 million.

    Best in measurements, with the default weight decay: 0.25 for 76,000, 0.1 for 300,000, 0 to 0.02
    for 900,000 (docs/experiments.md).
    """
    return round(min(0.3, 20_000 / chars), 2)


def eval_every(validation: int, batches: Batches) -> int:
    """Steps between validations of ``validation`` characters, at least 50.

    Training reads at least five times as much text as validation. Scoring is more than twice as
    fast as training, so validation takes less than a tenth of the time.
    """
    return max(50, -(-5 * validation // (batches.T * batches.B)))


def steps(batches: Batches) -> int:
    """The default length of a run: 6,000 steps, but at most 30 epochs."""
    return min(6000, 30 * batches.windows)
