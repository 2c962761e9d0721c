"""From text to values: parse one setting, check its range, combine all by precedence."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterable, Mapping

from charrnn.config.settings import BUDGETS, FIELDS, TYPES, Config, Value, option_name
from charrnn.config.synonyms import SYNONYMS
from charrnn.errors import UsageError
from charrnn.system.encodings import canonical

MAX_INTEGER = 2**63 - 1  # the largest whole number of any setting
MAX_VALUE = 100  # characters of a number or a name; Python writes a float in 24
SIMILAR = 0.75  # least similarity for a hint, as difflib measures it; `temp` and `steps` have 0.67
# Each can match in only one way, so any text that is not a number is rejected in a single pass.
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")
NUMBER = re.compile(r"[-+]?([0-9]+(_[0-9]+)*(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")


def parse(key: str, text: str) -> Value:
    """The value of ``text``, of any length; UsageError names the allowed values."""
    field, kind = FIELDS[key], TYPES[key]
    limits = field.metadata
    if kind in (str, str | None):
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
    if whole:
        return whole_number(text, limits["low"], limits["high"])
    check_spelling(text, NUMBER, "number")
    value = float(text)
    if not math.isfinite(value):
        raise UsageError(f"{text:.40} is not a finite number")
    if not (limits["low"] <= value <= limits["high"] and limits["above"] < value < limits["below"]):
        raise UsageError(f"{text:.40} is out of range: {allowed(key)}")
    return value


def whole_number(text: str, low: float = -math.inf, high: float = math.inf) -> int:
    """The whole number that ``text`` spells, such as 6000, 6_000 or 6e3.

    Raises UsageError for anything else, and for a number outside ``low`` to ``high``.
    """
    if "e" in text.lower():
        check_spelling(text, NUMBER, "whole number")
        value = whole_power(text)
    else:
        check_spelling(text, INTEGER, "whole number")
        value = int(text)
    if value > MAX_INTEGER:
        raise UsageError(f"{text:.40} is out of range: at most {min(high, MAX_INTEGER)}")
    if not low <= value <= high:
        raise UsageError(f"{text:.40} is out of range: {range_in_words(low, high)}")
    return value


def whole_power(text: str) -> int:
    """The whole number spelled by a NUMBER with an exponent, exactly; UsageError for others."""
    from decimal import Decimal  # only for a number with an exponent

    rough = float(text)
    if abs(rough) > 2 * MAX_INTEGER:  # out of range; its exponent may be huge
        return 2 * MAX_INTEGER if rough > 0 else -2 * MAX_INTEGER
    exact = Decimal(text) if rough else Decimal("0.5")  # so small that it is 0 as a float
    if exact != exact.to_integral_value():
        raise UsageError(f"{quoted(text)} is not a whole number")
    return int(exact)


def check_spelling(text: str, pattern: re.Pattern[str], what: str) -> None:
    """Raise UsageError unless ``text`` is spelled like a number and not too long for one."""
    if len(text) > MAX_VALUE:
        raise UsageError(f"a number has at most {MAX_VALUE} characters; this one has {len(text):,}")
    if not pattern.fullmatch(text):
        raise UsageError(f"{quoted(text)} is not a {what}")


def quoted(text: str) -> str:
    """A value of any length as messages show it: its beginning, in quotes."""
    return f"{text[:60]!r:.60}"


def nearest(text: str, known: Iterable[str]) -> str:
    """The hint that ends a message about an unknown word; empty if no known one is similar.

    ``known`` are settings, options with their hyphens, commands or choices. The word may be
    spelled with hyphens or underscores, and may be another program's name for one of them.
    """
    if len(text) > MAX_VALUE:
        return ""
    import difflib  # needed only for an unknown word

    names = {normal(name): name for name in known}
    word = normal(text)
    close = [name for name in (word, *SYNONYMS.get(word, ())) if name in names]
    close = close or difflib.get_close_matches(word, names, 1, SIMILAR)
    return f"; did you mean {names[close[0]]}?" if close else ""


def normal(name: str) -> str:
    """A name as SYNONYMS spells it: --Learning-Rate is learning_rate."""
    return name.lstrip("-").replace("-", "_").lower()


def allowed(key: str) -> str:
    """The range of a setting in words; empty if any value is allowed."""
    limits = FIELDS[key].metadata
    return range_in_words(limits["low"], limits["high"], limits["above"], limits["below"])


def range_in_words(
    low: float = -math.inf, high: float = math.inf, above: float = -math.inf,
    below: float = math.inf,
) -> str:
    """A range in words: at least ``low``, at most ``high``, ``above`` and ``below`` excluded."""
    words = []
    if low > -math.inf:
        words.append(f"at least {low:g}")
    if above > -math.inf:
        words.append(f"above {above:g}")
    if high < math.inf:
        words.append(f"at most {high if isinstance(high, int) else format(high, 'g')}")
    if below < math.inf:
        words.append(f"below {below:g}")
    return " and ".join(words)


def encoding(name: str) -> str:
    """The canonical name of an encoding; UsageError unless it is a text encoding of Python."""
    try:
        found = canonical(name)
        known = codecs.lookup(found)._is_text_encoding
        codecs.getincrementaldecoder(found)
    except (LookupError, ValueError):
        known = False
    if not known or found in ("idna", "punycode", "undefined"):
        raise UsageError(f"{quoted(name)} is not a text encoding; examples: utf-8, latin-1")
    return found


def resolve(file: Mapping[str, Value], options: Mapping[str, Value]) -> Config:
    """The defaults, overridden by the settings of the file, and those by the options."""
    given = dict(file)
    for source in (file, options):
        named = [key for key in BUDGETS if source.get(key) is not None]
        if len(named) > 1:
            names = named if source is file else map(option_name, named)
            where = "in the config, " if source is file else ""
            raise UsageError(f"{where}{' and '.join(names)} set the length of the run; "
                             "use only one of them")
        if named:  # a budget of the options replaces that of the file
            given = {key: value for key, value in given.items() if key not in BUDGETS}
        given.update(source)
    config = Config(**given)  # type: ignore[arg-type]
    check_consistent(config)
    return config


def check_consistent(config: Config) -> None:
    """Raise UsageError for settings that do not go together."""
    if config.cell not in (None, "rnn") and config.activation != "tanh":
        raise UsageError(f"activation {config.activation} is for cell rnn: the equations of "
                         f"{config.cell} have tanh; leave it out")
    rate, decay = config.learning_rate, config.weight_decay
    if rate is not None and decay is not None and rate * decay >= 1:
        raise UsageError(f"learning_rate {rate:g} times weight_decay {decay:g} is 1 or more, which "
                         "would erase the weights: lower one of them")
    if config.level == "byte" and config.errors != "strict":
        raise UsageError(f"errors {config.errors} has no effect at byte level, where nothing is "
                         "decoded: leave it out")
    if config.level == "byte" and config.min_count > 1:
        raise UsageError(f"min_count {config.min_count:,} has no effect at byte level, where the "
                         "vocabulary is always all 256 bytes: leave it out")
