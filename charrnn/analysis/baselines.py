"""Baselines: the same text under n-grams and lzma, to compare a score with."""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterator

from numpy import ndarray

from charrnn.analysis import ngram
from charrnn.text.split import Split
from charrnn.text.vocabulary import Vocabulary

ORDER = 8  # of the longest n-grams


def baselines(
    train: ndarray, part: Split, vocabulary: Vocabulary
) -> Iterator[tuple[str, float]]:
    """Name and nats per character of ``part`` (at least one symbol), one after the other.

    A uniform guess; n-grams of ``train`` with Kneser-Ney smoothing; and how much more lzma needs
    for both texts than for ``train`` alone. Of a longer ``train`` the last ngram.MAX_COUNTED
    symbols count, for all of them.
    """
    V = len(vocabulary)
    yield "uniform", math.log(V)
    for order, nats in enumerate(ngram.nats_by_order(train, part, V, ORDER), start=1):
        yield f"{order}-gram", float(nats.mean())
    known, new = (_raw(vocabulary, ids) for ids in (train[-ngram.MAX_COUNTED :], part.ids))
    more = _compressed(known + new) - _compressed(known)
    yield "lzma", math.log(2) * 8 * more / len(part)


def _raw(vocabulary: Vocabulary, ids: ndarray) -> bytes:
    text = vocabulary.decode(ids)
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def _compressed(data: bytes) -> int:
    """The size, with a window that holds all of the data."""
    window = max(1 << 20, 1 << (len(data) - 1).bit_length()) if data else 1 << 20
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": min(window, 1 << 26)}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))
