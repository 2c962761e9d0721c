"""The arguments of the Python API: values of the right type, in range, or errors that name them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np

from charrnn.config.parsing import quoted
from charrnn.errors import UsageError

AnyPath: TypeAlias = str | os.PathLike[str]
Unknown: TypeAlias = Literal["error", "skip"]
LONGEST_NAME = 255  # the limit for file names on most systems


def skips(unknown: str) -> bool:
    """Whether to skip unknown characters."""
    if unknown not in ("error", "skip"):
        raise UsageError(f'unknown must be "error" or "skip", not {unknown!r:.60}')
    return unknown == "skip"


def whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    """An integer in a range; a float such as 1e4 and a NumPy scalar are accepted too."""
    number = scalar(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int):
        raise TypeError(f"{name} must be a whole number, not {value!r:.60}")
    if number < low or (high is not None and number > high):
        most = "" if high is None else f" and at most {high}"
        raise UsageError(f"{name} {number} is out of range: at least {low}{most}")
    return number


def real(
    name: str, value: Any, low: float = 0.0, high: float = math.inf, above: bool = False
) -> float:
    """A finite number from ``low`` to ``high``; with ``above``, ``low`` itself is excluded."""
    number = scalar(value)
    if not isinstance(number, (int, float)):
        raise TypeError(f"{name} must be a number, not {value!r:.60}")
    if not (low <= number <= high) or math.isinf(number) or (above and number == low):
        most = "" if high == math.inf else f" and at most {high:g}"
        raise UsageError(f"{name} {number} is out of range: {'above' if above else 'at least'} "
                         f"{low:g}{most}")
    return float(number)


def boolean(name: str, value: Any) -> bool:
    """A bool; strings such as "no", which Python treats as true, are refused."""
    truth = scalar(value)
    if not isinstance(truth, bool):
        raise TypeError(f"{name} must be True or False, not {value!r:.60}")
    return truth


def scalar(value: Any) -> Any:
    """A NumPy scalar as the Python value with the same digits; other values unchanged."""
    if isinstance(value, (np.float16, np.float32)):
        return float(str(value))  # float32 0.1 becomes 0.1, not 0.10000000149
    if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
        return value.item()
    return value


def path(name: str, value: Any) -> str:
    """A path as a str; ~ is the home folder."""
    found = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(found, str):
        raise TypeError(f"{name} must be a path, a str or a Path, not {type(value).__name__}")
    if not found:
        raise UsageError(f"{name} is an empty path")
    return os.path.expanduser(found)


def text_path(name: str, value: Any) -> str:
    """The path of a text; UsageError if it seems to be the text itself."""
    found = path(name, value)
    if "\n" in found or max(map(len, found.split(os.sep))) > LONGEST_NAME:
        raise UsageError(f"{name} must be the path of a file or folder, not the text itself: write "
                         f"the text to a file first ({quoted(found)})")
    return found


def paths(value: Any) -> list[str]:
    """The texts to train on, in order."""
    if isinstance(value, (str, os.PathLike)):
        return [text_path("paths", value)]
    if isinstance(value, (set, frozenset)):
        raise TypeError("paths is a set, which has no order: give a list, such as sorted(paths)")
    if isinstance(value, (bytes, dict)) or not isinstance(value, Iterable):
        raise TypeError(f"paths must be a path or a list of paths, not {type(value).__name__}")
    found = [text_path("each item of paths", each) for each in value]
    if not found:
        raise UsageError("there is no text to train on: name a file or a folder")
    return found
