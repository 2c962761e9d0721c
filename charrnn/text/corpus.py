"""Read the text of a run and collect its vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from charrnn.errors import CorpusError
from charrnn.system.encodings import canonical
from charrnn.text import cache
from charrnn.text.checks import text_warnings
from charrnn.text.display import count, display_name
from charrnn.text.files import files_of
from charrnn.text.source import READ_PAST_OR_BYTES, Source
from charrnn.text.store import Store
from charrnn.text.vocabulary import CODE_POINTS, REPLACEMENT, Vocabulary, smallest_dtype

NO_CODES = np.zeros(0, np.uint32)
UNSEEN = np.iinfo(np.uint32).max


@dataclass(frozen=True)
class TextOptions:
    """How to read a text."""

    level: str
    encoding: str
    min_count: int = 1  # characters that occur less often become U+FFFD
    folder: Path | None = None  # for the symbols of a large text
    errors: str = "strict"  # or "replace" or "skip": what to do with undecodable bytes


@dataclass(frozen=True)
class Text:
    """One or more files as one array of symbols."""

    name: str
    ids: ndarray  # (N,) of the smallest integer type
    vocabulary: Vocabulary
    digest: str  # SHA-256 of the bytes of the files, unpacked, in their order
    distinct: int = 0  # symbols that occur
    unknown: int = 0  # characters that are not in the vocabulary and were skipped or replaced
    begins: Sequence[int] = ()  # positions at which the second file and the later ones begin
    notes: Sequence[str] = ()  # on anything unusual in it
    undecodable: int = 0  # byte sequences that were replaced or skipped

    def __len__(self) -> int:
        return len(self.ids)

    def chunks(self) -> Iterator[ndarray]:
        """The text in the chunks of a ``TextStream``: an empty one ends each file."""
        for begin, end in pairwise([0, *self.begins, len(self)]):
            for at in range(begin, end, cache.CHUNK):
                yield self.ids[at : min(at + cache.CHUNK, end)]
            yield self.ids[:0]

    @property
    def in_memory(self) -> bool:
        """Whether the symbols take memory: those of large texts are mapped from a file."""
        return not isinstance(self.ids, np.memmap)


def read(
    paths: Sequence[str], options: TextOptions, more: ndarray = NO_CODES, verify: bool = True
) -> Text:
    """Read files (``-`` is standard input) and collect their vocabulary on the way.

    The vocabulary includes the codes ``more``. A file is read once, in chunks, so that pipes work
    and memory holds little more than the symbols. If ``options.folder`` has the symbols of a large
    text, they are mapped from there, and checked if ``verify``; otherwise they are written there.
    Raises UsageError for files that cannot be opened, CorpusError for what cannot be decoded.
    """
    name, files = display_name(paths), files_of(paths)
    sources = cache.fingerprints(files)
    key = {"level": options.level, "encoding": canonical(options.encoding),
           "errors": options.errors, "min_count": options.min_count,
           "more": hashlib.sha256(more.tobytes()).hexdigest()}
    if options.folder is not None and sources:
        for known in cache.find(options.folder, key, sources):
            found = cache.load(known, verify)
            if found:
                return text_from_facts(name, _vocabulary(options, found[1]["codes"]), *found)
    store = Store(options.folder, files)
    source = Source(paths, options.level, options.encoding, options.errors, READ_PAST_OR_BYTES)
    try:
        codes, counts, begins = _collect(source, options, store, more)
        # From the order of appearance to the order of code points, in place.
        rare = (counts < options.min_count) & ~np.isin(codes, more)
        if len(codes) and rare.all():
            raise CorpusError(f"{name}: no character occurs {options.min_count:,} times; the most "
                              f"common one occurs {count(int(counts.max()), 'time')}: lower "
                              "--min-count")
        kept = np.unique(np.concatenate([codes[~rare], more, extra_codes(options)]))
        vocabulary = _vocabulary(options, kept)
        to = vocabulary.lookup(np.where(rare, REPLACEMENT, codes))
        store.translate(to, vocabulary.dtype)
        facts = {
            "key": {**key, "corpus": source.digest.digest().hex()}, "sources": sources,
            "codes": kept.tolist(), "distinct": len(np.unique(to)),
            "unknown": int(counts[rare].sum()), "undecodable": source.undecodable,
            "begins": begins, "notes": [*source.notes, *text_warnings(
                store.chunks, vocabulary,
                replaced=source.undecodable if options.errors == "replace" else 0,
                utf8=source.encoding == "utf-8")],
        }
        if store.finish(facts) is None and store.in_file:
            facts["notes"] = [*facts["notes"], "the encoded text cannot be kept in "
                              f"{options.folder}: the next run encodes it again"]
        return text_from_facts(name, vocabulary, store.array(), facts)
    finally:
        store.discard()


def _collect(
    source: Source, options: TextOptions, store: Store, more: ndarray
) -> tuple[ndarray, ndarray, list[int]]:
    """Fill ``store`` with the symbols of the files, in the order of their first appearance.

    Returns the codes that the symbols stand for, how often each occurs (where that matters), and
    where files begin. The type of the symbols has room for the codes ``more``.
    """
    codes, counts, begins = NO_CODES, np.zeros(0, np.int64), [0]
    reserve = len(more) + len(extra_codes(options)) if options.level == "char" else 0
    table = np.full(CODE_POINTS, UNSEEN, np.uint32)
    ordered = False
    small = table.astype(np.uint8)  # the same in a smaller type, whose largest number is UNSEEN
    for chunk in source:
        if len(chunk) == 0:  # a file has ended
            begins.append(store.count)
            continue
        # "clip" is twice as fast as indexing, which looks for indices out of bounds first.
        ids = small.take(chunk, mode="clip")
        if ids.max() >= len(codes):
            new = np.unique(chunk[table.take(chunk, mode="clip") == UNSEEN]).astype(np.uint32)
            table[new] = np.arange(len(codes), len(codes) + len(new))
            codes = np.concatenate([codes, new])
            store.widen(smallest_dtype(len(codes) + reserve))
            small = table.astype(smallest_dtype(len(codes) + 1))
            ids = small.take(chunk, mode="clip")
        store.append(ids)
        if options.min_count > 1:
            counts = np.pad(counts, (0, len(codes) - len(counts)))
            counts += np.bincount(ids, minlength=len(codes))
        if store.in_file and not ordered:
            # Most texts have used all their symbols by now, so that no second pass is needed.
            order, ordered = np.argsort(codes), True
            store.translate(np.argsort(order), store.dtype)
            codes, counts = codes[order], counts[order] if len(counts) else counts
            table[codes] = np.arange(len(codes))
            small = table.astype(small.dtype)
    if options.min_count == 1:
        counts = np.ones(len(codes), np.int64)
    return codes, counts, begins[1:-1]


def extra_codes(options: TextOptions) -> ndarray:
    """Codes that are in every vocabulary: all bytes, or U+FFFD, which replaces rare characters."""
    if options.level == "byte":
        return np.arange(256, dtype=np.uint32)
    return np.full(int(options.min_count > 1), REPLACEMENT, np.uint32)


def _vocabulary(options: TextOptions, codes: Any) -> Vocabulary:
    return Vocabulary(np.asarray(codes, np.uint32), options.level, replaces=options.min_count > 1)


def text_from_facts(name: str, vocabulary: Vocabulary, ids: ndarray, facts: dict[str, Any]) -> Text:
    """A text with the ``facts`` that a file of encoded symbols holds."""
    return Text(name, ids, vocabulary, facts["key"]["corpus"], facts["distinct"],
                facts["unknown"], facts["begins"], facts["notes"], facts.get("undecodable", 0))
