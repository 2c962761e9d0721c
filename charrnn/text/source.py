"""Files as code points or bytes: decoded in chunks, or refused where they are not text."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

import numpy as np
from numpy import ndarray

from charrnn.errors import CorpusError
from charrnn.system.encodings import canonical
from charrnn.text.display import display_path
from charrnn.text.files import Digest, chunks, ending, files_of, is_compressed
from charrnn.text.kinds import (
    HEAD,
    advice,
    guessed_encoding,
    is_stray,
    kind_of,
    marked_encoding,
    unmarked_utf16,
)
from charrnn.text.vocabulary import REPLACEMENT, code_points

MARK = "charrnn.mark"  # the error handler, see Decoder
ASSUMED = ("utf-8", "utf-8-sig", "ascii")  # encodings that users assume without checking
UNPACKERS = {".gz": "gunzip", ".xz": "unxz", ".bz2": "bunzip2"}
HELD = 256  # most bytes that are held back from a decoder; an escape sequence has up to 16
UNMARKED = 32  # bytes at the beginning of a file that suffice to recognize UTF-16
# What to do about a text that cannot be decoded: with a given model, and in training.
NAME_IT = "name the right --encoding"
READ_PAST = f"{NAME_IT}, or read past such bytes with --errors replace"
READ_PAST_OR_BYTES = (f"{NAME_IT}, read past such bytes with --errors replace, or read any file "
                      "with --level byte")


class Decoder:
    """Decodes bytes to code points, chunk by chunk.

    If ``errors`` is not "strict", each undecodable sequence becomes U+FFFD ("replace") or is left
    out ("skip"), and is counted in ``undecodable``. Python's decoders define what one sequence
    is; where chunks end makes no difference.
    """

    def __init__(self, encoding: str, errors: str = "strict") -> None:
        self.errors, self.undecodable = errors, 0
        if errors != "strict":
            # The handler has no state, and registering it twice changes nothing.
            codecs.register_error(MARK, _mark)
        handler = "strict" if errors == "strict" else MARK
        self._decoder = codecs.getincrementaldecoder(encoding)(handler)
        self._held = b""  # the end of the data so far, where the decoder cannot keep it

    def decode(self, data: bytes, final: bool) -> ndarray:
        """The code points of the next ``data``; UnicodeError if ``errors`` is "strict"."""
        text = self._decoded(self._held + data, final)
        rest = self._decoder.getstate()[0] if final else b""
        if rest:  # utf-8-sig drops an incomplete byte order mark
            error = UnicodeDecodeError("utf-8", rest, 0, len(rest), "unexpected end of data")
            if self.errors == "strict":
                raise error
            text += _mark(error)[0]
        if self.errors == "strict":
            return code_points(text)
        codes = code_points(text, "surrogatepass")
        marked = codes >> 11 == 27
        found = int(np.count_nonzero(marked)) if codes.itemsize > 1 else 0
        self.undecodable += found
        if not found:
            return codes
        kept: ndarray = codes[~marked]
        return kept if self.errors == "skip" else np.where(marked, np.uint32(REPLACEMENT), codes)

    def _decoded(self, data: bytes, final: bool) -> str:
        """``data`` as text, except for an end that must be held back until more is read.

        The decoders of ISO-2022 look up to 16 bytes ahead, for each of several escape characters,
        but keep no more than 8.
        """
        self._held, state = b"", self._decoder.getstate()
        for held in range(min(HELD, len(data)) + 1):
            end = len(data) - held
            try:
                text = self._decoder.decode(data[:end], final=final)
            except UnicodeError as error:  # from Python 3.12 on, a UnicodeDecodeError
                if "overflow" not in str(error) or held == min(HELD, len(data)):
                    raise
                self._decoder.setstate(state)
            else:
                self._held = data[end:]
                return text
        raise AssertionError(data)


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Replace an undecodable sequence with a lone surrogate, which no text contains.

    This distinguishes it from a U+FFFD in the text. Some encodings can represent lone surrogates;
    those are not characters either.
    """
    assert isinstance(error, UnicodeDecodeError)
    return "\udcff", error.end


