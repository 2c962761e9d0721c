"""Vocabularies: every text survives encoding, and errors name unknown characters."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from examples import a_vocabulary
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.text.vocabulary import CODE_POINTS, Vocabulary, code_points, smallest_dtype


@given(st.text(), st.text())
@example("\0", "")
@example("\ufeffabc", "")
@example("e\u0301 é", "")
@example("\U0001f600\U0010ffff", "a")
@example("abc", "\xff")
@example("abc", "\U0010ffff")
@example("\x7f", "\x80")
def test_any_text_survives_encoding_and_decoding_with_any_larger_vocabulary(text, more):
    known = a_vocabulary(text + more)
    ids = known.encode_text(text)
    assert known.decode(ids) == text
    assert len(ids) == len(text)
    assert ids.dtype == known.dtype


@pytest.mark.parametrize("largest", [126, 127, 128, 254, 255, 256, 65535, 65536, CODE_POINTS - 1])
def test_ascii_is_known_to_a_vocabulary_of_any_alphabet(largest):
    known = a_vocabulary("\nab" + chr(largest))
    assert known.encode_text("ab\n").tolist() == [1, 2, 0]
    assert known.encode_text(chr(largest)).tolist() == [3]


def test_ids_follow_the_code_points():
    known = a_vocabulary("z\U0001f600é\nA")
    assert [chr(code) for code in known.codes] == ["\n", "A", "z", "é", "\U0001f600"]
    assert known.encode_text("\U0001f600é\nzA").tolist() == [4, 3, 0, 2, 1]


@given(st.text())
def test_code_points_are_those_of_the_characters(text):
    assert code_points(text).tolist() == [ord(character) for character in text]


def test_unknown_characters_are_named_with_their_code_points_the_most_common_first():
    with pytest.raises(CorpusError) as caught:
        a_vocabulary("ab").encode_text("aqbé\U0001f600ééqb\u00a0")
    message = str(caught.value)
    assert message.startswith("7 characters (4 distinct) are not among the 2 ")
    places = [message.index(code) for code in ("U+00E9", "U+0071", "U+00A0", "U+1F600")]
    assert places == sorted(places)
    assert "'q' (U+0071)" in message
    assert "--unknown skip" in message


def test_a_single_unknown_character_is_in_the_singular():
    with pytest.raises(CorpusError, match=r"^1 character is not among the 2 .*: 'q' \(U\+0071\);"):
        a_vocabulary("ab").encode_text("aqb")


@pytest.mark.parametrize(("known", "given"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_the_error_names_the_normal_forms_of_the_text_and_of_the_model(known, given):
    text = "Käse, naïve, 한글\n"
    vocabulary = a_vocabulary(unicodedata.normalize(known, text))
    codes = code_points(unicodedata.normalize(given, text))
    assert vocabulary.known_form(codes) == known
    with pytest.raises(CorpusError) as caught:
        vocabulary.encode(codes)
    message = str(caught.value)
    assert f"the text is in {given} (" in message and "accents" not in message
    assert f"in {known}: convert it" in message
    assert f"uconv -x any-{known.lower()}" in message and "\n" not in message
    assert "--unknown skip" not in message
    more = code_points(unicodedata.normalize(given, text + "☃"))
    assert vocabulary.known_form(more) == known, "one more is unknown in any form"
    assert vocabulary.remedy(more).endswith("), and skip unknown characters with --unknown skip")
    assert vocabulary.known_form(code_points("☃ and 雪")) is None


def test_skipped_or_replaced_characters_of_a_prime_are_named():
    known = a_vocabulary("ab")
    assert known.left_out_note("abba") == ""
    assert known.left_out_note("a€b") == (
        "1 unknown character of the prime was skipped: '€' (U+20AC)")
    assert known.left_out_note("☃a€€") == (
        "3 unknown characters (2 distinct) of the prime were skipped: '€' (U+20AC), '☃' (U+2603)")
    replacing = Vocabulary(code_points("ab\ufffd"), "char", replaces=True)
    assert "was read as U+FFFD: '€'" in replacing.left_out_note("€")
    assert Vocabulary.of_bytes().left_out_note("€") == ""


def test_the_note_on_skipped_characters_names_the_normal_form_that_is_known():
    note = a_vocabulary("h\u00e9").left_out_note("he\u0301")
    assert "; the text is in NFD (decomposed characters), but the model knows" in note
    assert "any-nfc" in note and "--unknown" not in note


def test_a_text_in_neither_form_is_not_reported_to_be_in_one():
    remedy = a_vocabulary("\u00c5ngstr\u00f6m").remedy(code_points("\u212bngstr\u00f6m"))
    assert remedy.startswith("the text is not in NFC, but the model knows its characters in NFC")


@given(st.text("aäA\u0308é\u0301e\u1e69\u0323s\u0307", max_size=8), st.text("aäe", max_size=4))
def test_a_form_is_named_only_where_fewer_characters_would_be_unknown(text, known):
    vocabulary = a_vocabulary("\n" + known)
    form = vocabulary.known_form(code_points(text))
    unknown = {name: vocabulary.unknown(code_points(unicodedata.normalize(name, text)))
               for name in ("NFC", "NFD")}
    least, now = min(unknown.values()), vocabulary.unknown(code_points(text))
    assert unknown[form] == least < now if form else least >= now


def test_bytes_have_no_normal_form():
    assert Vocabulary.of_bytes().known_form(np.arange(256)) is None


def test_of_many_unknown_characters_five_are_named():
    with pytest.raises(CorpusError, match=r"^7 characters are not .* and 2 more") as caught:
        a_vocabulary("a").encode_text("bcdefgh")
    assert str(caught.value).count("U+") == 5


def test_unknown_characters_are_skipped_on_request():
    known = a_vocabulary("ab")
    assert known.encode_text("xayb\U0001f600\0", skip_unknown=True).tolist() == [0, 1]
    assert known.encode_text("\0", skip_unknown=True).tolist() == []


@pytest.mark.parametrize("dtype", [np.uint32, np.int64])
def test_no_other_code_point_is_taken_for_a_known_one(dtype):
    known = a_vocabulary("bdf")
    ids = known.lookup(np.arange(CODE_POINTS, dtype=dtype))
    assert np.flatnonzero(ids != 3).tolist() == [98, 100, 102]
    assert ids[[98, 100, 102]].tolist() == [0, 1, 2]


def test_an_argument_that_is_not_utf_8_is_refused():
    with pytest.raises(CorpusError, match="character 2 is half of a surrogate pair"):
        a_vocabulary("ab").encode_text(b"a\xff".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(("text", "start"), [("\n", 0), ("a\n\t", 1), ("ba", 0), ("", 0)])
def test_a_text_starts_after_a_newline_or_the_first_symbol_without_one(text, start):
    assert a_vocabulary(text).start == start


def test_bytes_start_after_a_newline():
    assert Vocabulary.of_bytes().start == 10


@given(st.binary())
@example(bytes(range(256)))
def test_any_bytes_survive(data):
    known = Vocabulary.of_bytes()
    ids = known.encode_text(data)
    assert len(known) == 256
    assert ids.dtype == np.uint8
    assert ids.tolist() == list(data)
    assert known.decode(ids) == data


def test_at_byte_level_a_string_means_its_utf_8_bytes():
    known = Vocabulary.of_bytes()
    assert known.decode(known.encode_text("é\U0001f600")) == "é\U0001f600".encode()
    argument = b"a\xffb".decode("utf-8", "surrogateescape")
    assert known.decode(known.encode_text(argument)) == b"a\xffb"


@pytest.mark.parametrize(
    ("size", "dtype"),
    [(0, np.uint8), (256, np.uint8), (257, np.uint16), (2**16, np.uint16), (2**16 + 1, np.uint32)],
)
def test_ids_have_the_smallest_type_with_room_for_all(size, dtype):
    assert smallest_dtype(size) == dtype
    known = Vocabulary(np.arange(size), "char")
    assert known.dtype == dtype
    assert known.encode(np.arange(size)).dtype == dtype
    assert np.array_equal(known.encode(np.arange(size)), np.arange(size))
