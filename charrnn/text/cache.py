"""Large texts, encoded once: files of small integers that are mapped into memory, not read.

The symbols of a text of up to LIMIT bytes stay in memory and never touch the disk. Those of a
larger one go to a file, which ``store`` writes, and are read from there as windows need them; the
operating system decides how much of it is in memory.

A file holds the symbols, then the facts about the text as JSON, then a footer of fixed length with
SHA-256 digests of both. Its name depends on the text and on how it was encoded, and the next run
finds it again. It is written atomically, under another name, and renamed when it is complete: two
processes may write the same file at once, and neither sees an incomplete one. A run that finds a
file reads it once and compares the digest; a damaged file is written again. Other files in the
folder are ignored: only regular files are opened, and their facts are validated before use.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy import ndarray

from charrnn.system.encodings import canonical
from charrnn.system.files import open_regular
from charrnn.text.files import is_compressed
from charrnn.text.vocabulary import CODE_POINTS, REPLACEMENT

LIMIT = 1 << 27  # bytes of symbols that are kept in memory
CHUNK = 1 << 20  # symbols that are processed together
FOOTER = struct.Struct("<8sQ32s32s")  # MAGIC, length of the JSON, SHA-256 of symbols and of JSON
MAGIC = b"charrnn\x01"
MAX_FACTS = 64 << 20  # bytes of JSON
UNPACKED = 1000  # a compressed file is expected to unpack to at most this many times its size
SETTLED = 2.0  # seconds after which another change certainly changes the times of a file
DTYPES = ("|u1", "<u2", "<u4")
# What reading a file that charrnn did not write may raise.
UNREADABLE = (OSError, ValueError, LookupError, TypeError, RecursionError)


def file_name(key: dict[str, Any]) -> str:
    """The name of the file for a text that is read in a certain way, given by ``key``."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20] + ".ids"


def load(path: Path, verify: bool = True) -> tuple[ndarray, dict[str, Any]] | None:
    """The symbols of a file, read-only, and the facts; None if it is incomplete or damaged.

    Without ``verify`` the symbols are not checked, because another process has just done that.
    """
    found, largest = hashlib.sha256(), 0
    try:
        with open_regular(path) as file:
            facts, size, digest = _facts(file, os.fstat(file.fileno()).st_size)
            dtype = np.dtype(facts["dtype"])
            if not _sound(facts, size // dtype.itemsize):
                return None
            file.seek(0)
            for start in range(0, size if verify else 0, CHUNK):
                data = file.read(min(CHUNK, size - start))
                found.update(data)
                largest = max(largest, int(np.frombuffer(data, dtype).max()))
            if verify and (found.digest() != digest or largest >= len(facts["codes"])):
                return None
            return np.memmap(file, dtype, "r", shape=(size // dtype.itemsize,)), facts
    except UNREADABLE:
        return None


def _facts(file: BinaryIO, size: int, having: bytes = b"") -> tuple[dict[str, Any], int, bytes]:
    """The facts of a file, the number of bytes of its symbols and their digest; or ValueError.

    Anybody may have written the file: the facts are parsed only if their size is plausible and
    they contain the bytes ``having``.
    """
    file.seek(max(0, size - FOOTER.size))
    end = file.read(FOOTER.size)
    if len(end) != FOOTER.size:
        raise ValueError("it is too short")
    magic, length, digest, expected = FOOTER.unpack(end)
    if magic != MAGIC or length > min(MAX_FACTS, size - FOOTER.size):
        raise ValueError("it is not a file of symbols")
    file.seek(size - FOOTER.size - length)
    text = file.read(length)
    if hashlib.sha256(text).digest() != expected:
        raise ValueError("its facts are damaged")
    if having not in text:
        raise ValueError("it belongs to another text")
    facts: dict[str, Any] = json.loads(text)
    if facts["dtype"] not in DTYPES:
        raise ValueError("its symbols have an unknown type")
    return facts, size - FOOTER.size - length, digest


def _sound(facts: dict[str, Any], count: int) -> bool:
    """Whether ``corpus`` could have written these facts about ``count`` symbols."""
    key, codes, begins, notes = (facts[name] for name in ("key", "codes", "begins", "notes"))
    return (
        all(type(each) is list for each in (codes, begins, notes))
        and all(type(each) is int for each in (
            *codes, *begins, key["min_count"], facts["distinct"], facts["unknown"],
            facts.get("undecodable", 0)))
        and all(type(each) is str for each in (key["level"], key["corpus"], *notes))
        and len(bytes.fromhex(key["corpus"])) == 32
        and all(a < b for a, b in pairwise([-1, *codes, CODE_POINTS]))
        and not any(code >> 11 == 27 for code in codes)  # surrogates
        and (codes == list(range(256)) if key["level"] == "byte" else len(codes) > 0)
        and (key["min_count"] == 1 or REPLACEMENT in codes)
        and all(a <= b for a, b in pairwise([0, *begins, count]))
        and 0 <= facts["distinct"] <= len(codes) and facts["unknown"] >= 0
        and facts.get("undecodable", 0) >= 0
    )


def find(folder: Path, key: dict[str, Any], sources: list[list[int]]) -> Iterator[Path]:
    """The files in ``folder`` with exactly these ``sources``, unchanged, encoded as in ``key``.

    Facts that ``key`` does not contain, such as the digest of the text, are not compared. Nothing
    is found for a text that is too short to have a file.
    """
    if sum(size * (UNPACKED if unpacked else 4) for size, *_, unpacked in sources) <= LIMIT:
        return
    having = f'"sources": {json.dumps(sources)}'.encode()
    for path in sorted(folder.glob("*.ids")):
        with suppress(*UNREADABLE), open_regular(path) as file:
            facts, *_ = _facts(file, os.fstat(file.fileno()).st_size, having)
            known = _current(facts["key"])
            same = all(known[name] == value for name, value in key.items())
            if same and facts["sources"] == sources:
                yield path


def _current(key: dict[str, Any]) -> dict[str, Any]:
    """The key of a file in its current form. Older keys have no ``errors``, which was always
    strict, and spell the encoding in any way."""
    return {"errors": "strict", **key, "encoding": canonical(key["encoding"])}


def fingerprints(files: Iterable[str]) -> list[list[int]]:
    """What changes with each file: size, times, device and inode, and whether it is unpacked.

    Empty if one of them is not a regular file, or was changed a moment ago: it could change again
    and keep the same times.
    """
    found = []
    for path in files:
        try:
            about = os.stat(path)
        except OSError:
            return []
        if path == "-":  # standard input, even if a file has that name
            return []
        newest = max(about.st_mtime, about.st_ctime)
        if not stat.S_ISREG(about.st_mode) or not newest < time.time() - SETTLED:
            return []
        found.append([about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_dev,
                      about.st_ino, int(is_compressed(path))])
    return found
