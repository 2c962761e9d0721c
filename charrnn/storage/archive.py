"""Named arrays in one ``.npz`` file: with a SHA-256 digest, written atomically, read strictly.

Members are stored uncompressed, in a given order. The archive ends with a comment, which is the
SHA-256 of all bytes before it. ``numpy.load(path)`` reads the file like any other ``.npz``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy import ndarray

from charrnn.errors import CharrnnError, CheckpointError, UsageError
from charrnn.system.files import NotRegularError, open_regular, replacing

DIGITS = 64  # hexadecimal digits of the SHA-256 that ends the file
END_RECORD = struct.Struct("<4s4H2LH")  # the end of a zip archive, before its comment
END_RECORD64 = struct.Struct("<4sQ2H2L4Q")  # in a large archive, this precedes it,
LOCATOR64 = struct.Struct("<4sLQL")  # followed by the position of that longer record
MAX_MEMBERS = 400
MAX_DIRECTORY = 1 << 16  # bytes of the list of members


def write(path: Path, members: Mapping[str, ndarray]) -> None:
    """Replace ``path`` by an archive of ``members``, as ``replacing`` does and with its errors."""
    with replacing(path, "the checkpoint") as file:
        _write_members(file, members)


def _write_members(file: BinaryIO, members: Mapping[str, ndarray]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            # A fixed date, so that the same run writes the same bytes.
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(info, "w", force_zip64=array.nbytes > 2**30) as member:
                member.write(_npy_header(array.dtype, array.shape))
                member.write(np.ascontiguousarray(array).data)
        archive.comment = b"0" * DIGITS
    digest = _digest(file, file.seek(0, io.SEEK_END) - DIGITS)
    file.seek(-DIGITS, io.SEEK_END)
    file.write(digest)


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The header of a C-ordered ``.npy`` member of version 1.0.

    It is written here and not by NumPy because the reader compares it byte for byte.
    """
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    padding = -(10 + len(text) + 1) % 64  # magic, version, length, text and newline
    header = (text + " " * padding + "\n").encode("ascii")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def _digest(file: BinaryIO, length: int) -> bytes:
    """The SHA-256 of the first ``length`` bytes, in hexadecimal."""
    file.seek(0)
    digest = hashlib.sha256()
    while length > 0 and (data := file.read(min(length, 1 << 20))):
        digest.update(data)
        length -= len(data)
    return digest.hexdigest().encode()


def _check_directory(file: BinaryIO, end: int) -> None:
    """Raise ValueError for too many members, before zipfile makes an object of each.

    ``end`` is the position of the end record. In an archive of more than 2 GB, or one that claims
    to be, a second record precedes it, and zipfile trusts the numbers of that one.
    """
    file.seek(end)
    signature, *facts, comment = END_RECORD.unpack(file.read(END_RECORD.size))
    if (signature, comment) != (b"PK\x05\x06", DIGITS):
        raise ValueError("its end record is not that of a checkpoint")
    records = [facts]
    at = end - LOCATOR64.size - END_RECORD64.size
    if at >= 0:
        file.seek(at)
        signature, size, _, _, *facts = END_RECORD64.unpack(file.read(END_RECORD64.size))
        locator, _, place, _ = LOCATOR64.unpack(file.read(LOCATOR64.size))
        if locator == b"PK\x06\x07":
            if (signature, size, place) != (b"PK\x06\x06", END_RECORD64.size - 12, at):
                raise ValueError("its end record is not that of a checkpoint")
            records.append(facts)
    for _, _, here, members, directory, _ in records:
        if max(here, members) > MAX_MEMBERS or directory > MAX_DIRECTORY:
            raise ValueError(f"it has {members:,} members, in a list of {directory:,} bytes")


