"""Text files: which ones are read, and their bytes, unpacked if they are compressed."""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.errors import CorpusError, UsageError
from charrnn.system.files import open_regular
from charrnn.text.display import display_list, display_path
from charrnn.text.kinds import HEAD, kind_of

if TYPE_CHECKING:
    from concurrent.futures import Future

CHUNK = 1 << 20  # bytes read at once
OWN = (".npz", ".ids")  # checkpoints and encoded texts, which may be in a folder of texts
COMPRESSED = {".gz": 1, ".xz": 4, ".bz2": 0}  # zero bytes, or a multiple, that may follow a stream
MAGIC = {".gz": b"\x1f\x8b", ".xz": b"\xfd7zXZ\0", ".bz2": b"BZh"}  # how these files begin
INPUT = 1 << 14  # compressed bytes read at once; those after the end of a stream are copied
# How charrnn's own output begins, which may be in a folder of texts: the page of report, the JSON
# of train, sample, eval and info, and the log of train, perhaps after some lines of nohup, date or
# mpiexec.
PAGE = (b"<!doctype html>", b"<title>charrnn report</title>")
JSON = re.compile(rb'{"event": "start", "step": |{"number": 1, "seed": \d+, "checkpoint": "|'
                  rb'{"text": "[^\n]*", ("split": "\w+", "dynamic": \w+, )?"chars": \d+, '
                  rb'"unknown_chars": \d+, |'
                  rb'{"file": "[^\n]*", "bytes": \d+, "digest": "[0-9a-f]{64}", "format_version"')
LOG = re.compile(rb"([^\n]+\n){0,3}?\S[^\n]*: [0-9,]+ (characters|bytes)\b[^\n]*\n"
                 rb"([^\n]*\n){0,3}?model: [0-9,]+ parameters\b")
LOOKED_AT = 2000  # bytes at the beginning of a file that suffice to recognize these


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
    """The files to read, in order.

    Files keep the order in which they are named. A folder is replaced by its files, sorted by
    name, then those of its folders, sorted likewise. Skipped are links to folders, special files,
    names that begin with a dot, empty files, and charrnn's own output: files with the endings OWN,
    those that standard output and standard error go to, and report pages, logs and JSON; the last
    three are added to ``left_out``. Raises UsageError for a folder that has no files, or that
    cannot be read.
    """
    def unreadable(error: OSError) -> None:
        raise UsageError(f"{display_path(error.filename)}: cannot be read: {error.strerror}")

    files, logs = [], _redirected()
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
                about = os.stat(file) if os.path.exists(file) else None  # or a dead link
                if about and (not stat.S_ISREG(about.st_mode) or _identity(about) in logs
                              or not (about.st_size or is_compressed(file))):
                    continue
                if is_output(file):
                    if left_out is not None:
                        left_out.append(file)
                    continue
                files.append(file)
        if len(files) == before:
            raise UsageError(f"{display_path(path)} is a folder without files to read")
    return files


def _redirected() -> set[tuple[int, int]]:
    """The files that standard output and standard error go to; they may still be empty."""
    found = set()
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed
            found.add(_identity(os.fstat(descriptor)))
    return found


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _head(path: str) -> bytes:
    """The beginning of a regular file; empty for others, since a pipe cannot be read twice."""
    with suppress(OSError):  # reported when the file is read
        if os.path.isfile(path):  # opening and closing a FIFO would end the program that writes
            with open_regular(Path(path), follow=True) as file:
                return file.read(LOOKED_AT)
    return b""


def is_output(path: str) -> bool:
    """Whether a file is a report page, a log or JSON that charrnn wrote, judging by its beginning.

    A text that only mentions charrnn, or quotes a log further down, is neither.
    """
    head = _head(path)
    page = head.startswith(PAGE[0]) and PAGE[1] in head[:1000]
    return page or JSON.match(head) is not None or LOG.match(head) is not None


def left_out_notes(paths: Iterable[str]) -> list[str]:
    """Notes on charrnn's own output: skipped in a folder, or read because ``paths`` names it."""
    left_out: list[str] = []
    files_of(paths, left_out)
    named = [path for path in paths if path != "-" and is_output(path)]
    return [
        *[f"not read, because written by charrnn: {display_list(left_out)}"] * bool(left_out),
        *[f"read as text, but probably written by charrnn: {display_list(named)}"] * bool(named),
    ]


def chunks(path: str) -> Iterator[bytes]:
    """The bytes of a file as they arrive, unpacked; the last chunk is empty."""
    with opened(path) as file:
        parts = unpacked(file, ending(path)) if is_compressed(path) else raw(file)
        while True:
            try:
                data = next(parts, b"")
            except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
                what = "unpacked" if is_compressed(path) else "read"
                why = (is_compressed(path) and _another_kind(path)) or error
                raise CorpusError(f"{display_path(path)} cannot be {what}: {why}") from None
            yield data
            if not data:
                break


def _another_kind(path: str) -> str | None:
    """What a file that cannot be unpacked really is; None if it begins as its ending promises."""
    head = _head(path)
    if not head or head.startswith(MAGIC[ending(path)]):
        return None
    kind = kind_of(head[:HEAD])
    if kind is None and any(byte < 9 for byte in head):
        return f"it does not begin like a {ending(path)} file"
    what = kind.name if kind else "plain text"
    return f"it is {what}, despite its ending {ending(path)}: rename it"


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
