"""Files of text: which ones are meant, unpacked where they are compressed, decoded in chunks."""

from __future__ import annotations

import codecs
import hashlib
import lzma
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy import ndarray

from charrnn.errors import CorpusError, UsageError
from charrnn.text.display import display_path
from charrnn.text.vocabulary import code_points

if TYPE_CHECKING:
    from concurrent.futures import Future

CHUNK = 1 << 20  # bytes read at once
OWN = (".npz", ".ids")  # checkpoints and encoded texts, which may lie in a folder of texts
COMPRESSED = {".gz": 1, ".xz": 4, ".bz2": 0}  # zero bytes, or a multiple, that may follow a stream
INPUT = 1 << 14  # compressed bytes read at once: what follows a short stream in them is copied
# What to do about a text that cannot be decoded, in training and where a model is given.
RENAME = "name the right --encoding, or read any file with --level byte"
RENAME_ONLY = "name the right --encoding"


class Gunzip:
    """A gzip stream, unpacked by zlib, with the interface of the unpackers of bz2 and lzma."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(31)  # with gzip's header and checksum

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


class Digest:
    """SHA-256 of what is read, computed meanwhile: hashing lets other threads run."""

    def __init__(self) -> None:
        from concurrent.futures import ThreadPoolExecutor  # 4 ms, where nothing is read

        self._hash, self._pool = hashlib.sha256(), ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def update(self, data: Any) -> None:
        """Take ``data``, which must not change any more; one piece at most is waiting."""
        self.wait()
        self._last = self._pool.submit(self._hash.update, data)

    def wait(self) -> None:
        """See everything taken."""
        if self._last is not None:
            self._last.result()

    def digest(self) -> bytes:
        """The digest of everything so far."""
        self.wait()
        return self._hash.digest()


def files_of(paths: Iterable[str]) -> list[str]:
    """The files that are meant, in the order in which they are read.

    They come as they are named. In the place of a folder come the files in it, by name, and
    after them those of its folders, by name again. Left out are links to folders, what is no
    file, what begins with a dot, and what charrnn itself writes there (OWN). Raises UsageError
    for a folder that has none, or that cannot be read.
    """
    def unreadable(error: OSError) -> None:
        raise UsageError(f"{display_path(error.filename)}: cannot be read: {error.strerror}")

    files: list[str] = []
    for path in paths:
        if path == "-" or not os.path.isdir(path):
            files.append(path)
            continue
        before = len(files)
        for folder, folders, names in os.walk(path, onerror=unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = (os.path.join(folder, name) for name in sorted(names)
                      if not name.startswith(".") and Path(name).suffix not in OWN)
            files += [name for name in inside if os.path.isfile(name) or not os.path.exists(name)]
        if len(files) == before:
            raise UsageError(f"{display_path(path)} is a folder without files")
    return files


def read_codes(
    paths: Sequence[str], level: str, encoding: str, digest: Any = None, remedy: str = RENAME
) -> Iterator[ndarray]:
    """The code points (or bytes) of the files, chunk by chunk; feeds ``digest`` on the way.

    Each file ends with an empty chunk. Raises CorpusError, with the byte's number and a
    ``remedy``, for what is not ``encoding``.
    """
    for path in files_of(paths):
        offset = 0
        decoder = codecs.getincrementaldecoder(encoding)()
        for data in chunks(path):
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
                        f"{display_path(path)}: byte {at:,} (0x{byte:02X}) is not {encoding}: "
                        f"{remedy}"
                    ) from None
                except UnicodeError as error:
                    raise CorpusError(
                        f"{display_path(path)} is not {encoding} ({error}): {remedy}"
                    ) from None
            offset += len(data)
            if len(codes):
                yield codes
        yield codes[:0]


def chunks(path: str) -> Iterator[bytes]:
    """The bytes of a file as they come, unpacked; the last chunk is empty."""
    with opened(path) as file:
        pieces = unpacked(file, ending(path)) if is_compressed(path) else raw(file)
        while True:
            try:
                data = next(pieces, b"")
            except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
                what = "unpacked" if is_compressed(path) else "read"
                raise CorpusError(f"{display_path(path)} cannot be {what}: {error}") from None
            yield data
            if not data:
                break


def raw(file: Any) -> Iterator[bytes]:
    """The bytes of a file; from a pipe, what there is, without waiting for more."""
    while data := file.read1(CHUNK):
        yield data


def unpacked(file: Any, ending: str) -> Iterator[bytes]:
    """What is in a compressed file, in pieces of CHUNK bytes and a last one.

    It is one stream or several, with nothing but zero bytes between and after them, as COMPRESSED
    has it. All of it is read, or EOFError or the error of the stream is raised; Python's own
    readers take what is damaged after the first stream for the end.
    """
    found, padding = bytearray(), COMPRESSED[ending]
    data = file.read1(INPUT)
    while True:
        stream = unpacker(ending)
        while not stream.eof:
            hungry = stream.needs_input
            if hungry and not data:
                data = file.read1(INPUT)
            piece = stream.decompress(data, CHUNK - len(found))
            if hungry and not (data or piece or stream.eof):
                raise EOFError("it is incomplete")
            data = b""
            found += piece
            if len(found) == CHUNK:
                yield bytes(found)
                found.clear()
        data, zeros = stream.unused_data or file.read1(INPUT), 0
        while padding and data.startswith(b"\0"):
            rest = data.lstrip(b"\0")
            zeros += len(data) - len(rest)
            data = rest or file.read1(INPUT)
        if padding and zeros % padding:
            raise EOFError(f"{zeros:,} zero bytes follow a stream")
        if not data:
            break
    if found:
        yield bytes(found)


def unpacker(ending: str) -> Any:
    """What unpacks one stream of a file with this ending."""
    if ending == ".gz":
        return Gunzip()
    if ending == ".xz":
        return lzma.LZMADecompressor()
    import bz2  # not every Python has it

    return bz2.BZ2Decompressor()


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """A file or, for ``-``, standard input, open for reading bytes."""
    if path == "-":
        if sys.stdin is None:
            raise UsageError("standard input is closed")
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - used below, outside the try
    except FileNotFoundError:
        raise UsageError(f"{display_path(path)}: no such file") from None
    except OSError as error:
        raise UsageError(f"{display_path(path)}: cannot be read: {error.strerror}") from None
    with file:
        yield file


def is_compressed(path: str) -> bool:
    """Whether a file is one of those that are unpacked, by the end of its name."""
    return path != "-" and ending(path) in COMPRESSED


def ending(path: str) -> str:
    """The last suffix of a file's name, whether in capitals or not."""
    return Path(path).suffix.lower()
