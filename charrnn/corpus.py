"""Texts: what was read as one array of symbols, with the vocabulary found on the way or given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn import encoded
from charrnn.encoded import Store
from charrnn.errors import CharrnnError, CorpusError
from charrnn.files import CONVERT, Digest, files_of, name_of, shown, stream
from charrnn.remarks import oddities
from charrnn.vocabulary import CODE_POINTS, REPLACEMENT, Vocabulary, describe, smallest_dtype

Array = NDArray[Any]

NO_CODES = np.zeros(0, np.uint32)
UNSEEN = np.iinfo(np.uint32).max


@dataclass(frozen=True)
class Reading:
    """How a text is to be read."""

    level: str
    encoding: str
    min_count: int = 1  # characters that occur less often become U+FFFD
    folder: Path | None = None  # for what is too large for memory


@dataclass(frozen=True)
class Text:
    """One or more files as one array of symbols."""

    name: str
    ids: Array  # (N,) of the smallest integer type
    vocabulary: Vocabulary
    digest: str  # SHA-256 of the bytes of the files, unpacked, in their order
    distinct: int = 0  # symbols that occur
    unknown: int = 0  # characters that the vocabulary lacks: left out, or replaced
    begins: Sequence[int] = ()  # where the second file begins, and the others after it
    notes: Sequence[str] = ()  # what a user may not expect in it

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def in_memory(self) -> bool:
        """Whether the symbols take memory: those of large texts are mapped from a file."""
        return not isinstance(self.ids, np.memmap)


def read(paths: Sequence[str], how: Reading, more: Array = NO_CODES, verify: bool = True) -> Text:
    """Read files (``-`` is standard input) and collect their vocabulary on the way.

    The vocabulary has the codes ``more``, too. A file is read once, in chunks, so that pipes
    work and memory holds little more than the symbols; those of a large text are found again
    in ``how.folder``, and looked at if ``verify``, or put there. Raises UsageError for what
    cannot be opened, CorpusError for what cannot be decoded.
    """
    name, sources = name_of(paths), encoded.fingerprints(files_of(paths))
    key = {"level": how.level, "encoding": how.encoding, "min_count": how.min_count,
           "more": hashlib.sha256(more.tobytes()).hexdigest()}
    if how.folder is not None and sources:
        for known in encoded.find(how.folder, key, sources):
            found = encoded.load(known, verify)
            if found:
                return _mapped(name, _vocabulary(how, found[1]["codes"]), *found)
    store = Store(how.folder)
    try:
        digest, codes, counts, begins = _collect(paths, how, store, more)
        # The order of appearance turns into that of code points, in place.
        rare = (counts < how.min_count) & ~np.isin(codes, more)
        if len(codes) and rare.all():
            raise CorpusError(f"{name}: no character occurs {how.min_count:,} times, the commonest "
                              f"does {counts.max():,} times: lower --min-count")
        kept = np.unique(np.concatenate([codes[~rare], more, extra_codes(how)]))
        vocabulary = _vocabulary(how, kept)
        to = vocabulary.lookup(np.where(rare, REPLACEMENT, codes))
        store.translate(to, vocabulary.dtype)
        facts = {
            "key": {**key, "corpus": digest}, "sources": sources, "codes": kept.tolist(),
            "distinct": len(np.unique(to)), "unknown": int(counts[rare].sum()), "begins": begins,
            "notes": oddities(store.pieces, vocabulary),
        }
        path = store.seal(facts)
    finally:
        store.discard()
    found = encoded.load(path, verify=False) if path else (store.array(), facts)
    if found is None:
        raise CharrnnError(f"{path} was removed as soon as it was made: start again")
    return _mapped(name, vocabulary, *found)


def _collect(
    paths: Sequence[str], how: Reading, store: Store, more: Array
) -> tuple[str, Array, Array, list[int]]:
    """Fill ``store`` with the symbols of the files, in the order of their first appearance.

    Returns the digest of the files, the codes that the symbols stand for, how often each occurs
    (where that matters), and where files begin. The type of the symbols has room for the codes
    ``more``.
    """
    digest, codes, counts, begins = Digest(), NO_CODES, np.zeros(0, np.int64), [0]
    reserve = len(more) + len(extra_codes(how)) if how.level == "char" else 0
    table = np.full(CODE_POINTS, UNSEEN, np.uint32)
    ordered = False
    small = table.astype(np.uint8)  # the same, as far as it goes: its largest number is UNSEEN
    for chunk in stream(paths, how.level, how.encoding, digest):
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
        if how.min_count > 1:
            counts = np.pad(counts, (0, len(codes) - len(counts)))
            counts += np.bincount(ids, minlength=len(codes))
        if store.in_file and not ordered:
            # Most texts have shown all their symbols by now. If so, no second pass is needed.
            order, ordered = np.argsort(codes), True
            store.translate(np.argsort(order), store.dtype)
            codes, counts = codes[order], counts[order] if len(counts) else counts
            table[codes] = np.arange(len(codes))
            small = table.astype(small.dtype)
    if how.min_count == 1:
        counts = np.ones(len(codes), np.int64)
    return digest.digest().hex(), codes, counts, begins[1:-1]


def extra_codes(how: Reading) -> Array:
    """What the vocabulary has whether it occurs or not: every byte, or what rare ones become."""
    if how.level == "byte":
        return np.arange(256, dtype=np.uint32)
    return np.full(int(how.min_count > 1), REPLACEMENT, np.uint32)


def _vocabulary(how: Reading, codes: Any) -> Vocabulary:
    return Vocabulary(np.asarray(codes, np.uint32), how.level, replaces=how.min_count > 1)


def _mapped(name: str, vocabulary: Vocabulary, ids: Array, facts: dict[str, Any]) -> Text:
    """A text, of which ``facts`` say what a file of encoded symbols holds."""
    return Text(name, ids, vocabulary, facts["key"]["corpus"], facts["distinct"],
                facts["unknown"], facts["begins"], facts["notes"])


class Pieces:
    """A text in a vocabulary that is given, as it comes: the symbols, piece by piece.

    An empty piece ends each file. What else is known of the text grows on the way. CorpusError
    for characters that are unknown, unless they are left out or the vocabulary replaces them.
    """

    def __init__(
        self, paths: Sequence[str], vocabulary: Vocabulary, encoding: str,
        skip_unknown: bool = False,
    ) -> None:
        self.name, self.paths = name_of(paths), paths
        self.vocabulary, self.encoding, self.skip = vocabulary, encoding, skip_unknown
        self.unknown = 0
        self._digest = Digest()

    def __iter__(self) -> Iterator[Array]:
        known = self.vocabulary
        for path in files_of(self.paths):
            count = 0
            for codes in stream([path], known.level, self.encoding, self._digest, CONVERT):
                missing = known.unknown(codes)
                if missing and not (self.skip or known.replaces):
                    first = int((known.lookup(codes) >= len(known)).argmax())
                    raise CorpusError(
                        f"{shown(path)}: character {count + first + 1:,}, "
                        f"{describe(int(codes[first]))}, is not among the {len(known):,} that the "
                        "model knows; leave out such with --unknown skip"
                    )
                self.unknown += missing
                count += len(codes)
                yield known.encode(codes, self.skip)

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes so far."""
        return self._digest.digest().hex()


