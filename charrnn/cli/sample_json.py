"""``charrnn sample --json``: each sample as a line of JSON, with what is needed to reproduce it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import numpy as np
from numpy import ndarray

from charrnn.analysis import novelty
from charrnn.api.loaded import Piece
from charrnn.cli.format import json_line
from charrnn.text.corpus import Text
from charrnn.text.vocabulary import Vocabulary


def json_samples(
    pieces: Iterable[Piece], length: int, facts: dict[str, Any], vocabulary: Vocabulary,
    text: Text | None,
) -> Iterator[bytes]:
    """A line for each sample once it is complete.

    A sample with fewer than ``length`` generated symbols was ended by --stop. ``facts`` are part
    of every line; with a ``text``, so is what the sample copies from it.
    """
    for number, group in groupby(pieces, key=lambda piece: piece.number):
        parts: dict[bool, list[ndarray]] = {True: [], False: []}
        for piece in group:
            parts[piece.is_prime].append(piece.ids)
        prime, generated = (np.concatenate([np.zeros(0, vocabulary.dtype), *parts[is_prime]])
                            for is_prime in (True, False))
        yield json_line({
            "number": number + 1,
            **facts,
            **as_text("prime", vocabulary.decode(prime)),
            **as_text("text", vocabulary.decode(generated)),
            "finish": "stop" if len(generated) < length else "length",
            **({} if text is None else {"novelty": copied(generated, text, vocabulary)}),
        })


def as_text(key: str, text: str | bytes) -> dict[str, str]:
    """The JSON entry of a text; bytes that are not UTF-8 get a second, lossless entry."""
    if isinstance(text, str):
        return {key: text}
    try:
        return {key: text.decode()}
    except UnicodeDecodeError:
        return {key: text.decode(errors="replace"),
                f"{key}_base64": base64.b64encode(text).decode()}


def copied(generated: ndarray, text: Text, vocabulary: Vocabulary) -> dict[str, Any]:
    """How much of a sample occurs in ``text``: the longest passage, and how many windows."""
    found = novelty.copied(generated, text.ids)
    passage = vocabulary.decode(generated[found.start : found.start + found.longest])
    return {
        "text": text.name,
        "longest": found.longest,
        **as_text("passage", passage),
        "windows": found.windows,
        "copied_windows": found.found,
    }
