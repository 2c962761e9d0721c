"""YAML files of settings: one plain mapping of keys to single values."""

from __future__ import annotations

import os
from typing import Any

import yaml

from charrnn.config.parsing import MAX_VALUE, nearest, normal, parse, quoted
from charrnn.config.settings import FIELDS, TYPES, Value
from charrnn.config.synonyms import NOT_SETTINGS, SYNONYMS
from charrnn.errors import UsageError
from charrnn.system.resources import presets

MAX_YAML = 100_000  # characters; a config has a few dozen lines


def config_file(name: str) -> str:
    """The file that ``name`` means: the file of this name, else the preset.

    A folder of this name, perhaps one of texts, does not hide the preset.
    """
    if not name.isidentifier() or (os.path.exists(name) and not os.path.isdir(name)):
        return name
    known = presets()
    if name not in known:
        raise UsageError(f"{name}: neither a file nor a preset{nearest(name, known)}; charrnn "
                         "presets lists the presets")
    return str(known[name])


def read_yaml(path: str) -> dict[str, Value]:
    """The settings in a file, which is one mapping of known keys to plain values.

    This reads the parser's events instead of loading the document, so that aliases, merges, tags
    and nesting are refused before an object is built from them.
    """

    def refuse(event: Any, why: str) -> UsageError:
        line = f", line {event.start_mark.line + 1}" if event.start_mark else ""
        return UsageError(f"{path}{line}: {why}")

    try:
        with open(path, "rb") as file:
            text = file.read(4 * MAX_YAML + 1).decode("utf-8").removeprefix("\ufeff")
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
                    raise refuse(event, "a second document: a config has only one")
            elif isinstance(event, yaml.MappingStartEvent) and depth == 0:
                depth = 1
                if event.anchor or event.tag:
                    raise refuse(event, "anchors and tags are not supported")
            elif isinstance(event, yaml.ScalarEvent):
                if event.anchor or event.tag:
                    raise refuse(event, "anchors and tags are not supported")
                if depth == 0:
                    if event.value:
                        raise refuse(event, "a config consists of 'key: value' lines")
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
                             if key else f"a config consists of 'key: value' lines, not {found}")
            elif isinstance(event, yaml.AliasEvent):
                raise refuse(event, "aliases are not supported")
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"{path}{line}: not YAML: {problem:.200}") from None
    return values


def _parse_scalar(key: str, event: Any, refuse: Any) -> Value:
    empty = event.style is None and event.value in ("", "~", "null", "Null", "NULL")
    if empty and FIELDS[key].default is None:
        return None
    if empty:
        raise refuse(event, f"{key} needs a value")
    if event.style is not None and TYPES[key] not in (str, str | None):
        raise refuse(event, f"{key}: {quoted(event.value)} is text in quotes, not "
                            f"{'true or false' if TYPES[key] is bool else 'a number'}")
    try:
        return parse(key, event.value)
    except UsageError as error:
        raise refuse(event, f"{key}: {error}") from None


def unknown_key(key: str) -> str:
    """The message for a key that is not a setting: what it is instead, or which one is meant."""
    word = normal(key) if len(key) <= MAX_VALUE else ""
    for name in (word, *SYNONYMS.get(word, ())):
        if name in FIELDS:
            break
        if name in NOT_SETTINGS:
            return f"{quoted(key)} {NOT_SETTINGS[name]}"
    return f"{quoted(key)} is not a setting{nearest(key, FIELDS)}"
