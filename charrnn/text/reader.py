"""Read a text with a given vocabulary: as a stream, whole, or line by line."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from charrnn.errors import CorpusError
from charrnn.system.encodings import canonical
from charrnn.text import cache
from charrnn.text.corpus import Text, text_from_facts
from charrnn.text.display import describe, display_name, display_path, undecodable_note
from charrnn.text.files import chunks, files_of
from charrnn.text.source import READ_PAST, Source
from charrnn.text.store import Store
from charrnn.text.vocabulary import Vocabulary, smallest_dtype

Line = tuple[str | bytes, ndarray, int]  # its text, its symbols, and how many were unknown


class TextStream:
    """A text in a given vocabulary, as it arrives: the symbols, chunk by chunk.

    An empty chunk ends each file. The counts and notes grow while the text is read. Raises
    CorpusError for unknown characters, unless they are skipped, replaced by the vocabulary, or
    marked, that is, represented by V, which is the id of no symbol. ``errors`` states what to do
    with undecodable bytes.
    """

    def __init__(
        self, paths: Sequence[str], vocabulary: Vocabulary, encoding: str,
        skip_unknown: bool = False, mark_unknown: bool = False, remedy: str = READ_PAST,
        errors: str = "strict",
    ) -> None:
        self.name, self.paths = display_name(paths), paths
        self.vocabulary, self.skip = vocabulary, skip_unknown
        self.mark = mark_unknown and not vocabulary.replaces
        self.unknown = 0
        self.source = Source(paths, vocabulary.level, encoding, errors, remedy)

    def __iter__(self) -> Iterator[ndarray]:
        known = self.vocabulary
        for path in files_of(self.paths):
            read = 0
            for codes in self.source.file(path):
                missing = known.unknown(codes)
                if missing and not (self.skip or self.mark or known.replaces):
                    first = int((known.lookup(codes) >= len(known)).argmax())
                    raise CorpusError(
                        f"{display_path(path)}: character {read + first + 1:,}, "
                        f"{describe(int(codes[first]))}, is not among the {len(known):,} that the "
                        f"model knows; {known.remedy(codes)}"
                    )
                self.unknown += missing
                read += len(codes)
                ids = known.lookup(codes) if self.mark else known.encode(codes, self.skip)
                if len(ids) or not len(codes):  # every symbol of a chunk may be skipped
                    yield ids

    def lines(self) -> Iterator[Line]:
        """Each line as text without its newline, as symbols, and its number of unknown characters.

        The symbols include the newline, if the line has one and the vocabulary knows it.
        """
        return (line for line in self._arriving() if line is not None)

    def line_batches(self, size: int) -> Iterator[list[Line]]:
        """The lines in lists of up to ``size``; those of a pipe as soon as they have arrived.

        The lines before an error, or before the SystemExit of a signal, are not lost.
        """
        batch: list[Line] = []
        try:
            for line in self._arriving():
                if line is not None:
                    batch.append(line)
                if batch and (line is None or len(batch) == size):
                    yield batch
                    batch = []
        except (CorpusError, SystemExit):
            if batch:
                yield batch
            raise
        if batch:
            yield batch

    def _arriving(self) -> Iterator[Line | None]:
        """The lines; None before each read from a pipe, which may take long."""
        for path in files_of(self.paths):
            is_pipe = path == "-" or not os.path.isfile(path)
            number = 1
            rest: list[ndarray] = []  # the beginning of a line that has not ended yet
            for codes in self.source.file(path):
                begin = 0
                for end in (np.flatnonzero(codes == 10) + 1).tolist():
                    yield self._line(path, number, np.concatenate([*rest, codes[begin:end]]))
                    number, rest, begin = number + 1, [], end
                rest.append(codes[begin:])
                if is_pipe:
                    yield None
            if any(map(len, rest)):
                yield self._line(path, number, np.concatenate(rest))

    def _line(self, path: str, number: int, codes: ndarray) -> Line:
        known = self.vocabulary
        text = codes[:-1] if len(codes) and codes[-1] == 10 else codes
        symbols = codes if known.knows_newline else text
        try:
            ids = known.encode(symbols, self.skip)
        except CorpusError as error:
            raise CorpusError(f"{display_path(path)}, line {number:,}: {error}") from None
        if known.level == "byte":
            return text.tobytes(), ids, 0
        decoded = text.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        return decoded, ids, known.unknown(symbols)

    @property
    def digest(self) -> str:
        """SHA-256 of the bytes so far."""
        return self.source.digest.digest().hex()

    @property
    def undecodable(self) -> int:
        """How many byte sequences were replaced or skipped so far."""
        return self.source.undecodable

    @property
    def notes(self) -> list[str]:
        """Notes on anything unusual in the text so far."""
        return [*self.source.notes, *undecodable_note(self.undecodable, self.source.errors)]


def read(
    paths: Sequence[str],
    vocabulary: Vocabulary,
    encoding: str,
    skip_unknown: bool = False,
    mark_unknown: bool = False,
    folder: Path | None = None,
    remedy: str = READ_PAST,
    errors: str = "strict",
) -> Text:
    """Read files as a ``TextStream`` into one array.

    With a ``folder``, a large text is mapped from the file that a run has written there, or, if
    there is none, from a temporary file that no other process sees.
    """
    files = files_of(paths)
    sources = cache.fingerprints(files) if folder is not None else []
    key = {"level": vocabulary.level, "encoding": canonical(encoding), "errors": errors}
    for known in cache.find(folder, key, sources) if folder is not None else ():
        found = cache.load(known)
        same = found and np.array_equal(found[1]["codes"], vocabulary.codes)
        if found and same and (found[1]["key"]["min_count"] > 1) == vocabulary.replaces:
            ids, facts = found
            if vocabulary.level == "char":  # notes on characters are for those who train
                facts = {**facts, "notes": []}
            return text_from_facts(display_name(paths), vocabulary, ids, facts)
    stream = TextStream(paths, vocabulary, encoding, skip_unknown, mark_unknown, remedy, errors)
    store = Store(folder, files)
    begins: list[int] = []
    marks = stream.mark and vocabulary.level == "char"  # no byte is unknown
    store.widen(smallest_dtype(len(vocabulary) + marks))
    try:
        for chunk in stream:
            store.append(chunk)
            if len(chunk) == 0:
                begins.append(store.count)
        ids = store.array()
    finally:
        store.discard()
    return Text(stream.name, ids, vocabulary, stream.digest, unknown=stream.unknown,
                begins=begins[:-1], notes=stream.source.notes, undecodable=stream.undecodable)


def digest(paths: Sequence[str]) -> str | None:
    """SHA-256 of the bytes of files, unpacked; None if one of them cannot be read twice."""
    files, found = files_of(paths), hashlib.sha256()
    if "-" in files or not all(map(os.path.isfile, files)):
        return None
    for path in files:
        for data in chunks(path):
            found.update(data)
    return found.hexdigest()
