"""The vocabulary: characters or bytes as integer ids; unknown ones are replaced or refused."""

from __future__ import annotations

import sys
from typing import Any, Literal

import numpy as np
from numpy import ndarray

from charrnn.errors import CorpusError
from charrnn.text.display import count, describe

Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, Form] = ("NFC", "NFD")
CODE_POINTS = sys.maxunicode + 1
REPLACEMENT = 0xFFFD  # Unicode's own sign for an unknown character


class Vocabulary:
    """Symbols in the order of their code points; id i means ``codes[i]``.

    ``codes`` is uint32 (V,): Unicode code points, or 0 .. 255 where ``level`` is "byte". A
    vocabulary that ``replaces`` has U+FFFD, and uses it for every character that it lacks.
    """

    def __init__(self, codes: ndarray, level: str, replaces: bool = False) -> None:
        self.codes = np.asarray(codes, np.uint32)
        self.level, self.replaces = level, replaces
        self.dtype = smallest_dtype(len(codes))
        # One entry per code point would be 1.1 million; up to the largest is enough.
        self._table = np.full(int(self.codes.max(initial=0)) + 2, len(codes), np.uint32)
        self._table[self.codes] = np.arange(len(codes))
        self.knows_newline = 10 in self.codes

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of_bytes(cls) -> Vocabulary:
        """All 256 bytes: it can read any file."""
        return cls(np.arange(256), "byte")

    @property
    def start(self) -> int:
        """The symbol that is read before a text: the newline, or the first symbol without one."""
        return int(self.lookup(np.array([10]))[0]) if self.knows_newline else 0

    def lookup(self, codes: ndarray) -> ndarray:
        """The id of each code; V for an unknown one."""
        found: ndarray = self._table.take(codes, mode="clip")  # the last entry is unknown
        return found

    def unknown(self, codes: ndarray) -> int:
        """How many of ``codes`` have no id."""
        return int(np.count_nonzero(self.lookup(codes) >= len(self)))

    def encode(self, codes: ndarray, skip_unknown: bool = False) -> ndarray:
        """The ids of ``codes``.

        Unknown ones are replaced if the vocabulary does that, or left out with ``skip_unknown``;
        otherwise a CorpusError names them.
        """
        ids = self.lookup(codes)
        known = ids < len(self)
        if not known.all():
            if self.replaces:
                ids[~known] = self.lookup(np.array([REPLACEMENT]))
            elif skip_unknown:
                ids = ids[known]
            else:
                raise CorpusError(f"{self.unknown_message(codes)}; {self.remedy(codes)}")
        return ids.astype(self.dtype)

    def unknown_message(self, codes: ndarray) -> str:
        """The message that names the unknown ones of ``codes``, the most common first."""
        number, kinds, named = self._named_unknown(codes)
        are = "is" if number == 1 else "are"
        return (f"{count(number, 'character')}{kinds} {are} not among the {len(self):,} that "
                f"the model knows: {named}")

    def _named_unknown(self, codes: ndarray) -> tuple[int, str, str]:
        """How many of ``codes`` are unknown, how many of those are distinct, and their names."""
        unknown = np.asarray(codes)[self.lookup(codes) >= len(self)]
        distinct, counts = np.unique(unknown, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        named = ", ".join(describe(int(code)) for code in distinct[order[:5]])
        more = f" and {len(distinct) - 5} more" if len(distinct) > 5 else ""
        kinds = f" ({len(distinct):,} distinct)" if len(distinct) < len(unknown) else ""
        return len(unknown), kinds, named + more

    def left_out_note(self, text: str) -> str:
        """The note on the characters of a prime that ``encode_text`` skips or replaces; or ""."""
        if self.level == "byte":
            return ""
        codes = code_points(text, "surrogatepass")
        number, kinds, named = self._named_unknown(codes)
        if not number:
            return ""
        form = self._form_remedy(codes)
        return (f"{count(number, 'unknown character')}{kinds} of the prime "
                f"{'was' if number == 1 else 'were'} "
                f"{'read as U+FFFD' if self.replaces else 'skipped'}: {named}{form and '; '}{form}")

    def remedy(self, codes: ndarray) -> str:
        """What to do if some of ``codes`` are unknown."""
        skip, form = "skip unknown characters with --unknown skip", self.known_form(codes)
        if form is None:
            return skip
        rest = f", and {skip}" if self.unknown(_normalized(codes, form)) else ""
        return self._form_remedy(codes) + rest

    def _form_remedy(self, codes: ndarray) -> str:
        """How to convert a text of ``codes`` to the form that is known; empty if there is none."""
        form = self.known_form(codes)
        if form is None:
            return ""
        other: Form = "NFD" if form == "NFC" else "NFC"
        how = "decomposed" if form == "NFC" else "composed"  # letters with accents, and Hangul
        normal = np.array_equal(codes, _normalized(codes, other))
        given = f"in {other} ({how} characters)" if normal else f"not in {form}"
        return (f"the text is {given}, but the model knows its characters in {form}: convert it, "
                f"for example with uconv -x any-{form.lower()} or Python's "
                f"unicodedata.normalize({form!r}, text)")

    def known_form(self, codes: ndarray) -> Form | None:
        """The Unicode normal form, NFC or NFD, in which ``codes`` have the fewest unknown
        characters; None if neither has fewer than ``codes`` themselves."""
        if self.level == "byte":
            return None
        unknown = {form: self.unknown(_normalized(codes, form)) for form in FORMS}
        best = min(FORMS, key=lambda form: unknown[form])
        return best if unknown[best] < self.unknown(codes) else None

    def encode_text(self, text: str | bytes, skip_unknown: bool = False) -> ndarray:
        """``encode`` for a string; at byte level, for its UTF-8 bytes or for bytes."""
        errors = "surrogateescape" if self.level == "byte" else "strict"
        try:
            raw = text.encode("utf-8", errors) if isinstance(text, str) else text
        except UnicodeEncodeError as error:
            raise CorpusError(f"character {error.start + 1:,} is half of a surrogate pair, which "
                              "UTF-8 cannot encode") from None
        if self.level == "byte":
            return self.encode(np.frombuffer(raw, np.uint8), skip_unknown)
        assert isinstance(text, str)
        return self.encode(code_points(text, "surrogatepass"), skip_unknown)

    def decode(self, ids: ndarray) -> str | bytes:
        """The text of ``ids``: a string, or bytes at byte level."""
        if self.level == "byte":
            return np.asarray(ids, np.uint8).tobytes()
        text: str = self.codes[ids].astype("<u4").tobytes().decode("utf-32-le")
        return text


def _normalized(codes: ndarray, form: Form) -> ndarray:
    """The code points of a text in a Unicode normal form."""
    import unicodedata  # needed only for an unknown character

    text = np.asarray(codes, "<u4").tobytes().decode("utf-32-le", "surrogatepass")
    return code_points(unicodedata.normalize(form, text), "surrogatepass")


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
