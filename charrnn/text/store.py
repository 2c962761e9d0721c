"""The symbols of a text as they are read: in memory, or in a file if the text is large.

``cache`` describes the contents of such a file and finds it again. While it is written, it has a
temporary name, so that no process sees an incomplete file. If a run is killed, the next one
removes its temporary file.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy import ndarray

from charrnn.errors import CharrnnError
from charrnn.system import lock
from charrnn.system.files import open_regular, permissions
from charrnn.text import cache
from charrnn.text.cache import FOOTER, MAGIC, MAX_FACTS, file_name
from charrnn.text.files import Digest


class Store:
    """The symbols read so far: in memory, or, above LIMIT and with a ``folder``, in a file.

    They are appended, then translated once; then the file is finished and mapped. Raises
    CharrnnError if nothing can be written in the folder. Only users who may read the ``files`` of
    the text may read the file.
    """

    def __init__(self, folder: Path | None, files: Sequence[str] = ()) -> None:
        self.folder, self._files = folder, files
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self.count = 0
        self._memory = bytearray()
        self._file: BinaryIO | None = None
        self._digest: Digest | None = None  # of the translated symbols in the file
        self._kept: Path | None = None  # the final name of the file, once it has one

    @property
    def in_file(self) -> bool:
        """Whether the symbols are in a file."""
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
        if self.folder is not None and len(self._memory) > cache.LIMIT:
            self._file = self._open(self.folder)
            self._write(self._file, self._memory)
            self._memory = bytearray()

    def widen(self, dtype: Any) -> None:
        """Accept symbols of ``dtype`` from now on, and convert those already stored."""
        if self.dtype == dtype:
            return
        before = copy.copy(self)
        self.dtype, self.count, self._memory = np.dtype(dtype), 0, bytearray()
        self._digest = None
        if self.folder is not None and self._file is not None:
            self._file = self._open(self.folder)
        try:
            for chunk in before.chunks():
                self.append(chunk)
        finally:
            if before._file is not None:
                _remove(before._file)

    def chunks(self) -> Iterator[ndarray]:
        """All symbols, in arrays of up to cache.CHUNK of them."""
        if self._file is None:
            ids = self.array()
            yield from (ids[at : at + cache.CHUNK] for at in range(0, len(ids), cache.CHUNK))
            return
        file, dtype = self._file, self.dtype
        file.seek(0)
        for at in range(0, self.count, cache.CHUNK):
            count = min(cache.CHUNK, self.count - at)
            yield np.frombuffer(file.read(count * dtype.itemsize), dtype)

    def translate(self, to: ndarray, dtype: Any) -> None:
        """Replace each symbol i by ``to[i]``, of a ``dtype`` that is no wider, in place."""
        same = self.dtype == dtype and np.array_equal(to, np.arange(len(to)))
        if same and self._digest is not None:  # all of it has been translated before
            return
        table, written = to.astype(dtype), 0
        self._digest = Digest() if self._file else None
        for chunk in self.chunks():
            # "clip" is twice as fast as indexing, which looks for indices out of bounds first.
            new = table.take(chunk, mode="clip")
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
        """All symbols: in memory, or mapped from the file.

        A file that was not finished has no name from now on: ``filename`` is None.
        """
        if self._file is None:
            return np.frombuffer(self._memory, self.dtype)[: self.count]
        ids = np.memmap(self._file, self.dtype, "r", shape=(self.count,))
        ids.filename = os.path.abspath(self._kept) if self._kept else None
        _remove(self._file)
        return ids

    def finish(self, facts: dict[str, Any]) -> Path | None:
        """Write the facts and the footer after the translated symbols, and give the file its name.

        None if there is no file, or if it cannot get the name: in a folder with the sticky bit, a
        file of another user with that name cannot be replaced.
        """
        if self._file is None:
            return None
        assert self.folder is not None and self._digest is not None
        size = self.count * self.dtype.itemsize
        text = json.dumps({**facts, "dtype": self.dtype.str}).encode()
        if len(text) > MAX_FACTS:
            return None
        end = FOOTER.pack(MAGIC, len(text), self._digest.digest(), hashlib.sha256(text).digest())
        path = self.folder / file_name(facts["key"])
        try:
            self._file.truncate(size)
            self._file.seek(size)
            self._file.write(text + end)
            self._file.flush()
        except OSError as error:
            raise _unwritable(path, error) from None
        with suppress(OSError):
            os.replace(self._file.name, path)
            self._kept = path
        return self._kept

    def discard(self) -> None:
        """Remove the file, if there is one without its final name."""
        if self._file is not None:
            _remove(self._file)

    def _open(self, folder: Path) -> BinaryIO:
        path = folder / f".{os.getpid()}-{time.monotonic_ns()}.ids.tmp"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            mode = permissions(self._files, folder)
            file = open(path, "x+b",  # noqa: SIM115 - closed when it is mapped or discarded
                        opener=lambda name, flags: os.open(name, flags, mode))
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
    """Remove the temporary files of killed processes: those that no process has locked."""
    for path in folder.glob(".*.ids.tmp"):
        with suppress(OSError), open_regular(path, write=True) as file:
            new = os.fstat(file.fileno()).st_mtime > time.time() - 60  # it may not be locked yet
            if not new and lock.acquire(file):
                path.unlink()


def _unwritable(path: Path, error: OSError) -> CharrnnError:
    return CharrnnError(
        f"{path.parent}: the text is larger than {cache.LIMIT >> 20} MB, and its encoded form "
        f"cannot be written there: {error.strerror or error}; name another folder with --cache"
    )
