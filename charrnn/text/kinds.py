"""Files that are not plain text, recognized by their first bytes, and what to do with them."""

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


def unpacking(command: str, ending: str = "") -> str:
    """How to unpack a file whose name may have any ending, which most programs refuse."""
    rename = f"rename it to end in {ending}, or " * bool(ending)
    return f"{rename}unpack it with {command} < FILE > TEXT"


PLAIN_TEXT = "save it as plain text, or convert it with pandoc -t plain"
SAVE_IT = "save it as plain text in the program that wrote it"  # pandoc reads no .doc, .xls
ONLY_BYTES = "only a model trained with --level byte can read it"
DOCUMENT = Kind("a document in a zip archive, like .docx, .odt, .xlsx and .epub", PLAIN_TEXT)
CHECKPOINT = Kind("a NumPy archive, like the checkpoints of charrnn", "name a text file")
TAR = Kind("a tar archive", "unpack it with tar -xf, and name the files or the folder")
ZEROS = Kind("an empty tar archive, or other data that begins with zero bytes", ONLY_BYTES, False)
PACKED_ARCHIVES = (".tgz", ".txz", ".tbz", ".tbz2", ".tar.zst")
# The name of the first file in the zip archive of a document, and what follows it.
IN_DOCUMENTS = re.compile(rb"\[Content_Types\]\.xml|mimetypeapplication/|"
                          rb"(_rels|docProps|word|xl|ppt)/[\w./]*\.(xml|rels)")
BEGINNINGS = {
    b"PK\3\4": Kind("a zip archive", "unpack it with unzip"),
    b"PK\5\6": Kind("an empty zip archive", "name a text file"),
    b"\x1f\x8b\x08": Kind("compressed with gzip", unpacking("gunzip", ".gz")),
    b"\xfd7zXZ\0": Kind("compressed with xz", unpacking("unxz", ".xz")),
    b"(\xb5/\xfd": Kind("compressed with zstd", unpacking("zstd -dc")),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Kind("an Office document, like .doc and .xls", SAVE_IT,
                                              container=False),
    b"SQLite format 3\0": Kind("an SQLite database", "export its text with sqlite3", False),
    b"\x7fELF": Kind("a program (ELF)", ONLY_BYTES, container=False),
    b"\x89PNG\r\n\x1a\n": Kind("a PNG image", ONLY_BYTES, container=False),
    b"\xff\xd8\xff": Kind("a JPEG image", ONLY_BYTES, container=False),
    b"Rar!\x1a\7": Kind("a RAR archive", "unpack it with unrar"),
    b"7z\xbc\xaf\x27\x1c": Kind("a 7z archive", "unpack it with 7z x"),
    b"\4\"M\x18": Kind("compressed with lz4", unpacking("lz4 -dc")),
    b"]\0\0": Kind("compressed with lzma", unpacking("unlzma")),
    b"\x93NUMPY": Kind("a NumPy array", ONLY_BYTES, container=False),
    b"{\\rtf1": Kind("an RTF document", PLAIN_TEXT, container=False),
}
PDF = re.compile(rb"%PDF-\d\.\d\s*[\r\n]")  # "%PDF-" alone may be text, and so may "BZh1"
BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
MARKS = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}
HIGH = re.compile(rb"[\x80-\xff]+")
# The non-ASCII letters of languages that are written in latin-1 or cp1252, language by language,
# and the signs that they share. Central European and Turkish texts in their own encodings use some
# of the same bytes, but not just those of one of these languages.
WESTERN = ("äöüßé", "àâæçéèêëîïôœùûüÿ", "áéíñóúü", "àáâãçéêíóôõúü", "àèéìíîòóùú", "æøåéèêóòôü",
           "åäöéàü", "éèëïöüáóêí", "áðéíóúýþæö", "àçèéíïòóúü", "äöüõ")
SIGNS = set("‘’“”‚„‹›«»…–—•·¿¡§°£€©®™ªº´\xa0\xad")
# Signs of cp1252, and capital letters, inside words: the text is in an older encoding, in which
# these bytes are other letters.
LETTERS_INSTEAD = re.compile(
    rb"[A-Za-z][\x80-\x84\x86-\x89\x8b\x91\x93-\x95\x98\x99\x9b\xa1-\xac\xae-\xb3\xb5\xb6\xb8-\xbf]"
    rb"[A-Za-z]|[a-z][\xc0-\xde][a-z]")
LOOKED_AT = 1 << 16  # bytes from which an encoding is guessed


