"""Messages for Python callers: options in them become arguments."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from charrnn.config.settings import FIELDS, TYPES
from charrnn.errors import CharrnnError

ARGUMENTS = {*FIELDS, "out", "val", "init_from", "config", "cache", "overwrite", "unknown", "stop"}
SHORT = {"-o": "out", "-c": "config"}
WORDS = {"skip", *itertools.chain(*(field.metadata["choices"] for field in FIELDS.values()))}
NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?"
# An option that is not part of a command, and a value that messages show after it.
OPTION = re.compile(
    r"(?<![\w-])(?<!charrnn train )(--[a-z]+(?:-[a-z]+)*|-o)(?![\w-])"
    r"(?: ((?<=--encoding )[\w-]+|'[^']*'(?= to start)|\S+(?= to start)|\S*\.npz|"
    rf"{'|'.join(sorted(WORDS))}|{NUMBER})(?![\w.-]*\w))?"
)
NO_SETTING = re.compile(r"is not a setting: use the option (\S+) of charrnn train")
COMMANDS = {
    "charrnn train writes one": "charrnn.train writes one",
    "name the text after charrnn train": "the text is the first argument of charrnn.train",
}


def as_arguments(text: str) -> str:
    """A message with ``--learning-rate`` as ``learning_rate``, ``--threads 1`` as ``threads=1``."""
    for command, call in COMMANDS.items():
        text = text.replace(command, call)
    return OPTION.sub(_argument, NO_SETTING.sub(_not_a_setting, text))


def _argument(match: re.Match[str]) -> str:
    name, value = _name(match[1]), match[2]
    positive = name.removeprefix("no_")
    if positive not in ARGUMENTS:
        return match[0]
    if name == "overwrite" or TYPES.get(positive) is bool:
        return f"{positive}={name == positive}"
    if value is None:
        return name
    if re.fullmatch(NUMBER, value):
        return f"{name}={value}"
    with suppress(ValueError):  # a quote that is not closed, in the name of a file
        value = " ".join(shlex.split(value))
    return f'{name}="{value}"'


def _not_a_setting(match: re.Match[str]) -> str:
    name = _name(match[1])
    if name in ARGUMENTS:
        return f"is not a setting: use the argument {name} of charrnn.train"
    return "is not a setting; only the command has this option"


def _name(option: str) -> str:
    return SHORT.get(option) or option.lstrip("-").replace("-", "_")


@contextmanager
def in_arguments() -> Iterator[None]:
    """Make the errors that are raised inside name arguments instead of options."""
    try:
        yield
    except CharrnnError as error:
        error.args = (as_arguments(str(error)),)
        raise