class Source:
    """Files as code points (or bytes), chunk by chunk; an empty chunk ends each file.

    ``digest``, ``undecodable`` (a number of sequences) and ``notes`` grow while it is read. Raises
    CorpusError, with the offset of the byte and a ``remedy``, for bytes that are not ``encoding``
    (if ``errors`` is "strict") and for files that are not text. At byte level any file is read.
    """

    def __init__(
        self, paths: Sequence[str], level: str, encoding: str, errors: str = "strict",
        remedy: str = READ_PAST,
    ) -> None:
        self.paths, self.level = paths, level
        self.encoding, self.errors, self.remedy = canonical(encoding), errors, remedy
        self.digest = Digest()
        self.undecodable = 0
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[ndarray]:
        for path in files_of(self.paths):
            yield from self.file(path)

    def file(self, path: str) -> Iterator[ndarray]:
        """The chunks of one file."""
        decoder = Decoder(self.encoding, self.errors)
        head, offset = b"", 0
        for data in chunks(path):
            self.digest.update(data)
            if len(head) < HEAD and data:
                head += data[: HEAD - len(head)]
                self._recognize(path, head)
            if self.level == "byte":
                codes = np.frombuffer(data, np.uint8)
            else:
                before = decoder.undecodable
                codes = self._decode(path, decoder, data, offset)
                self.undecodable += decoder.undecodable - before
            offset += len(data)
            if len(codes):
                yield codes
        yield codes[:0]

    def _recognize(self, path: str, head: bytes) -> None:
        """Refuse what is not text, or, at byte level, note that it is a container."""
        kind = kind_of(head, path)
        if self.level == "byte":
            note = kind and kind.container and (
                f"{display_path(path)} is {kind.name}: the model reads the bytes of the file, not "
                "the text inside")
            if note and note not in self.notes:
                self.notes.append(note)
            return
        if kind:
            remedy = kind.remedy
            if is_compressed(path) and kind.name.startswith("compressed"):
                then = remedy.rpartition("unpack it with ")[2].replace("< FILE ", "")
                remedy = (f"it was compressed twice: unpack it with {UNPACKERS[ending(path)]} "
                          f"< FILE | {then}")
            elif path == "-":
                remedy = remedy.replace("> TEXT", "| charrnn ...")
                remedy = remedy[max(0, remedy.find("unpack it with ")) :]
            if path not in self.paths:
                remedy += "; otherwise, move it out of the folder"
            raise CorpusError(f"{display_path(path)} is {kind.name}: {remedy}")
        if self.encoding.startswith(("utf-16", "utf-32")):
            return
        marked = marked_encoding(head)
        # In another encoding, the first two letters of a text may look like a mark.
        if marked and (self.encoding in ASSUMED or b"\0" in head):
            raise CorpusError(f"{display_path(path)} is {marked.upper()} text, by its byte order "
                              f"mark: read it with --encoding {marked}")
        unmarked = unmarked_utf16(head[:UNMARKED]) if len(head) >= UNMARKED else None
        if unmarked:
            raise CorpusError(f"{display_path(path)} looks like UTF-16 text without a byte order "
                              f"mark: read it with --encoding {unmarked}")

    def _decode(self, path: str, decoder: Decoder, data: bytes, offset: int) -> ndarray:
        try:
            return decoder.decode(data, final=not data)
        except UnicodeError as error:
            if "BOM" in str(error):  # of utf-16 and utf-32; Pythons differ in the type of error
                raise CorpusError(
                    f"{display_path(path)} is not {self.encoding}, or lacks the byte order mark: "
                    f"name the byte order with --encoding {self.encoding}-le or {self.encoding}-be"
                ) from None
            if not isinstance(error, UnicodeDecodeError):
                raise CorpusError(f"{display_path(path)} is not {self.encoding} ({error}): "
                                  f"{self.remedy}") from None
            # The object that failed ends where the data ends, but may begin in an earlier chunk.
            at = offset + len(data) - len(error.object) + error.start
            byte = error.object[error.start]
            remedy = self.remedy
            if self.encoding in ASSUMED:  # from an even offset, for UTF-16
                near = error.object[max(0, error.start - 1000) & ~1 :]
                hint, guess = advice(near), guessed_encoding(near)
                remedy = remedy.replace(NAME_IT, hint or NAME_IT, 1)
                if hint and is_stray(near):
                    perhaps = f" (perhaps {guess})" if guess else ""
                    remedy = f"read past such bytes with --errors replace, or {NAME_IT}{perhaps}"
            raise CorpusError(f"{display_path(path)}: byte {at:,} (0x{byte:02X}) is not "
                              f"{self.encoding}: {remedy}") from None
