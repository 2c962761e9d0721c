"""Every setting, defined once: its name, type, range, default and a word on when to touch it.

The same definition serves the YAML file, the command-line option, the checkpoint and the
documentation.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, get_type_hints

from charrnn.system.machine import MAX_THREADS

Value = bool | int | float | str | None


def setting(
    default: Value,
    group: str,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> Any:
    """A field of Config: ``low`` and ``high`` are allowed, ``above`` and ``below`` are not."""
    return dataclasses.field(
        default=default,
        metadata={"group": group, "help": help, "choices": choices,
                  "low": low, "high": high, "above": above, "below": below},
    )


@dataclass(frozen=True)
class Config:
    """The settings of a run. The command line spells them with hyphens."""

    level: str = setting(
        "char", "Text", choices=("char", "byte"),
        help="What a symbol is; byte models any file at all.")
    encoding: str = setting(
        "utf-8", "Text",
        help="How the files spell characters; latin-1, cp1252, utf-16 ...")
    errors: str = setting(
        "strict", "Text", choices=("strict", "replace", "skip"),
        help="What to do about bytes that cannot be decoded: replace puts U+FFFD, skip leaves them "
        "out. Change it for a text with a few damaged places.")
    val_fraction: float | None = setting(
        None, "Text", low=0, below=1,
        help="Share of the text, its tail, held out to choose the best weights; by default a "
        "tenth, at most a million characters.")
    min_count: int = setting(
        1, "Text", low=1,
        help="Characters that occur less often become U+FFFD, as do unknown ones later on. Raise "
        "it where a large text has thousands of characters.")
    borders: str = setting(
        "ignore", "Text", choices=("ignore", "reset"),
        help="Where a file begins: reset starts it from the zero state, as sampling does.")

    hidden_size: int = setting(
        256, "Model", low=1,
        help="Units per layer. More learn more, cost quadratically, need more text.")
    layers: int = setting(
        2, "Model", low=1, high=64,
        help="Recurrent layers; all of them feed the output.")
    activation: str = setting(
        "tanh", "Model", choices=("tanh", "relu"),
        help="Of the hidden units; relu wants a low rate and clipping.")
    dropout: float | None = setting(
        None, "Model", low=0, below=1,
        help="Share of the states hidden from the layers above while training; by default "
        "the less text the more, 20,000 / characters, at most 0.3. "
        "Raise it when validation gets worse as training gets better.")
    dtype: str = setting(
        "float32", "Model", choices=("float32", "float64"),
        help="float64 is for checks: twice the memory, half the speed.")

    batch_size: int = setting(
        64, "Windows", low=1,
        help="Lanes: stretches of text read side by side.")
    seq_length: int = setting(
        32, "Windows", low=1,
        help="Characters per window, through which gradients flow back.")

    optimizer: str = setting(
        "adam", "Optimisation", choices=("adam", "rmsprop", "adagrad", "sgd"),
        help="sgd has momentum 0.9.")
    learning_rate: float = setting(
        4e-3, "Optimisation", above=0,
        help="At its peak. Lower it when the loss jumps or the model is wide.")
    schedule: str = setting(
        "cosine", "Optimisation", choices=("constant", "cosine", "exponential"),
        help="How the rate falls from its peak; cosine ends at 0, exponential at 1 %.")
    warmup: int = setting(
        100, "Optimisation", low=0,
        help="Steps in which the rate rises from 0, at most a tenth of the run.")
    clip_norm: float = setting(
        1.0, "Optimisation", low=0,
        help="Longest gradient, all parameters together; 0 is off.")
    clip_value: float = setting(
        0.0, "Optimisation", low=0,
        help="Largest entry of the gradient; 0 is off.")
    weight_decay: float | None = setting(
        None, "Optimisation", low=0,
        help="Each step multiplies the weight matrices by 1 - rate x this; by default 0.1 with "
        "adam, else 0. Raise it, and dropout, when validation gets worse as training gets "
        "better.")

    steps: int | None = setting(
        None, "Budget", low=1,
        help="Updates in all; by default 6000, or 30 epochs where that is less.")
    epochs: float | None = setting(
        None, "Budget", above=0, high=1e9,
        help="The same as passes over the text; 0.5 is half a pass.")
    max_minutes: float | None = setting(
        None, "Budget", above=0, high=1e9,
        help="The same as time; the speed is measured once, before the first step.")
    patience: int | None = setting(
        None, "Budget", low=1,
        help="Stop after so many validations in a row without a new best.")

    eval_every: int | None = setting(
        None, "Showing and saving", low=1,
        help="Steps between validations; by default as many as keep them below a tenth of "
        "the time.")
    save_every: int = setting(
        200, "Showing and saving", low=1,
        help="Steps between checkpoints, beside those after validations.")
    sample_every: int = setting(
        0, "Showing and saving", low=0,
        help="Steps between short samples; 0 shows none.")

    seed: int = setting(
        1, "Machine", low=0,
        help="Of everything random. Same seed, same machine: same file.")
    threads: int = setting(
        0, "Machine", low=0, high=MAX_THREADS,
        help="Threads that share the lanes, of each process; 0 takes all cores.")
    deterministic: bool = setting(
        False, "Machine", choices=("true", "false"),
        help="The same bits for any number of threads and processes; a little slower.")

    @property
    def decay(self) -> float:
        """Weight decay: as set, else what suits the optimiser's usual rates."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 0.1 if self.optimizer == "adam" else 0.0


# Settings that say how long a run goes on or what it shows; all others are its identity.
MAY_CHANGE = frozenset(
    ("steps", "epochs", "max_minutes", "patience", "save_every", "sample_every", "threads")
)
BUDGETS = ("steps", "epochs", "max_minutes")
FIELDS = {field.name: field for field in dataclasses.fields(Config)}
TYPES = get_type_hints(Config)


def option_name(key: str) -> str:
    """The setting's name on the command line."""
    return "--" + key.replace("_", "-")


def changed(config: Config) -> dict[str, Value]:
    """The settings that differ from the built-in defaults."""
    return {
        key: getattr(config, key)
        for key, field in FIELDS.items()
        if getattr(config, key) != field.default
    }
