"""Text files: which ones are read, and their bytes, unpacked if they are compressed."""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import CorpusError, UsageError
from charrnn.system.files import open_regular
from charrnn.text.display import display_list, display_path

if TYPE_CHECKING:
    from concurrent.futures import Future

CHUNK = 1 << 20  # bytes read at once
OWN = (".npz", ".ids")  # checkpoints and encoded texts, which may lie in a folder of texts
COMPRESSED = {".gz": 1, ".xz": 4, ".bz2": 0}  # zero bytes, or a multiple, that may follow a stream
INPUT = 1 << 14  # compressed bytes read at once; those after the end of a stream are copied
# The beginnings of files that charrnn itself may have written to a folder of texts: the page of
# report, the events of train --json, and the messages of train.
PAGE = (b"<!doctype html>", b"<title>charrnn report</title>")
EVENTS = b'{"event": "start", "step": '
LOG = re.compile(rb"[^\n]*: [0-9,]+ (characters|bytes)\b[^\n]*\n([^\n]*\n){0,3}?"
                 rb"model: [0-9,]+ parameters\b")
LOOKED_AT = 2000  # bytes at the beginning of a file in a folder


class Gunzip:
    """A gzip stream, unpacked by zlib, with the interface of the decompressors of bz2 and lzma."""

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
    """SHA-256 of what is read, computed in another thread while reading continues."""

    def __init__(self) -> None:
        from concurrent.futures import ThreadPoolExecutor  # takes 4 ms; needed only to read

        self._hash, self._pool = hashlib.sha256(), ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def update(self, data: Any) -> None:
        """Add ``data``, which must not change any more; at most one chunk is waiting."""
        self.wait()
        self._last = self._pool.submit(self._hash.update, data)

    def wait(self) -> None:
        """Wait until everything is hashed."""
        if self._last is not None:
            self._last.result()

    def digest(self) -> bytes:
        """The digest of everything so far."""
        self.wait()
        return self._hash.digest()


def files_of(paths: Iterable[str], left_out: list[str] | None = None) -> list[str]:
    """The files to read, in reading order.
    Files keep the given order. A folder is replaced by its files, sorted by name, followed by
    those of its subfolders, also sorted. Links to folders, names that begin with a dot, and
    anything that is not a file are left out. So are files that charrnn itself writes: those with
    the endings OWN, and its report pages and logs, which are added to ``left_out``. Raises
    UsageError for a folder that cannot be read or has no files.
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
            for name in sorted(names):
                file = os.path.join(folder, name)
                if name.startswith(".") or Path(name).suffix in OWN:
                    continue
                if os.path.exists(file) and not os.path.isfile(file):
                    continue
                if is_output(file):
                    if left_out is not None:
                        left_out.append(file)
                    continue
                files.append(file)
        if len(files) == before:
            raise UsageError(f"{display_path(path)} is a folder without files to read")
    return files


def is_output(path: str) -> bool:
    """Whether a file is a report page or a log that charrnn wrote, judging by its beginning.

    A text that only mentions charrnn, or quotes a log further down, is neither.
    """
    try:
        with open_regular(Path(path), follow=True) as file:
            head = file.read(LOOKED_AT)
    except OSError:  # reported where the file is read
        return False
    page = head.startswith(PAGE[0]) and PAGE[1] in head[:1000]
    return page or head.startswith(EVENTS) or LOG.match(head) is not None


def left_out_notes(paths: Iterable[str]) -> list[str]:
    """The note on files that are in folders of ``paths`` but are not read; empty without any."""
    left_out: list[str] = []
    files_of(paths, left_out)
    return [f"not read, since charrnn wrote them: {display_list(left_out)}"] * bool(left_out)


def chunks(path: str) -> Iterator[bytes]:
    """The bytes of a file as they come, unpacked; the last chunk is empty."""
    with opened(path) as file:
        parts = unpacked(file, ending(path)) if is_compressed(path) else raw(file)
        while True:
            try:
                data = next(parts, b"")
            except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
                what = "unpacked" if is_compressed(path) else "read"
                raise CorpusError(f"{display_path(path)} cannot be {what}: {error}") from None
            yield data
            if not data:
                break


def raw(file: Any) -> Iterator[bytes]:
    """The bytes of a file; from a pipe whatever has arrived, without waiting for more."""
    while data := file.read1(CHUNK):
        yield data


def unpacked(file: Any, ending: str) -> Iterator[bytes]:
    """The contents of a compressed file, in chunks of CHUNK bytes; the last may be shorter.

    The file is one stream or several, with nothing but zero bytes between and after them, as
    COMPRESSED allows. Either all of it is read, or EOFError or the error of the stream is raised;
    Python's own readers treat damage after the first stream as the end of the file.
    """
    found, padding = bytearray(), COMPRESSED[ending]
    data = file.read1(INPUT)
    while True:
        stream = unpacker(ending)
        while not stream.eof:
            hungry = stream.needs_input
            if hungry and not data:
                data = file.read1(INPUT)
            part = stream.decompress(data, CHUNK - len(found))
            if hungry and not (data or part or stream.eof):
                raise EOFError("it is incomplete")
            data = b""
            found += part
            if len(found) == CHUNK:
                yield bytes(found)
                found.clear()
        data, zeros = stream.unused_data or file.read1(INPUT), 0
        while padding and data.startswith(b"\0"):
            rest = data.lstrip(b"\0")
            zeros += len(data) - len(rest)
            data = rest or file.read1(INPUT)
        if padding and zeros % padding:
            raise EOFError(f"it has {zeros:,} zero bytes after a stream")
        if not data:
            break
    if found:
        yield bytes(found)


def unpacker(ending: str) -> Any:
    """The decompressor of one stream of a file with this ending."""
    if ending == ".gz":
        return Gunzip()
    if ending == ".xz":
        return lzma.LZMADecompressor()
    import bz2  # some builds of Python lack it

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
    """Whether a file is unpacked when it is read, which depends on its name."""
    return path != "-" and ending(path) in COMPRESSED


def ending(path: str) -> str:
    """The last suffix of a file's name, in lower case."""
    return Path(path).suffix.lower()
