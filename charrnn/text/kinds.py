"""Files that are not plain text, recognised by their first bytes, and what to do with them."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

HEAD = 512  # bytes at the beginning of a file that are examined: the header of a tar archive


class Kind(NamedTuple):
    """What a file is, in words that follow "is", and how to get text from it."""

    name: str
    remedy: str
    container: bool = True  # whether it contains files or compressed data


PLAIN_TEXT = "save it as plain text, or convert it with pandoc -t plain"
ONLY_BYTES = "such files can be modeled only with --level byte"
DOCUMENT = Kind("a document in a zip archive, like .docx, .odt, .xlsx and .epub", PLAIN_TEXT)
CHECKPOINT = Kind("a NumPy archive, like the checkpoints of charrnn", "name a text file")
TAR = Kind("a tar archive", "unpack it with tar -xf, and name the files or the folder")
PACKED_ARCHIVES = (".tgz", ".txz", ".tbz", ".tbz2", ".tar.zst")
# Documents are zip archives with one of these file names among their first bytes.
IN_DOCUMENTS = (b"[Content_Types].xml", b"mimetypeapplication/", b"_rels/", b"docProps/", b"word/",
                b"xl/", b"ppt/")
BEGINNINGS = {
    b"PK\3\4": Kind("a zip archive", "unpack it with unzip"),
    b"PK\5\6": Kind("an empty zip archive", "name a text file"),
    b"%PDF-": Kind("a PDF file", "extract its text with pdftotext", container=False),
    b"\x1f\x8b\x08": Kind("compressed with gzip", "unpack it with gunzip, or give it a name that "
                          "ends in .gz"),
    b"\xfd7zXZ\0": Kind("compressed with xz", "unpack it with unxz, or give it a name that ends in "
                        ".xz"),
    b"(\xb5/\xfd": Kind("compressed with zstd", "unpack it with zstd -d"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Kind("an Office document, like .doc and .xls", PLAIN_TEXT,
                                              container=False),
    b"SQLite format 3\0": Kind("an SQLite database", "export its text with sqlite3", False),
    b"\x7fELF": Kind("a program (ELF)", ONLY_BYTES, container=False),
    b"\x89PNG\r\n\x1a\n": Kind("a PNG image", ONLY_BYTES, container=False),
    b"\xff\xd8\xff": Kind("a JPEG image", ONLY_BYTES, container=False),
}
BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")  # "BZh1" alone may be text
MARKS = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}
HIGH = re.compile(rb"[\x80-\xff]+")
# Bytes that are quotes and signs in cp1252, but inside words: letters of an older encoding.
LETTERS_INSTEAD = re.compile(rb"[A-Za-z][\x80-\x84\x86-\x89\x8b\x91\x93-\x95\x98\x99\x9b][A-Za-z]")
LOOKED_AT = 1 << 16  # bytes from which an encoding is guessed


def kind_of(head: bytes, name: str = "") -> Kind | None:
    """What a file is that begins with ``head``, of up to HEAD bytes; None if it may be text.

    The name only shows whether compressed data is an archive.
    """
    found = _by_head(head)
    if _is_tar(head) or (found and name.lower().endswith(PACKED_ARCHIVES)):
        return TAR
    return found


def _by_head(head: bytes) -> Kind | None:
    if BZIP2.match(head):
        return Kind("compressed with bzip2", "unpack it with bunzip2, or give it a name that ends "
                    "in .bz2")
    for beginning, kind in BEGINNINGS.items():
        if head.startswith(beginning):
            if beginning == b"PK\3\4" and b"meta.npy" in head[:50]:
                return CHECKPOINT
            if beginning == b"PK\3\4" and any(name in head for name in IN_DOCUMENTS):
                return DOCUMENT
            return kind
    return None


def _is_tar(head: bytes) -> bool:
    """Whether bytes are the header of a tar archive, with its magic or at least its checksum."""
    if head[257:265] in (b"ustar\x0000", b"ustar  \0"):
        return True
    if len(head) < HEAD or not head[0]:
        return False
    digits = head[148:156].strip(b" \0")
    expected = sum(head[:148]) + 8 * ord(" ") + sum(head[156:HEAD])
    return re.fullmatch(rb"[0-7]{1,7}", digits) is not None and int(digits, 8) == expected


def marked_encoding(head: bytes) -> str | None:
    """The encoding whose byte order mark a file begins with, other than UTF-8."""
    if len(head) < 4:  # the mark of UTF-16 may be the beginning of that of UTF-32
        return None
    return next((name for mark, name in MARKS.items() if head.startswith(mark)), None)


def guessed_encoding(data: bytes) -> str | None:
    """The Western encoding of bytes that are not UTF-8, if one is likely, else None.

    In Western text, characters beyond ASCII are rare, and occur alone or in pairs.
    """
    data = data[:LOOKED_AT]
    runs = HIGH.findall(data)
    high = b"".join(runs)
    decoded = data.decode("utf-8", "replace")
    damaged = decoded.count("\ufffd")
    if damaged <= sum(c > "\x7f" for c in decoded) - damaged:
        return None  # mostly UTF-8, and some of it damaged
    if len(high) > len(data) / 3 or sum(len(run) <= 2 for run in runs) < 0.8 * len(runs):
        return None
    if not any(byte < 0xA0 for byte in high):
        return "latin-1"
    if set(high) & {0x81, 0x8D, 0x8F, 0x90, 0x9D}:  # cp1252 has nothing there
        return None
    return None if len(LETTERS_INSTEAD.findall(data)) > len(runs) / 5 else "cp1252"
