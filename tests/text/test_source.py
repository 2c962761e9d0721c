"""Bytes that cannot be decoded: refused, replaced or skipped, and counted exactly."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.text import cache, corpus, files, reader
from charrnn.text.corpus import TextOptions
from charrnn.text.source import Decoder, Source
from charrnn.text.vocabulary import Vocabulary

ENCODINGS = ("utf-8", "utf-8-sig", "ascii", "cp1252", "utf-16-le", "utf-16-be", "utf-32-le",
             "gb18030", "gbk", "big5", "shift_jis", "euc_jp", "euc_kr", "cp932", "utf-7",
             "iso2022_jp", "iso2022_jp_1", "iso2022_jp_2", "iso2022_kr", "hz")
# What Python's own "replace" writes can be told from U+FFFD in the text where there is none.
BYTES = st.one_of(
    st.binary(max_size=40),
    st.tuples(st.text(max_size=9), st.binary(max_size=4), st.text(max_size=9)).map(
        lambda parts: parts[0].encode() + parts[1] + parts[2].encode()),
    st.lists(st.sampled_from([b"a", b"\n", b"\x82", b"\xa0", b"\xe2\x82", b"\xac", b"\xff", b"\xf0",
                              b"\x9f", b"\x81", b"\x30", b"\x84\x31", b"\xd8\0", b"\0\xdc", b"+",
                              b"2AA-", b"\x1b", b"\x1b$", b"\x1b$B", b"\x1b(B", b"$)C", b"\x0e",
                              b"\x0f", b"~{", b"~}"]), max_size=20).map(b"".join),
)


def decode(data, encoding, errors, chunk):
    """The text, and how many sequences of it could not be decoded."""
    decoder = Decoder(encoding, errors)
    parts = [decoder.decode(data[at : at + chunk], False) for at in range(0, len(data), chunk)]
    parts.append(decoder.decode(b"", True))
    codes = np.concatenate([part.astype("<u4") for part in parts])
    return codes.tobytes().decode("utf-32-le"), decoder.undecodable


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(BYTES, st.integers(1, 9))
@example(b"ab\xe2\x82", 3)
@example(b"\xed\xa0\x80", 1)
@example(b"\xef\xbb", 1)
@example(b"\xef", 2)
@example(b"+A", 1)
@example(b"\xef\xbf\xbd\xff\xef\xbf\xbd", 2)
@example(b"abc\x1b$abcdefghijklmnopqrstuv", 9)
@example(b'~{\x1b$$"~{\x1b$$"~}\x1b$\x0eabcdefghijklmnop', 7)
@example(b"\x1b$\x1b$\x1b$\x1b$\x1b$\x1b$\x1b$", 9)
def test_text_and_count_do_not_depend_on_where_chunks_end(encoding, data, chunk):
    found, count = decode(data, encoding, "replace", chunk)
    assert (found, count) == decode(data, encoding, "replace", 1000)
    skipped = decode(data, encoding, "skip", chunk)
    assert skipped == decode(data, encoding, "skip", 1000)
    assert skipped[1] == count
    assert len(skipped[0]) == len(found) - count, "one U+FFFD for each"
    try:
        strict = data.decode(encoding)
        strict.encode("utf-8")
    except UnicodeError:
        assert count > 0
    else:
        assert (found, count) == (strict, 0)


@given(BYTES, st.integers(1, 9))
@example(b"\xef\xbf\xbd\xff\xef\xbf\xbd", 2)
def test_utf_8_is_replaced_as_python_does_it(data, chunk):
    expected = data.decode("utf-8", "replace")
    genuine = data.decode("utf-8", "ignore").count("\ufffd")
    assert decode(data, "utf-8", "replace", chunk) == (expected, expected.count("\ufffd") - genuine)
    assert decode(data, "utf-8", "skip", chunk)[0] == data.decode("utf-8", "ignore")


def test_a_lone_surrogate_is_not_a_character():
    assert decode(b"a+2AA-b", "utf-7", "replace", 1) == ("a\ufffdb", 1)
    assert decode(b"a+2AA-b", "utf-7", "skip", 99) == ("ab", 1)


PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
DATA = b"caf\xe9 \xef\xbf\xbd \xff\xfe n\xc3\xa9\n" * 50  # 3 of 4 are not UTF-8
REPLACED = DATA.decode("utf-8", "replace")
SKIPPED = DATA.decode("utf-8", "ignore")


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize(("errors", "text"), [("replace", REPLACED), ("skip", SKIPPED)])
@pytest.mark.parametrize("chunk", [1, 7, files.CHUNK])
def test_every_kind_of_file_is_decoded_in_the_same_way(
    tmp_path, monkeypatch, ending, errors, text, chunk
):
    monkeypatch.setattr(files, "CHUNK", chunk)
    (tmp_path / f"a{ending}").write_bytes(PACK[ending](DATA))
    (tmp_path / f"b{ending}").write_bytes(PACK[ending](b"plain\n"))
    paths = [str(tmp_path / f"{name}{ending}") for name in "aba"]
    found = corpus.read(paths, TextOptions("char", "utf8", errors=errors))
    assert found.vocabulary.decode(found.ids) == text + "plain\n" + text
    assert found.undecodable == 300
    assert found.digest == hashlib.sha256(DATA + b"plain\n" + DATA).hexdigest(), "of the bytes"
    assert found.begins == [len(text), len(text) + 6]
    known = found.vocabulary
    again = reader.read(paths, known, "utf-8", errors=errors)
    np.testing.assert_array_equal(again.ids, found.ids)
    assert again.undecodable == 300
    stream = reader.TextStream(paths, known, "utf-8", errors=errors)
    lines = list(stream.lines())
    assert "".join(f"{line}\n" for line, _, _ in lines) == text + "plain\n" + text
    assert stream.undecodable == 300
    what = {"replace": "replaced by U+FFFD", "skip": "skipped"}[errors]
    assert stream.notes == [f"300 undecodable byte sequences were {what}"]
    folder = corpus.read([str(tmp_path)], TextOptions("char", "utf8", errors=errors))
    assert (folder.undecodable, len(folder)) == (150, len(text) + 6)


def test_standard_input_is_decoded_in_the_same_way(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(DATA), "ascii"))
    assert corpus.read(["-"], TextOptions("char", "utf-8", errors="skip")).undecodable == 150


def test_a_chunk_that_is_skipped_completely_does_not_end_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "CHUNK", 2)
    (tmp_path / "a").write_bytes(b"ab\xff\xff\xff\xffcd")
    chunks = list(Source([str(tmp_path / "a")], "char", "utf-8", "skip"))
    assert [len(chunk) for chunk in chunks] == [2, 2, 0]


def test_bytes_are_not_decoded_and_so_not_counted(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    source = Source([str(tmp_path / "a")], "byte", "utf-8", "replace")
    assert b"".join(chunk.tobytes() for chunk in source) == DATA
    assert source.undecodable == 0


@pytest.mark.parametrize(("encoding", "data"), [("utf-8", b"ab\xff"), ("utf-16", b"no mark")])
def test_refused_files_are_named(tmp_path, encoding, data):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(CorpusError, match=r"/a(: byte 2 \(0xFF\))? is not " + encoding):
        list(Source([str(tmp_path / "a")], "char", encoding))


def test_utf_16_without_a_byte_order_mark_is_refused_with_replace_too(tmp_path):
    (tmp_path / "a").write_bytes(b"no mark at all")
    with pytest.raises(CorpusError, match="byte order with --encoding utf-16-le or utf-16-be"):
        list(Source([str(tmp_path / "a")], "char", "utf-16", "replace"))


@pytest.mark.parametrize("chunk", [3, 9, 13, 14, files.CHUNK])
def test_an_incomplete_escape_sequence_is_named_wherever_the_chunks_end(
    tmp_path, monkeypatch, chunk
):
    monkeypatch.setattr(files, "CHUNK", chunk)
    (tmp_path / "a").write_bytes(b"abc\x1b$abcdefghijklmnopqrstuv")
    with pytest.raises(CorpusError, match=r"/a: byte 3 \(0x1B\) is not iso2022_jp"):
        list(Source([str(tmp_path / "a")], "char", "iso2022_jp"))


@pytest.fixture
def small(monkeypatch):
    """Limits so low that short texts are large."""
    monkeypatch.setattr(cache, "LIMIT", 300)
    monkeypatch.setattr(cache, "SETTLED", -1)


def large(path, folder, encoding="utf-8", errors="strict"):
    return corpus.read([str(path)], TextOptions("char", encoding, folder=folder, errors=errors))


def test_the_cache_distinguishes_errors_settings_and_keeps_the_count(small, tmp_path):
    path, folder = tmp_path / "text.txt", tmp_path / "cache"
    path.write_bytes(DATA * 4)
    made = {errors: large(path, folder, errors=errors) for errors in ("replace", "skip")}
    assert len(list(folder.iterdir())) == 2
    for errors, text in {"replace": REPLACED, "skip": SKIPPED}.items():
        for found in (made[errors], large(path, folder, errors=errors),
                      reader.read([str(path)], made[errors].vocabulary, "utf-8", folder=folder,
                                  errors=errors)):
            assert not found.in_memory
            assert found.vocabulary.decode(found.ids) == text * 4
            assert found.undecodable == 600
            assert found.ids.filename == made[errors].ids.filename
    with pytest.raises(CorpusError, match="is not utf-8"):
        large(path, folder)


def test_the_cache_is_found_by_every_name_of_an_encoding(small, tmp_path, monkeypatch):
    path, folder = tmp_path / "text.txt", tmp_path / "cache"
    path.write_bytes(b"\xe9t\xe9\n" * 100)
    made = large(path, folder, "latin-1")
    for name in ("latin1", "ISO-8859-1", "L1"):
        assert large(path, folder, name).ids.filename == made.ids.filename
    assert len(list(folder.iterdir())) == 1


def test_a_cache_without_an_errors_setting_is_found_as_strict(
    small, tmp_path, monkeypatch
):
    path, folder = tmp_path / "text.txt", tmp_path / "cache"
    path.write_text("\u00e9t\u00e9\n" * 100)
    real = corpus.Store.finish

    def finish(self, facts):
        key = {**facts["key"], "encoding": "UTF8"}
        del key["errors"], facts["undecodable"]
        return real(self, {**facts, "key": key})

    monkeypatch.setattr(corpus.Store, "finish", finish)
    made = large(path, folder)
    monkeypatch.setattr(corpus.Store, "finish", real)
    found = large(path, folder)
    assert (found.ids.filename, found.undecodable) == (made.ids.filename, 0)
    assert len(list(folder.iterdir())) == 1
    assert large(path, folder, errors="replace").ids.filename != made.ids.filename


def test_u_fffd_that_a_model_does_not_know_is_named_like_any_other(tmp_path):
    (tmp_path / "a").write_bytes(b"ab\xffa")
    known = Vocabulary(np.array([97, 98]), "char")
    with pytest.raises(CorpusError, match=r"character 3, '\ufffd' \(U\+FFFD\), is not among the 2"):
        reader.read([str(tmp_path / "a")], known, "utf-8", errors="replace")
