"""The vocabulary: characters or bytes as integer ids; unknown ones replaced or refused."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy import ndarray

from charrnn.errors import CorpusError
from charrnn.text.display import describe

CODE_POINTS = sys.maxunicode + 1
REPLACEMENT = 0xFFFD  # Unicode's own sign for a character that is not there


class Vocabulary:
    """Symbols in the order of their code points; id i stands for ``codes[i]``.

    ``codes`` is uint32 (V,): Unicode code points, or 0 .. 255 where ``level`` is "byte". A
    vocabulary that ``replaces`` has U+FFFD, which stands for every character that it lacks.
    """

    def __init__(self, codes: ndarray, level: str, replaces: bool = False) -> None:
        self.codes = np.asarray(codes, np.uint32)
        self.level, self.replaces = level, replaces
        self.dtype = smallest_dtype(len(codes))
        # One entry per code point would be 1.1 million; up to the largest is enough.
        self._table = np.full(int(self.codes.max(initial=0)) + 2, len(codes), np.uint32)
        self._table[self.codes] = np.arange(len(codes))

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of_bytes(cls) -> Vocabulary:
        """Every byte there is: any file at all can be read with it."""
        return cls(np.arange(256), "byte")

    @property
    def start(self) -> int:
        """The symbol that is read before a text: the newline, or the first without one."""
        newline = int(self.lookup(np.array([10]))[0])
        return newline if newline < len(self) else 0

    def lookup(self, codes: ndarray) -> ndarray:
        """The id of every code; V where there is none."""
        found: ndarray = self._table.take(codes, mode="clip")  # the last entry is unknown
        return found

    def unknown(self, codes: ndarray) -> int:
        """How many of ``codes`` have no id."""
        return int(np.count_nonzero(self.lookup(codes) >= len(self)))

    def encode(self, codes: ndarray, skip_unknown: bool = False) -> ndarray:
        """The ids of ``codes``.

        Those that are unknown are replaced by a vocabulary that does so, or left out, or else
        a CorpusError names them.
        """
        ids = self.lookup(codes)
        known = ids < len(self)
        if not known.all():
            if self.replaces:
                ids[~known] = self.lookup(np.array([REPLACEMENT]))
            elif skip_unknown:
                ids = ids[known]
            else:
                raise CorpusError(unknown_message(np.asarray(codes)[~known], len(self)))
        return ids.astype(self.dtype)

    def encode_text(self, text: str | bytes, skip_unknown: bool = False) -> ndarray:
        """``encode`` for a string; at byte level a string stands for its UTF-8 bytes."""
        if self.level == "byte":
            raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
            return self.encode(np.frombuffer(raw, np.uint8), skip_unknown)
        assert isinstance(text, str)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise CorpusError(f"character {error.start:,} of it is not UTF-8") from None
        return self.encode(code_points(text, "surrogatepass"), skip_unknown)

    def decode(self, ids: ndarray) -> str | bytes:
        """The text that ``ids`` stand for: a string, or bytes at byte level."""
        if self.level == "byte":
            return np.asarray(ids, np.uint8).tobytes()
        text: str = self.codes[ids].astype("<u4").tobytes().decode("utf-32-le")
        return text


def smallest_dtype(size: int) -> type[np.unsignedinteger[Any]]:
    """The smallest integer type with room for ``size`` different values."""
    return np.uint8 if size <= 2**8 else np.uint16 if size <= 2**16 else np.uint32


def code_points(text: str, surrogates: str = "strict") -> ndarray:
    """The code points of a string, uint8 where they are all ASCII and else uint32.

    Halves of surrogate pairs are a UnicodeError, unless ``surrogates`` is "surrogatepass".
    """
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", surrogates), "<u4")


def unknown_message(codes: ndarray, vocabulary_size: int) -> str:
    """Say which characters the model has never seen; the commonest first."""
    distinct, counts = np.unique(codes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    named = ", ".join(describe(int(code)) for code in distinct[order[:5]])
    more = f" and {len(distinct) - 5} more" if len(distinct) > 5 else ""
    return (
        f"{len(codes):,} characters ({len(distinct):,} distinct) are not among the "
        f"{vocabulary_size:,} that the model knows: {named}{more}; "
        "leave them out with --unknown skip"
    )