def read_known(
    paths: Sequence[str],
    vocabulary: Vocabulary,
    encoding: str,
    skip_unknown: bool = False,
    folder: Path | None = None,
) -> Text:
    """Read files as ``Pieces`` into one array.

    Where there is a ``folder``, what a run left of a large text there is mapped instead, and a
    large text that is not found is mapped from a file of its own, which nobody else sees.
    """
    sources = encoded.fingerprints(files_of(paths)) if folder is not None else []
    key = {"level": vocabulary.level, "encoding": encoding}
    for known in encoded.find(folder, key, sources) if folder is not None else ():
        found = encoded.load(known)
        same = found and np.array_equal(found[1]["codes"], vocabulary.codes)
        if found and same and (found[1]["key"]["min_count"] > 1) == vocabulary.replaces:
            return _mapped(name_of(paths), vocabulary, *found)
    pieces, begins, store = Pieces(paths, vocabulary, encoding, skip_unknown), [], Store(folder)
    store.widen(vocabulary.dtype)
    try:
        for piece in pieces:
            store.append(piece)
            if len(piece) == 0:
                begins.append(store.count)
        ids = store.array()
    finally:
        store.discard()
    return Text(pieces.name, ids, vocabulary, pieces.digest, unknown=pieces.unknown,
                begins=begins[:-1])


def read_lines(
    paths: Sequence[str], vocabulary: Vocabulary, encoding: str, skip_unknown: bool = False
) -> Iterator[tuple[str | bytes, Array, int]]:
    """The lines of files: as text without its newline, as symbols, and how many were unknown.

    The newline is one of the symbols where the line has one and the vocabulary knows it.
    """
    knows_newline = int(vocabulary.lookup(np.array([10]))[0]) < len(vocabulary)

    def line(path: str, number: int, codes: Array) -> tuple[str | bytes, Array, int]:
        ended = len(codes) > 0 and codes[-1] == 10
        text = codes[: len(codes) - ended]
        symbols = codes if knows_newline else text
        try:
            ids = vocabulary.encode(symbols, skip_unknown)
        except CorpusError as error:
            raise CorpusError(f"{shown(path)}, line {number:,}: {error}") from None
        if vocabulary.level == "byte":
            return text.tobytes(), ids, 0
        decoded = text.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        return decoded, ids, vocabulary.unknown(symbols)

    for path in files_of(paths):
        number = 1
        rest: list[Array] = []  # the beginning of a line that has not ended yet
        for codes in stream([path], vocabulary.level, encoding, remedy=CONVERT):
            begin = 0
            for end in (np.flatnonzero(codes == 10) + 1).tolist():
                yield line(path, number, np.concatenate([*rest, codes[begin:end]]))
                number, rest, begin = number + 1, [], end
            rest.append(codes[begin:])
        if any(map(len, rest)):
            yield line(path, number, np.concatenate(rest))
