"""Is a score any good? The same text under models that everybody can have for nothing."""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from charrnn import ngram
from charrnn.vocabulary import Vocabulary

Array = NDArray[Any]

ORDER = 8  # of the longest n-grams


def baselines(
    train: Array, text: Array, before: Array, vocabulary: Vocabulary
) -> Iterator[tuple[str, float]]:
    """Name and nats per character of ``text`` (at least one symbol), one after the other.

    Guessing evenly; n-grams of ``train`` with Kneser-Ney smoothing; and what lzma needs for
    both texts more than for ``train`` alone. ``before`` are the symbols that precede the
    text. Of a longer ``train`` the last ngram.LARGEST symbols count, for all of them.
    """
    V = len(vocabulary)
    yield "uniform", math.log(V)
    for order, nats in enumerate(ngram.surprisals(train, text, before, V, ORDER), start=1):
        yield f"{order}-gram", float(nats.mean())
    known, new = (_raw(vocabulary, ids) for ids in (train[-ngram.LARGEST :], text))
    more = _compressed(known + new) - _compressed(known)
    yield "lzma", math.log(2) * 8 * more / len(text)


def _raw(vocabulary: Vocabulary, ids: Array) -> bytes:
    text = vocabulary.decode(ids)
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")


def _compressed(data: bytes) -> int:
    """The size, with a window that holds all of the data."""
    window = max(1 << 20, 1 << (len(data) - 1).bit_length()) if data else 1 << 20
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": min(window, 1 << 26)}]
    return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))
