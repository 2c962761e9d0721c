"""Text on its way to the network: read, encoded, split, cut into lanes, seen in windows."""

from __future__ import annotations

import codecs
import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import CorpusError, UsageError
from charrnn.vocabulary import CODE_POINTS, Vocabulary, code_points, describe, smallest_dtype

Array = NDArray[Any]

CHUNK = 1 << 20  # bytes read at once
# What to do about a text that cannot be decoded, in training and where a model is given.
RENAME = "name the right --encoding, or read any file with --level byte"
CONVERT = "that is what the model reads; convert the text to it"


@dataclass(frozen=True)
class Text:
    """One or more files as one array of symbols."""

    name: str
    ids: Array  # (N,) of the smallest integer type
    vocabulary: Vocabulary
    digest: str  # SHA-256 of the bytes of the files, in the order given
    distinct: int = 0  # symbols that occur
    unknown: int = 0  # characters left out because the vocabulary lacks them

    def __len__(self) -> int:
        return len(self.ids)


def read(paths: Sequence[str], level: str, encoding: str) -> Text:
    """Read files (``-`` is standard input) and collect their vocabulary on the way.

    A file is read once, in chunks, so that pipes work and memory holds little more than
    the ids. Raises UsageError for what cannot be opened, CorpusError for what cannot be
    decoded.
    """
    digest = hashlib.sha256()
    # Ids are given in the order of first appearance and put in order when all are known.
    unseen = np.iinfo(np.uint32).max
    table = np.full(CODE_POINTS, unseen, np.uint32)
    found: list[Array] = []
    size = 0
    dtype = smallest_dtype(0)
    store = bytearray()
    for codes in stream(paths, level, encoding, digest):
        # "clip" is twice as fast as indexing, which looks for indices out of bounds first.
        ids = table.take(codes, mode="clip")
        if ids.max() == unseen:
            new = np.unique(codes[ids == unseen])
            table[new] = np.arange(size, size + len(new))
            found.append(new)
            size += len(new)
            ids = table.take(codes, mode="clip")
            if smallest_dtype(size) != dtype:
                wider = np.frombuffer(store, dtype).astype(smallest_dtype(size))
                dtype, store = smallest_dtype(size), bytearray(wider.tobytes())
        store += ids.astype(dtype).tobytes()
    ids = np.frombuffer(store, dtype)
    first_seen = np.concatenate([np.zeros(0, np.uint32), *found])
    if level == "byte":
        vocabulary = Vocabulary.of_bytes()
    else:
        vocabulary = Vocabulary(np.sort(first_seen), level)
    # The order of appearance turns into the order of code points, a piece at a time.
    ordered = vocabulary.lookup(first_seen).astype(dtype)
    for start in range(0, len(ids), CHUNK):
        ids[start : start + CHUNK] = ordered.take(ids[start : start + CHUNK], mode="clip")
    return Text(name_of(paths), ids, vocabulary, digest.hexdigest(), distinct=size)


def read_known(
    paths: Sequence[str], vocabulary: Vocabulary, encoding: str, skip_unknown: bool = False
) -> Text:
    """Read files with a vocabulary that is given; see ``Vocabulary.encode`` on the unknown."""
    digest = hashlib.sha256()
    total, parts = 0, [np.zeros(0, vocabulary.dtype)]
    for codes in stream(paths, vocabulary.level, encoding, digest, CONVERT):
        total += len(codes)
        try:
            parts.append(vocabulary.encode(codes, skip_unknown))
        except CorpusError as error:
            raise CorpusError(f"{name_of(paths)}: {error}") from None
    ids = np.concatenate(parts)
    return Text(name_of(paths), ids, vocabulary, digest.hexdigest(), unknown=total - len(ids))


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
            return text.tobytes(), ids, len(symbols) - len(ids)
        decoded = text.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
        return decoded, ids, len(symbols) - len(ids)

    for path in paths:
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


