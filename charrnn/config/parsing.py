"""From text to values: one setting parsed, its range checked; all of them by precedence."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable, Mapping

from charrnn.config.settings import BUDGETS, FIELDS, TYPES, Config, Value, option_name
from charrnn.errors import UsageError
from charrnn.system.encodings import canonical

MAX_INTEGER = 2**63 - 1  # of whole numbers
MAX_VALUE = 100  # characters of a number or a name; Python writes a float in 24
# Each can match a text in one way only, so that what is no number is refused in one pass.
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
NUMBER = re.compile(r"[-+]?([0-9]+(_[0-9]+)*(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")


def parse(key: str, text: str) -> Value:
    """The value that ``text``, of any length, spells; UsageError says what it may be."""
    field, kind = FIELDS[key], TYPES[key]
    limits = field.metadata
    if kind is str:
        if limits["choices"] and text not in limits["choices"]:
            choices = limits["choices"]
            hint = nearest(text.lower(), choices)
            raise UsageError(f"{quoted(text)} is not one of {', '.join(choices)}{hint}")
        if key == "encoding":
            return encoding(text)
        return text
    if kind is bool:
        if text.lower() not in limits["choices"]:
            raise UsageError(f"{quoted(text)} is neither true nor false")
        return text.lower() == "true"
    whole = kind in (int, int | None)
    if len(text) > MAX_VALUE:
        raise UsageError(f"a number has at most {MAX_VALUE} characters; this has {len(text):,}")
    if not (INTEGER if whole else NUMBER).fullmatch(text):
        raise UsageError(f"{quoted(text)} is not a {'whole ' if whole else ''}number")
    value: int | float = int(text) if whole else float(text)
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{text:.40} is not a finite number")
    high = min(limits["high"], MAX_INTEGER) if whole else limits["high"]
    if not (limits["low"] <= value <= high and limits["above"] < value < limits["below"]):
        bounds = f"at most {MAX_INTEGER}" if whole and value > MAX_INTEGER else allowed(key)
        raise UsageError(f"{text:.40} is out of range: {bounds}")
    return value


def quoted(text: str) -> str:
    """How a message shows a value, of any length: in quotes, the beginning of it."""
    return f"{text[:60]!r:.60}"


def nearest(text: str, known: Iterable[str]) -> str:
    """The hint with which a message on a misspelled word ends, empty where nothing is near."""
    import difflib  # only where there is a mistake

    close = difflib.get_close_matches(text, known, 1) if len(text) <= MAX_VALUE else []
    return f"; did you mean {close[0]}?" if close else ""


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


def encoding(name: str) -> str:
    """The canonical name of an encoding; UsageError unless Python knows it as one of text."""
    try:
        found = canonical(name)
        known = codecs.lookup(found)._is_text_encoding
        codecs.getincrementaldecoder(found)
    except (LookupError, ValueError):
        known = False
    if not known or found in ("idna", "punycode", "undefined"):
        raise UsageError(f"{quoted(name)} is not an encoding of text; utf-8 and latin-1 are")
    return found


def resolve(file: Mapping[str, Value], options: Mapping[str, Value]) -> Config:
    """Built-in defaults, overridden by the file, overridden by the options that were given."""
    given = dict(file)
    for source in (file, options):
        named = [key for key in BUDGETS if source.get(key) is not None]
        if len(named) > 1:
            names = named if source is file else map(option_name, named)
            where = "in the config, " if source is file else ""
            raise UsageError(f"{where}{' and '.join(names)} set the length of the run; give one")
        if named:  # a later word on the length of the run replaces the earlier one
            given = {key: value for key, value in given.items() if key not in BUDGETS}
        given.update(source)
    config = Config(**given)  # type: ignore[arg-type]
    check_bytes(config)
    if config.learning_rate * config.decay >= 1:
        raise UsageError(
            f"learning_rate {config.learning_rate:g} times weight_decay {config.decay:g} is 1 or "
            "more, which leaves nothing of a weight: lower one of them"
        )
    return config


def check_bytes(config: Config) -> None:
    """Raise UsageError for settings about characters at byte level."""
    if config.level == "byte" and config.errors != "strict":
        raise UsageError(f"errors {config.errors} is for characters: bytes are not decoded; leave "
                         "it out at byte level")
    if config.level == "byte" and config.min_count > 1:
        raise UsageError(f"min_count {config.min_count:,} is for characters: there are 256 bytes, "
                         "and all are known; leave it out at byte level")
