"""Baselines: the score of the same text under n-gram models and lzma, for comparison."""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterator

from numpy import ndarray

from charrnn.analysis import ngram
from charrnn.text.split import Split
from charrnn.text.vocabulary import Vocabulary

ORDER = 8  # n of the longest n-grams


def baselines(
    train: ndarray, part: Split, vocabulary: Vocabulary
) -> Iterator[tuple[str, float]]:
    """Yield the name of each baseline and its nats per character on ``part``, one by one.

    They are: uniform probabilities; n-grams of ``train`` with Kneser-Ney smoothing, for n from 1
    to ORDER; and lzma, whose cost is the compressed size of ``train`` and ``part`` together less
    that of ``train`` alone. All use at most the last ngram.MAX_COUNTED symbols of ``train``.
    ``train`` (N,) and ``part`` need at least one symbol each.
    """
    V = len(vocabulary)
    yield "uniform", math.log(V)
    for order, nats in enumerate(ngram.nats_by_order(train, part, V, ORDER), start=1):
        yield f"{order}-gram", float(nats.mean())
    known, new = (_raw(vocabulary, ids) for ids in (train[-ngram.MAX_COUNTED :], part.ids))
    added = _compressed_size(known + new) - _compressed_size(known)
    yield "lzma", math.log(2) * 8 * added / len(part)


def _raw(vocabulary: Vocabulary, ids: ndarray) -> bytes:
    """The symbols as bytes of UTF-8, or as they are at byte level."""
    text = vocabulary.decode(ids)
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def _compressed_size(data: bytes) -> int:
    """Bytes after compression by LZMA2, preset 6, with a dictionary as large as the data.

    The dictionary has at least 1 MiB and at most 64 MiB.
    """
    window = max(1 << 20, 1 << (len(data) - 1).bit_length()) if data else 1 << 20
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": min(window, 1 << 26)}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))