def stream(
    paths: Sequence[str], level: str, encoding: str, digest: Any = None, remedy: str = RENAME
) -> Iterator[Array]:
    """The code points (or bytes) of the files, chunk by chunk; feeds ``digest`` on the way.

    Raises CorpusError, with the byte's number and a ``remedy``, for what is not ``encoding``.
    """
    for path in paths:
        offset = 0
        decoder = codecs.getincrementaldecoder(encoding)()
        with opened(path) as file:
            while True:
                data = file.read(CHUNK)
                if digest is not None:
                    digest.update(data)
                if level == "byte":
                    codes = np.frombuffer(data, np.uint8)
                else:
                    try:
                        codes = code_points(decoder.decode(data, final=not data))
                    except UnicodeDecodeError as error:
                        # What failed ends where the data ends; it may begin earlier.
                        at = offset + len(data) - len(error.object) + error.start
                        byte = error.object[error.start]
                        raise CorpusError(
                            f"{shown(path)}: byte {at:,} (0x{byte:02X}) is not {encoding}: "
                            + remedy
                        ) from None
                    except UnicodeError as error:
                        raise CorpusError(
                            f"{shown(path)} is not {encoding} ({error}): {remedy}"
                        ) from None
                offset += len(data)
                if len(codes):
                    yield codes
                if not data:
                    break


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file or, for ``-``, standard input, open for reading bytes."""
    if path == "-":
        if sys.stdin is None:
            raise UsageError("standard input is closed")
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - used below, outside the try
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder: name the text files in it") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    with file:
        yield file


def shown(path: str) -> str:
    return "standard input" if path == "-" else path


def name_of(paths: Sequence[str]) -> str:
    """What to call the texts in a line for people."""
    first = shown(paths[0]) if paths[0] == "-" else Path(paths[0]).name
    return first if len(paths) == 1 else f"{first} and {len(paths) - 1} more"


def oddities(text: Text) -> list[str]:
    """What a user may not expect in a text: its line ends, marks and control characters."""
    if text.vocabulary.level == "byte":
        return []
    ids = {int(code): i for i, code in enumerate(text.vocabulary.codes)}

    def count(code: int) -> int:
        if code not in ids:
            return 0
        # In pieces, so that no second array of the text's length is made.
        pieces = (text.ids[at : at + CHUNK] for at in range(0, len(text), CHUNK))
        return sum(int(np.count_nonzero(piece == ids[code])) for piece in pieces)

    notes = []
    returns, pairs = count(0x0D), 0
    # Lines are counted only where that is a question: the usual text is not read again.
    newlines = count(0x0A) if returns else int(0x0A in ids)
    if returns and newlines:
        for at in range(0, len(text), CHUNK):
            piece = text.ids[at : at + CHUNK + 1]
            pairs += int(np.count_nonzero((piece[:-1] == ids[0x0D]) & (piece[1:] == ids[0x0A])))
    if pairs and pairs == returns == newlines:
        notes.append("CRLF line ends")
    elif returns and not newlines:
        notes.append(f"{returns:,} CR line ends and no LF: most programs see one line")
    elif returns:
        notes.append(
            f"mixed line ends: {newlines - pairs:,} LF, {pairs:,} CRLF, {returns - pairs:,} CR"
        )
    elif not newlines:
        notes.append("no line ends")
    if 0xFEFF in ids:
        where = "a byte order mark" if text.ids[0] == ids[0xFEFF] else "U+FEFF inside"
        notes.append(where)
    if 0xFFFD in ids:
        notes.append(f"{count(0xFFFD):,} replacement characters (U+FFFD): decoded badly before?")
    controls = [c for c in ids if (c < 32 and c not in (9, 10, 13)) or 127 <= c < 160]
    if controls:
        notes.append(f"control characters: {sum(map(count, controls)):,}, "
                     f"such as {describe(controls[0])}")
    return notes


def split(text: Array, val_fraction: float) -> tuple[Array, Array]:
    """The text without its tail, and the tail that is held out.

    Two characters are the least that can be validated on; with fewer none are held out.
    """
    train = int(len(text) * (1 - val_fraction) + 1e-6)  # 1 - 0.9 is a little less than 0.1
    if len(text) - train < 2:
        train = len(text)
    return text[:train], text[train:]


class Lanes:
    """A text cut into B contiguous lanes that are read side by side, in windows of T.

    Lane b holds the n characters from start + b*n on; each has its true successor in the
    text as target, across the ends of windows and lanes too. Every epoch may ``start`` at
    another of the first characters, 0 to ``slack``, so that its windows cut the text at other
    places. Window and batch shrink to fit short texts: of the M = N-1-slack characters that
    every epoch has, T = min(seq_length, M), B = min(batch_size, M // T), n = M // B.
    """

    def __init__(self, text: Array, seq_length: int, batch_size: int) -> None:
        pairs = len(text) - 1
        if pairs < 1:
            raise CorpusError(
                f"there are {len(text)} characters to train on; at least 2 are needed"
            )
        self.text = text
        # Every cut within a window is possible, but a short text is not left unread for it.
        self.slack = min(seq_length - 1, pairs // 20)
        pairs -= self.slack
        self.T = min(seq_length, pairs)
        self.B = min(batch_size, pairs // self.T)
        self.length = pairs // self.B  # n
        self.left_over = len(text) - 1 - self.B * self.length  # that an epoch leaves out
        self.windows = -(-self.length // self.T)  # of an epoch; the last may be shorter

    def window(
        self, index: int, start: int = 0, lanes: slice = slice(None)
    ) -> tuple[Array, Array]:
        """Inputs and targets of one window of an epoch, each (T, B), time-major.

        Or those of some of the ``lanes``; of the others nothing is read.
        """
        assert 0 <= start <= self.slack, (start, self.slack)
        stop = start + self.B * self.length
        span = slice(index * self.T, (index + 1) * self.T)
        inputs = self.text[start:stop].reshape(self.B, self.length)[lanes, span]
        targets = self.text[start + 1 : stop + 1].reshape(self.B, self.length)[lanes, span]
        return np.ascontiguousarray(inputs.T), np.ascontiguousarray(targets.T)
