"""Every setting, defined once: its name, type, range, default and a word on when to touch it.

The same definition serves the YAML file, the command-line option, the checkpoint and the
documentation. Imports no NumPy, so that ``--help`` is quick.
"""

from __future__ import annotations

import codecs
import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from charrnn.errors import UsageError

MAX_YAML = 100_000  # characters; a config has a few dozen lines

Value = int | float | str | None


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
    val_fraction: float = setting(
        0.1, "Text", low=0, below=1,
        help="Share of the text, its tail, held out to choose the best weights.")

    hidden_size: int = setting(
        256, "Model", low=1,
        help="Units per layer. More learn more, cost quadratically, need more text.")
    layers: int = setting(
        2, "Model", low=1, high=64,
        help="Recurrent layers; all of them feed the output.")
    activation: str = setting(
        "tanh", "Model", choices=("tanh", "relu"),
        help="Of the hidden units; relu wants a low rate and clipping.")
    dropout: float = setting(
        0.1, "Model", low=0, below=1,
        help="Share of the states hidden from the layers above while training. "
        "Raise it when validation gets worse as training gets better.")
    dtype: str = setting(
        "float32", "Model", choices=("float32", "float64"),
        help="float64 is for checks: twice the memory, half the speed.")

    batch_size: int = setting(
        32, "Windows", low=1,
        help="Lanes: stretches of text read side by side.")
    seq_length: int = setting(
        64, "Windows", low=1,
        help="Characters per window, through which gradients flow back.")

    optimizer: str = setting(
        "adam", "Optimisation", choices=("adam", "rmsprop", "adagrad", "sgd"),
        help="sgd has momentum 0.9.")
    learning_rate: float = setting(
        2e-3, "Optimisation", above=0,
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

    steps: int | None = setting(
        None, "Budget", low=1,
        help="Updates in all; by default 6000, or 30 epochs where that is less.")
    epochs: float | None = setting(
        None, "Budget", above=0,
        help="The same as passes over the text; 0.5 is half a pass.")
    max_minutes: float | None = setting(
        None, "Budget", above=0,
        help="The same as time; the speed is measured once, before the first step.")
    patience: int | None = setting(
        None, "Budget", low=1,
        help="Stop after so many validations in a row without a new best.")

    eval_every: int | None = setting(
        None, "Showing and saving", low=1,
        help="Steps between validations; by default about twice an epoch.")
    save_every: int = setting(
        200, "Showing and saving", low=1,
        help="Steps between checkpoints, beside those after validations.")
    sample_every: int = setting(
        0, "Showing and saving", low=0,
        help="Steps between short samples; 0 shows none.")

    seed: int = setting(
        1, "Machine", low=0, high=2**63 - 1,
        help="Of everything random. Same seed, same machine: same file.")
    threads: int = setting(
        0, "Machine", low=0, high=1024,
        help="Threads of the matrix products; 0 takes all cores.")


# Settings that say how long a run goes on or what it shows; all others are its identity.
MAY_CHANGE = frozenset(
    ("steps", "epochs", "max_minutes", "patience", "save_every", "sample_every", "threads")
)
BUDGETS = ("steps", "epochs", "max_minutes")
FIELDS = {field.name: field for field in dataclasses.fields(Config)}
_TYPES = get_type_hints(Config)

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
NUMBER = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def option(key: str) -> str:
    """The setting's name on the command line."""
    return "--" + key.replace("_", "-")


def parse(key: str, text: str) -> Value:
    """The value that ``text`` spells for a setting; UsageError says what it may be."""
    field, kind = FIELDS[key], _TYPES[key]
    limits = field.metadata
    if kind is str:
        if limits["choices"] and text not in limits["choices"]:
            close = difflib.get_close_matches(text, limits["choices"], 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UsageError(f"{text!r} is not one of {', '.join(limits['choices'])}{hint}")
        if key == "encoding":
            check_encoding(text)
        return text
    whole = kind in (int, int | None)
    if not (INTEGER if whole else NUMBER).fullmatch(text):
        raise UsageError(f"{text!r} is not a {'whole ' if whole else ''}number")
    value: int | float
    try:
        value = int(text) if whole else float(text)
    except ValueError:  # an integer of thousands of digits
        raise UsageError(f"a number of {len(text):,} digits is out of range") from None
    bounds = allowed(key)
    if not math.isfinite(value):
        raise UsageError(f"{text} is not a finite number")
    if not (limits["low"] <= value <= limits["high"] and limits["above"] < value < limits["below"]):
        raise UsageError(f"{text} is out of range: {bounds}")
    return value


def allowed(key: str) -> str:
    """The range of a setting in words, empty where anything goes."""
    limits = FIELDS[key].metadata
    words = []
    if limits["low"] > -math.inf:
        words.append(f"at least {limits['low']:g}")
    if limits["above"] > -math.inf:
        words.append(f"above {limits['above']:g}")
    if limits["high"] < math.inf:
        words.append(f"at most {limits['high']}")
    if limits["below"] < math.inf:
        words.append(f"below {limits['below']:g}")
    return " and ".join(words)


def check_encoding(name: str) -> None:
    """Raise UsageError unless Python knows ``name`` as an encoding of text."""
    try:
        known = codecs.lookup(name)._is_text_encoding
        codecs.getincrementaldecoder(name)
    except (LookupError, ValueError):
        known = False
    if not known:
        raise UsageError(f"{name!r} is not an encoding of text; utf-8 and latin-1 are")


def read_yaml(path: str) -> dict[str, Value]:
    """The settings in a file: one mapping of known keys to plain values, nothing else.

    Reads the parser's events instead of loading the document, so that aliases, merges,
    tags and nesting are met before anything is made of them.
    """

    import yaml  # only where there is a file: --help is quicker without

    def refuse(event: Any, why: str) -> UsageError:
        line = f", line {event.start_mark.line + 1}" if event.start_mark else ""
        return UsageError(f"{path}{line}: {why}")

    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(MAX_YAML + 1)
    except OSError as error:
        raise UsageError(f"{path}: the config cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: the config is not UTF-8 (byte {error.start})") from None
    if len(text) > MAX_YAML:
        raise UsageError(f"{path}: a config has at most {MAX_YAML:,} characters")

    values: dict[str, Value] = {}
    key: str | None = None
    depth = documents = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise refuse(event, "a second document; a config is one")
            elif isinstance(event, yaml.MappingStartEvent) and depth == 0:
                depth = 1
                if event.anchor or event.tag:
                    raise refuse(event, "anchors and tags have no meaning here")
            elif isinstance(event, yaml.ScalarEvent):
                if event.anchor or event.tag:
                    raise refuse(event, "anchors and tags have no meaning here")
                if depth == 0:
                    if event.value:
                        raise refuse(event, "a config is lines of the form 'key: value'")
                elif key is None:
                    key = event.value
                    if key not in FIELDS:
                        raise refuse(event, unknown_key(key))
                    if key in values:
                        raise refuse(event, f"{key} is set twice")
                else:
                    values[key] = _parse_scalar(key, event, refuse)
                    key = None
            elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                found = "a list" if isinstance(event, yaml.SequenceStartEvent) else "a mapping"
                raise refuse(event, f"{key or 'a config'} takes a single value, not {found}"
                             if key else f"a config is 'key: value' lines, not {found}")
            elif isinstance(event, yaml.AliasEvent):
                raise refuse(event, "aliases have no meaning here")
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"{path}{line}: not YAML: {problem}") from None
    return values


def _parse_scalar(key: str, event: Any, refuse: Any) -> Value:
    empty = event.style is None and event.value in ("", "~", "null", "Null", "NULL")
    if empty and _TYPES[key] in (int | None, float | None):
        return None
    if empty:
        raise refuse(event, f"{key} needs a value")
    if event.style is not None and _TYPES[key] is not str:
        raise refuse(event, f"{key}: {event.value!r} is text in quotes, not a number")
    try:
        return parse(key, event.value)
    except UsageError as error:
        raise refuse(event, f"{key}: {error}") from None


def unknown_key(key: str) -> str:
    """Say that a key is unknown, and the nearest one that is known."""
    close = difflib.get_close_matches(key.replace("-", "_"), FIELDS, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{key!r} is not a setting{hint}"


def resolve(file: Mapping[str, Value], options: Mapping[str, Value]) -> Config:
    """Built-in defaults, overridden by the file, overridden by the options that were given."""
    given = dict(file)
    for source in (file, options):
        named = [key for key in BUDGETS if source.get(key) is not None]
        if len(named) > 1:
            raise UsageError(
                f"{' and '.join(map(option, named))} both set the length of the run; give one"
            )
        if named:  # a later word on the length of the run replaces the earlier one
            given = {key: value for key, value in given.items() if key not in BUDGETS}
        given.update(source)
    return Config(**given)  # type: ignore[arg-type]


def changed(config: Config) -> dict[str, Value]:
    """The settings that differ from the built-in defaults."""
    return {
        key: getattr(config, key)
        for key, field in FIELDS.items()
        if getattr(config, key) != field.default
    }