class Reader:
    """Reads the members of an archive whose digest is right, one after the other.

    The digest detects damage, not intent: anybody can compute one. So a member is read only if
    its header is, byte for byte, the one expected for the array that it is read into. The file
    cannot choose any size.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._size = size = os.fstat(file.fileno()).st_size
        self.digest = _digest(file, size - DIGITS)
        if size < DIGITS + END_RECORD.size or file.read(DIGITS) != self.digest:
            file.seek(0)
            raise CheckpointError(f"{path} {_guess(file.read(4096))}")
        _check_directory(file, size - DIGITS - END_RECORD.size)
        self._archive = zipfile.ZipFile(file)
        self._infos = self._archive.infolist()
        self._members: dict[str, zipfile.ZipInfo] = {}  # by name, after they were checked

    def read_bytes(self, name: str, limit: int) -> bytes:
        """The first member, an array of at most ``limit`` bytes."""
        header = len(_npy_header(np.dtype(np.uint8), (limit,)))
        array = np.dtype(np.uint8), (self._infos[0].file_size - header,)
        if not 0 <= array[1][0] <= limit:
            raise ValueError(f"{name} has {array[1][0]:,} bytes")
        self._check(self._infos[0], name, *array)
        self._members[name] = self._infos[0]
        return self.read_into(name, np.empty(array[1], array[0])).tobytes()

    def check(self, manifest: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> None:
        """Check that the members after the first are exactly these, before reading any."""
        if len(self._infos) != 1 + len(manifest):
            raise ValueError(f"it has {len(self._infos)} members, not {1 + len(manifest)}")
        for info, (name, (dtype, shape)) in zip(self._infos[1:], manifest.items(), strict=True):
            self._check(info, name, dtype, shape)
            self._members[name] = info
        if sum(info.file_size for info in self._infos) > self._size:
            raise ValueError("its members overlap")

    def _check(
        self, info: zipfile.ZipInfo, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> None:
        header = _npy_header(dtype, shape)
        if info.filename != f"{name}.npy":
            raise ValueError(f"it has the member {info.filename!r} instead of {name}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"{name} is compressed or encrypted")
        size = len(header) + math.prod(shape) * dtype.itemsize
        if not size == info.file_size == info.compress_size <= self._size:
            raise ValueError(f"{name} has {info.file_size:,} bytes where {size:,} are expected")
        with self._archive.open(info) as member:
            if member.read(len(header)) != header:
                raise ValueError(f"{name} is not an array of {dtype} and shape {shape}")

    def read_into(self, name: str, array: ndarray) -> ndarray:
        """Fill ``array``, which is contiguous, with a member that was checked before."""
        with self._archive.open(self._members[name]) as member:
            member.read(len(_npy_header(array.dtype, array.shape)))
            data = array.reshape(-1).view(np.uint8)
            for start in range(0, len(data), 1 << 20):  # in chunks, to avoid a second copy
                chunk = data[start : start + (1 << 20)]
                chunk[:] = np.frombuffer(member.read(len(chunk)), np.uint8)
            if member.read():
                raise ValueError("a member is longer than its header states")
        flat = array.reshape(-1)
        for start in range(0, flat.size, 1 << 20):
            if array.dtype.kind == "f" and not np.isfinite(flat[start : start + (1 << 20)]).all():
                raise ValueError("it contains numbers that are not finite")
        return array


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open an archive that ``write`` wrote.

    Raises UsageError if there is no file, and CheckpointError if ``write`` did not write it, for
    example because the body of the ``with`` raises ValueError or KeyError.
    """
    try:
        with open_regular(path, follow=True) as file:
            yield Reader(path, file)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such checkpoint; charrnn train writes one") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a checkpoint") from None
    except NotRegularError:
        raise UsageError(f"{path} is not a regular file, so it is not a checkpoint") from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a seek to a position before the file
            raise CheckpointError(f"{path} was not written by charrnn: it contains a position "
                                  "outside the file") from None
        raise CharrnnError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, NotImplementedError, ValueError, KeyError, TypeError,
            AttributeError, IndexError, OverflowError, RuntimeError, EOFError) as error:
        # The digest is right, but the content is not: another program wrote the file.
        raise CheckpointError(f"{path} was not written by charrnn: {error!s:.200}") from None


def check_replaceable(path: Path) -> None:
    """Raise UsageError unless a file is empty or was written by ``write``; it may be damaged."""
    try:
        with open_regular(path, follow=True) as file:
            start = file.read(4096)
    except OSError as error:
        raise CharrnnError(f"{path}: cannot be read: {error.strerror or error}") from None
    if start and not is_ours(start):
        raise UsageError(f"{path} {_guess(start)}, and --overwrite replaces only checkpoints: "
                         "choose another file with -o, or remove this one")


def is_ours(start: bytes) -> bool:
    """Whether ``write`` wrote a file that begins with these bytes."""
    return start.startswith(b"PK") and b"meta.npy" in start[:64]


def _guess(start: bytes) -> str:
    """What a file that is not a checkpoint seems to be, judging by its first bytes."""
    if not start:
        return "is empty"
    if start.startswith(b"\x89HDF"):
        return "is an HDF5 file (Keras writes them), not a charrnn checkpoint"
    if start.startswith(b"PK") and b"data.pkl" in start:
        return "is a PyTorch file, not a charrnn checkpoint"
    if start[8:9] == b"{" and not start.startswith(b"PK"):
        return "is a safetensors file, not a charrnn checkpoint"
    if is_ours(start):
        return "is a damaged or incomplete checkpoint: its digest does not match its content"
    return "is not a charrnn checkpoint"