def kind_of(head: bytes, name: str = "") -> Kind | None:
    """What a file is that begins with ``head``, of up to HEAD bytes; None if it may be text.

    The name only shows whether compressed data is an archive.
    """
    found = _by_head(head)
    if len(head) >= HEAD and not any(head[:HEAD]):
        return ZEROS
    if _is_tar(head) or (found and name.lower().endswith(PACKED_ARCHIVES)):
        return TAR
    return found


def _by_head(head: bytes) -> Kind | None:
    if BZIP2.match(head):
        return Kind("compressed with bzip2", unpacking("bunzip2", ".bz2"))
    if PDF.match(head):
        return Kind("a PDF file", "extract its text with pdftotext", container=False)
    for beginning, kind in BEGINNINGS.items():
        if head.startswith(beginning):
            first = head[30:] if beginning == b"PK\3\4" else b""  # name and contents of a file
            if first.startswith(b"meta.npy"):
                return CHECKPOINT
            if IN_DOCUMENTS.match(first):
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
    summed = head[:148] + b" " * 8 + head[156:HEAD]
    unsigned = sum(summed)
    signed = unsigned - 256 * sum(byte > 127 for byte in summed)  # as some old programs add bytes
    return (re.fullmatch(rb"[0-7]{1,7}", digits) is not None
            and int(digits, 8) in (unsigned, signed))


def marked_encoding(head: bytes) -> str | None:
    """The encoding whose byte order mark a file begins with, other than UTF-8."""
    if len(head) < 4:  # the mark of UTF-16 may be the beginning of that of UTF-32
        return None
    return next((name for mark, name in MARKS.items() if head.startswith(mark)), None)


def unmarked_utf16(data: bytes) -> str | None:
    """The byte order of UTF-16 text without a mark: utf-16-le, utf-16-be, or None if it is neither.

    ``data`` begins at an even offset of the text. In UTF-16, the high byte of a Latin, Greek or
    Cyrillic letter is below 9, which as a character is a control that no text contains.
    """
    for name, high, low in (("utf-16-le", data[1::2], data[::2]),
                            ("utf-16-be", data[::2], data[1::2])):
        controls, others = (sum(byte < 9 for byte in half) for half in (high, low))
        if controls > 0.75 * len(high) and others < 0.1 * len(low):
            return name
    return None


def advice(data: bytes) -> str | None:
    """Advice on the encoding of bytes that are not UTF-8; None if it is unclear."""
    data = data[:LOOKED_AT]
    decoded = data.decode("utf-8", "replace")
    damaged = decoded.count("\ufffd")
    if damaged <= sum(c > "\x7f" for c in decoded) - damaged:
        return None  # mostly UTF-8, and some of it damaged
    guess = guessed_encoding(data)
    if guess:
        return f"the text looks like {guess}; try --encoding {guess}"
    if any(byte < 9 for byte in data):
        return None  # not text
    few = sum(byte > 127 for byte in data) < 0.4 * len(data)
    perhaps = ("latin-1, iso8859-2, cp1250 or mac-roman" if few else
               "cp1251, koi8-r, gb18030 or shift_jis")
    return f"name the right --encoding (perhaps {perhaps})"


def is_stray(data: bytes) -> bool:
    """Whether almost all of a text is ASCII, so that its other bytes are probably damage."""
    return sum(byte > 127 for byte in data[:LOOKED_AT]) * 500 < len(data[:LOOKED_AT])


def guessed_encoding(data: bytes) -> str | None:
    """The probable encoding of bytes that are not UTF-8; None if it is unclear.

    Only UTF-16 and Western encodings are recognized. In Western text, non-ASCII characters are
    few, occur alone or in pairs, and are almost all letters of one language.
    """
    if b"\0" in data:
        return unmarked_utf16(data)
    runs = HIGH.findall(data)
    high = b"".join(runs)
    if any(byte < 9 for byte in data) or set(high) & {0x81, 0x8D, 0x8F, 0x90, 0x9D}:
        return None  # cp1252 does not define these
    if len(high) > len(data) / 3 or sum(len(run) <= 2 for run in runs) < 0.8 * len(runs):
        return None
    letters = [c for c in high.decode("cp1252").lower() if c not in SIGNS]
    if max(sum(c in known for c in letters) for known in WESTERN) < 0.95 * len(letters):
        return None
    if len(LETTERS_INSTEAD.findall(data)) > len(runs) / 10:
        return None
    return "cp1252" if any(byte < 0xA0 for byte in high) else "latin-1"
