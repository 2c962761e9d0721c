"""Large texts, encoded once: files of small integers that are mapped into memory, not read.

A text of less than LIMIT is kept in memory and never touches the disk. The symbols of a larger
one go to a file, and from there to the network as windows need them; how much of it is in
memory at a time is the operating system's business.

A file holds the symbols, then what is known of the text as JSON, then a seal of fixed length.
Its name says which text it is and how that was encoded, so that the next run finds it. It is
written under another name and renamed when it is whole: two processes may make the same file
at once, and nobody ever sees a part of one. Whoever finds one reads it through once and
compares its digest; one that is damaged is made again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy import ndarray

from charrnn.errors import CharrnnError
from charrnn.system import lock
from charrnn.text.files import Digest, is_compressed

LIMIT = 1 << 27  # bytes of symbols that are kept in memory
PIECE = 1 << 20  # symbols that are looked at together
SEAL = struct.Struct("<8sQ32s32s")  # MAGIC, length of the JSON, SHA-256 of symbols and of JSON
MAGIC = b"charrnn\x01"
SETTLED = 2.0  # seconds after which a change of a file changes its times, too
DTYPES = ("|u1", "<u2", "<u4")


class Store:
    """Symbols on their way: in memory, or, where there is a ``folder``, from LIMIT on in a file.

    They are appended, then translated once, then read or sealed. Raises CharrnnError where the
    folder cannot be written.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self.count = 0
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._digest: Digest | None = None  # of the translated symbols in the file

    @property
    def in_file(self) -> bool:
        """Whether the symbols have left memory."""
        return self._file is not None

    def append(self, ids: ndarray) -> None:
        """Add symbols at the end."""
        self.count += len(ids)
        data = ids.astype(self.dtype, copy=False).data
        if self._file is not None:
            self._write(self._file, data)
            if self._digest is not None:
                self._digest.update(data)
            return
        self._memory += data
        if self.folder is not None and len(self._memory) > LIMIT:
            self._file = self._open(self.folder)
            self._write(self._file, self._memory)
            self._memory = bytearray()

    def widen(self, dtype: Any) -> None:
        """Take symbols of ``dtype`` from now on, and turn those that are there into such."""
        if self.dtype == dtype:
            return
        before = copy.copy(self)
        self.dtype, self.count, self._memory = np.dtype(dtype), 0, bytearray()
        self._digest = None
        if self.folder is not None and self._file is not None:
            self._file = self._open(self.folder)
        try:
            for piece in before.pieces():
                self.append(piece)
        finally:
            if before._file is not None:
                _remove(before._file)

    def pieces(self) -> Iterator[ndarray]:
        """All symbols, in arrays of up to PIECE of them."""
        if self._file is None:
            ids = self.array()
            yield from (ids[at : at + PIECE] for at in range(0, len(ids), PIECE))
            return
        file, dtype = self._file, self.dtype
        file.seek(0)
        for at in range(0, self.count, PIECE):
            yield np.frombuffer(file.read(min(PIECE, self.count - at) * dtype.itemsize), dtype)

    def translate(self, to: ndarray, dtype: Any) -> None:
        """Replace each symbol i by ``to[i]``, of a ``dtype`` that is no wider, in place."""
        same = self.dtype == dtype and np.array_equal(to, np.arange(len(to)))
        if same and self._digest is not None:  # it was done before, and nothing new has come
            return
        table, written = to.astype(dtype), 0
        self._digest = Digest() if self._file else None
        for piece in self.pieces():
            # "clip" is twice as fast as indexing, which looks for indices out of bounds first.
            new = table.take(piece, mode="clip")
            if self._file is None or self._digest is None:
                self._memory[written : written + new.nbytes] = new.data
            else:
                self._digest.update(new.data)
                read = self._file.tell()
                self._file.seek(written)
                self._write(self._file, new.data)
                self._file.seek(read)
            written += new.nbytes
        self.dtype = np.dtype(dtype)

    def array(self) -> ndarray:
        """All symbols: in memory, or mapped from a file that nobody else finds any more."""
        if self._file is None:
            return np.frombuffer(self._memory, self.dtype)[: self.count]
        ids = np.memmap(self._file, self.dtype, "r", shape=(self.count,))
        _remove(self._file)
        return ids

    def seal(self, facts: dict[str, Any]) -> Path | None:
        """Give the file of the translated symbols its end and its name.

        None where there is no file.
        """
        if self._file is None:
            return None
        assert self.folder is not None and self._digest is not None
        size = self.count * self.dtype.itemsize
        text = json.dumps({**facts, "dtype": self.dtype.str}).encode()
        end = SEAL.pack(MAGIC, len(text), self._digest.digest(), hashlib.sha256(text).digest())
        path = self.folder / file_name(facts["key"])
        try:
            self._file.truncate(size)
            self._file.seek(size)
            self._file.write(text + end)
            self._file.close()
            os.replace(self._file.name, path)
        except OSError as error:
            raise _unwritable(path, error) from None
        return path

    def discard(self) -> None:
        """Leave no file behind, where one was begun and not sealed."""
        if self._file is not None:
            _remove(self._file)

    def _open(self, folder: Path) -> BinaryIO:
        path = folder / f".{os.getpid()}-{time.monotonic_ns()}.ids.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            file = open(path, "w+b")  # noqa: SIM115 - closed when it is sealed or discarded
            lock.acquire(file)
            return file
        except OSError as error:
            raise _unwritable(path, error) from None

    def _write(self, file: BinaryIO, data: Any) -> None:
        try:
            file.write(data)
            file.flush()
        except OSError as error:
            raise _unwritable(Path(file.name), error) from None


