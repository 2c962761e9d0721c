"""Every setting, defined once: its name, type, range, default and when to change it.

The same definition serves the YAML file, the command-line option, the checkpoint and the
documentation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
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
    rule: str = "",
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> Any:
    """A field of Config: ``low`` and ``high`` are allowed, ``above`` and ``below`` are not.

    ``rule`` is what the help shows for a default that follows from the text or other settings.
    """
    return dataclasses.field(
        default=default,
        metadata={"group": group, "help": help, "choices": choices, "rule": rule,
                  "low": low, "high": high, "above": above, "below": below},
    )


@dataclass(frozen=True)
class Config:
    """The settings of a run. The command line spells them with hyphens."""

    level: str = setting(
        "char", "Text", choices=("char", "byte"),
        help="What a symbol is: a character of a text, or a byte of any file.")
    encoding: str = setting(
        "utf-8", "Text",
        help="Encoding of the text files, such as latin-1, cp1252 or utf-16.")
    errors: str = setting(
        "strict", "Text", choices=("strict", "replace", "skip"),
        help="Undecodable bytes: report an error, replace them with U+FFFD, or skip them. The "
        "last two are for slightly damaged texts.")
    val_fraction: float | None = setting(
        None, "Text", low=0, below=1, rule="0.1, at most 1,000,000 characters",
        help="Share of the text, taken from its end, used for validation.")
    min_count: int = setting(
        1, "Text", low=1,
        help="Characters that occur fewer times than this become U+FFFD. For texts with thousands "
        "of distinct characters.")
    borders: str = setting(
        "ignore", "Text", choices=("ignore", "reset"),
        help="What to do with the state where a file begins: keep it, or reset it to zero.")

    cell: str | None = setting(
        None, "Model", choices=("rnn", "gru", "lstm"),
        rule="gru; rnn if a size is set",
        help="Kind of recurrent cell. gru and lstm are slower and remember longer.")
    hidden_size: int | None = setting(
        None, "Model", low=1, rule="256",
        help="Units per layer. Twice as many take four times as long.")
    layers: int | None = setting(
        None, "Model", low=1, high=64, rule="2",
        help="Recurrent layers. The output layer reads all of them.")
    activation: str = setting(
        "tanh", "Model", choices=("tanh", "relu"),
        help="Activation of the units of cell rnn. relu needs a lower learning rate.")
    dropout: float | None = setting(
        None, "Model", low=0, below=1, rule="0.3 for short texts, less for longer ones",
        help="Share of hidden states dropped in training. Raise it if the model overfits.")
    dtype: str = setting(
        "float32", "Model", choices=("float32", "float64"),
        help="Number format. float64 takes twice the memory and time.")

    batch_size: int = setting(
        64, "Batches", low=1,
        help="Sequences per batch, read in parallel.")
    seq_length: int = setting(
        32, "Batches", low=1,
        help="Characters per window. Gradients flow back through one window.")

    optimizer: str = setting(
        "adam", "Optimization", choices=("adam", "rmsprop", "adagrad", "sgd"),
        help="Optimizer. sgd has momentum 0.9.")
    learning_rate: float | None = setting(
        None, "Optimization", above=0, rule="0.004 for rnn, 0.008 for gru; less above 256 units",
        help="Peak learning rate. Lower it if the loss jumps or the model is wide.")
    schedule: str = setting(
        "cosine", "Optimization", choices=("constant", "cosine", "exponential"),
        help="How the learning rate falls from its peak: cosine to 0, exponential to 1%.")
    warmup: int = setting(
        100, "Optimization", low=0,
        help="Steps over which the learning rate rises from 0; at most a tenth of the run.")
    clip_norm: float = setting(
        1.0, "Optimization", low=0,
        help="Largest norm of the gradient of all parameters; 0 disables clipping.")
    clip_value: float = setting(
        0.0, "Optimization", low=0,
        help="Largest absolute value in the gradient; 0 disables clipping.")
    weight_decay: float | None = setting(
        None, "Optimization", low=0, rule="0.1-0.3 with adam",
        help="Each step shrinks the weight matrices by learning rate x this. Raise it if the "
        "model overfits.")

    steps: int | None = setting(
        None, "Budget", low=1, rule="about 2 minutes, at most 6000 and 30 epochs",
        help="Length of the run in steps (updates).")
    epochs: float | None = setting(
        None, "Budget", above=0, high=1e9,
        help="Length of the run in passes over the text; 0.5 is half a pass.")
    max_minutes: float | None = setting(
        None, "Budget", above=0, high=1e9,
        help="Length of the run in minutes, converted to steps before the first step.")
    patience: int | None = setting(
        None, "Budget", low=1,
        help="Stop after this many validations in a row without a new best.")

    eval_every: int | None = setting(
        None, "Validation and saving", low=1, rule="keeps validation below 10% of the time",
        help="Steps between validations.")
    save_every: int = setting(
        200, "Validation and saving", low=1,
        help="Steps between saves of the checkpoint; each validation saves it, too.")
    sample_every: int | None = setting(
        None, "Validation and saving", low=0, rule="at each validation",
        help="Steps between short samples to show; 0 shows none.")

    seed: int = setting(
        1, "Machine", low=0,
        help="Random seed. The same seed on the same machine gives the same checkpoint.")
    threads: int = setting(
        0, "Machine", low=0, high=MAX_THREADS,
        help="Threads per process; they share the batch. 0 uses all cores, but at most 4.")
    deterministic: bool = setting(
        False, "Machine", choices=("true", "false"),
        help="Same result with any number of threads and processes; a little slower.")


# Settings that may differ when a run resumes: its length, and when it shows or saves something.
# All others identify the run.
MAY_CHANGE = frozenset(
    ("steps", "epochs", "max_minutes", "patience", "save_every", "sample_every", "threads")
)
BUDGETS = ("steps", "epochs", "max_minutes")
NETWORK = ("cell", "hidden_size", "layers")
# Settings whose default follows from the text or from other settings: a new run computes and
# stores it. Older files may have None for those that were the first of them.
ONCE_NULL = ("val_fraction", "dropout", "weight_decay", "steps", "eval_every")
DERIVED = (*NETWORK, "learning_rate", *ONCE_NULL)
FIELDS = {field.name: field for field in dataclasses.fields(Config)}
TYPES = get_type_hints(Config)


def option_name(key: str) -> str:
    """The setting's name on the command line."""
    return "--" + key.replace("_", "-")


def shown(value: Value) -> str:
    """A value as a config file spells it: exact, and as short as possible."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)


def as_option(key: str, value: str) -> str:
    """The option that sets ``key`` to ``value``, which is already quoted for a shell."""
    if TYPES[key] is bool:
        return option_name(key) if value == "true" else option_name("no_" + key)
    return f"{option_name(key)} {value}"


def changed(settings: Mapping[str, Value], explicit: Collection[str]) -> list[str]:
    """The settings that differ from the built-in defaults, whether set or inherited.

    Those of DERIVED have no built-in default: they differ if they are in ``explicit``.
    """
    return [
        key for key, field in FIELDS.items()
        if settings[key] != field.default and (field.default is not None or key in explicit)
    ]
