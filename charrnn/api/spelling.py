"""Messages for Python callers: options in them become arguments."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager

from charrnn.config.settings import FIELDS, TYPES
from charrnn.errors import CharrnnError

ARGUMENTS = {*FIELDS, "out", "val", "init_from", "config", "cache", "overwrite", "unknown", "stop"}
WORDS = {"skip", *itertools.chain(*(field.metadata["choices"] for field in FIELDS.values()))}
OPTION = re.compile(
    r"(?<![\w-])(?:--([a-z]+(?:-[a-z]+)*)|-o)(?![\w-])"
    rf"(?: ({'|'.join(sorted(WORDS))}|[0-9]+|[A-Z]+\.npz)(?![\w.-]*\w))?"
)


def as_arguments(text: str) -> str:
    """A message with ``--learning-rate`` as ``learning_rate``, ``--threads 1`` as ``threads=1``."""
    def argument(match: re.Match[str]) -> str:
        name, value = (match[1] or "out").replace("-", "_"), match[2]
        if name not in ARGUMENTS:
            return match[0]
        if name == "overwrite" or TYPES.get(name) is bool:
            return f"{name}=True"
        if value is None:
            return name
        return f"{name}={value}" if value.isdigit() else f'{name}="{value}"'

    return OPTION.sub(argument, text)


@contextmanager
def in_arguments() -> Iterator[None]:
    """Make the errors that are raised inside name arguments instead of options."""
    try:
        yield
    except CharrnnError as error:
        error.args = (as_arguments(str(error)),)
        raise