def _remove(file: BinaryIO) -> None:
    with suppress(OSError):
        file.close()
    with suppress(OSError):
        os.unlink(file.name)


def _sweep(folder: Path) -> None:
    """Remove what processes left behind that were killed: what nobody holds the lock of."""
    for path in folder.glob(".*.ids.tmp"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - 60:  # a new one may not be locked yet
                with open(path, "r+b") as file:
                    if lock.acquire(file):
                        path.unlink()


def _unwritable(path: Path, error: OSError) -> CharrnnError:
    return CharrnnError(
        f"{path.parent}: the text is larger than {LIMIT >> 20} MB, and its encoded form cannot "
        f"be written there: {error.strerror or error}; name another folder with --cache"
    )


def file_name(key: dict[str, Any]) -> str:
    """The name of the file for a text, the same wherever that is read in the same way."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20] + ".ids"


def load(path: Path, verify: bool = True) -> tuple[ndarray, dict[str, Any]] | None:
    """The symbols of a file, read-only, and the facts; None where it is not whole.

    Without ``verify`` the symbols are not looked at, since another process just did.
    """
    found, largest = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            facts, size, digest = _facts(file, os.fstat(file.fileno()).st_size)
            dtype = np.dtype(facts["dtype"])
            file.seek(0)
            for start in range(0, size if verify else 0, PIECE):
                data = file.read(min(PIECE, size - start))
                found.update(data)
                largest = max(largest, int(np.frombuffer(data, dtype).max()))
            if verify and (found.digest() != digest or largest >= len(facts["codes"])):
                return None
            return np.memmap(file, dtype, "r", shape=(size // dtype.itemsize,)), facts
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _facts(file: BinaryIO, size: int) -> tuple[dict[str, Any], int, bytes]:
    """What a file says of itself, the bytes of its symbols and their digest; or ValueError."""
    file.seek(max(0, size - SEAL.size))
    end = file.read()
    if len(end) != SEAL.size:
        raise ValueError("it is too short")
    magic, length, digest, expected = SEAL.unpack(end)
    if magic != MAGIC or length > size - SEAL.size:
        raise ValueError("it is no such file")
    file.seek(size - SEAL.size - length)
    text = file.read(length)
    if hashlib.sha256(text).digest() != expected:
        raise ValueError("its facts are damaged")
    facts: dict[str, Any] = json.loads(text)
    if facts["dtype"] not in DTYPES:
        raise ValueError("its symbols are of no type that is used")
    return facts, size - SEAL.size - length, digest


def find(folder: Path, key: dict[str, Any], sources: list[list[int]]) -> Iterator[Path]:
    """The files in ``folder`` that hold just these ``sources``, unchanged, encoded as ``key`` says.

    What ``key`` does not mention, such as the digest of the text, may be anything.
    """
    for path in sorted(folder.glob("*.ids")):
        with suppress(OSError, ValueError, KeyError, TypeError), open(path, "rb") as file:
            facts, *_ = _facts(file, os.fstat(file.fileno()).st_size)
            known = {name: facts["key"][name] for name in key}
            if known == key and sources and facts["sources"] == sources:
                yield path


def fingerprints(files: Iterable[str]) -> list[list[int]]:
    """What changes with a file and how it is read: size, times, place, whether it is unpacked.

    Empty where one has none of that, or was changed a moment ago: it could change again and
    look the same.
    """
    found = []
    for path in files:
        try:
            about = os.stat(path)
        except OSError:
            return []
        if path == "-":  # standard input, whatever else has that name
            return []
        newest = max(about.st_mtime, about.st_ctime)
        if not stat.S_ISREG(about.st_mode) or not newest < time.time() - SETTLED:
            return []
        found.append([about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_dev,
                      about.st_ino, int(is_compressed(path))])
    return found
