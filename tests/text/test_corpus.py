"""Texts are read unchanged, with their vocabulary, or refused with the offset of the byte."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import threading

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError, CorpusError, UsageError
from charrnn.text import corpus, files
from charrnn.text.corpus import TextOptions
from charrnn.text.kinds import kind_of, marked_encoding

UTF8 = TextOptions("char", "utf-8")
CHUNKS = st.integers(1, 9)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("corpus") / "text.txt"


@pytest.fixture(scope="module")
def read(path):
    """Read bytes from a file, ``chunk`` at a time."""

    def read(data, chunk=files.CHUNK, level="char", encoding="utf-8"):
        path.write_bytes(data)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "CHUNK", chunk)
            return corpus.read([str(path)], TextOptions(level, encoding))

    return read


def decoded(text):
    return text.vocabulary.decode(text.ids)


ENCODINGS = st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "utf-7", "gb18030"])


@given(st.text(), CHUNKS, ENCODINGS)
@example("é\U0001f600e\u0301\0\ufeff\r\n", 1, "utf-8")
@example("é\U0001f600e\u0301\0\ufeff\r\n", 1, "utf-16")
@example("é\U0001f600e\u0301\0\ufeff\r\n", 3, "utf-16")
@example("\ufeffa", 2, "utf-8")
def test_a_text_is_read_as_it_is_wherever_the_chunks_end(read, text, chunk, encoding):
    data = text.encode(encoding)
    found = read(data, chunk, encoding=encoding)
    assert decoded(found) == text
    assert [chr(code) for code in found.vocabulary.codes] == sorted(set(text))
    assert found.digest == hashlib.sha256(data).hexdigest()
    assert found.ids.dtype == found.vocabulary.dtype
    assert len(found) == len(text)
    assert found.unknown == 0
    assert found.name == "text.txt"


@given(st.binary(), CHUNKS)
@example(bytes(range(256)) * 2, 7)
def test_any_bytes_are_read_as_they_are_at_byte_level(read, data, chunk):
    found = read(data, chunk, "byte", "utf-8")
    assert decoded(found) == data
    assert found.ids.dtype == np.uint8
    assert len(found.vocabulary) == 256
    assert found.digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("size", "dtype"), [(256, np.uint8), (257, np.uint16), (2**16 + 1, np.uint32)]
)
@pytest.mark.parametrize("chunk", [100, 2**15, files.CHUNK])
def test_the_type_of_the_ids_widens_without_loss(read, size, dtype, chunk):
    alphabet = "".join(map(chr, range(0x10000, 0x10000 + size)))
    text = alphabet[::-1] + alphabet[:5] + alphabet[-5:]
    found = read(text.encode(), max(chunk, 4 * size // 50))
    assert found.ids.dtype == dtype
    assert found.ids[:3].tolist() == [size - 1, size - 2, size - 3]
    assert found.ids[-10:].tolist() == [0, 1, 2, 3, 4, *range(size - 5, size)]
    assert decoded(found) == text


def test_files_are_one_text_in_the_order_given(tmp_path):
    (tmp_path / "a").write_text("xé\n")
    (tmp_path / "b").write_text("ba")
    paths = [str(tmp_path / name) for name in "bab"]
    found = corpus.read(paths, UTF8)
    assert decoded(found) == "baxé\nba"
    assert found.digest == hashlib.sha256("baxé\nba".encode()).hexdigest()
    assert found.name == "b and 2 more"
    assert corpus.read(paths[:2], UTF8).digest != corpus.read(paths[1::-1], UTF8).digest


def test_a_character_does_not_continue_in_the_next_file(tmp_path):
    (tmp_path / "a").write_bytes(b"ab\xe2\x82")
    (tmp_path / "b").write_bytes(b"\xac")
    with pytest.raises(CorpusError, match=r"a: byte 2 \(0xE2\)"):
        corpus.read([str(tmp_path / "a"), str(tmp_path / "b")], UTF8)


def test_offsets_are_counted_in_each_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abcdef")
    (tmp_path / "b").write_bytes(b"ab\xff")
    with pytest.raises(CorpusError, match=r"b: byte 2 \(0xFF\)"):
        corpus.read([str(tmp_path / "a"), str(tmp_path / "b")], UTF8)


def test_standard_input_is_a_text(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("hé\r\n".encode()), "ascii"))
    found = corpus.read(["-"], UTF8)
    assert decoded(found) == "hé\r\n"
    assert found.name == "standard input"


def test_errors_in_standard_input_name_it(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab\xff")))
    with pytest.raises(CorpusError, match="standard input: byte 2 "):
        corpus.read(["-"], UTF8)


def test_a_closed_standard_input_is_reported(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CharrnnError, match="standard input"):
        corpus.read(["-"], UTF8)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_a_text(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = ("a line é\n" * 20_000).encode()  # more than a pipe holds
    writer = threading.Thread(target=path.write_bytes, args=[data], daemon=True)
    writer.start()
    found = corpus.read([str(path)], UTF8)
    writer.join(10)
    assert decoded(found) == data.decode()
    assert found.digest == hashlib.sha256(data).hexdigest()


@given(st.one_of(st.binary(), st.tuples(st.text(), st.binary(max_size=4), st.text()).map(
    lambda parts: parts[0].encode() + parts[1] + parts[2].encode())), CHUNKS)
@example(b"abc\xff", 2)
@example(b"abc\xe2\x82d", 4)
@example(b"ab\xe2\x82", 3)
@example(b"\xed\xa0\x80", 1)
@example(b"a\xc0\x80", 2)
def test_bytes_are_refused_exactly_where_they_are_not_utf_8(read, data, chunk):
    assume(kind_of(data) is None and marked_encoding(data) is None)
    try:
        expected = data.decode()
    except UnicodeDecodeError as error:
        at = error.start
    else:
        assert decoded(read(data, chunk)) == expected
        return
    with pytest.raises(CorpusError) as caught:
        read(data, chunk)
    assert f"byte {at:,} (0x{data[at]:02X}) is not utf-8" in str(caught.value)


def test_invalid_utf_8_is_refused_with_file_offset_and_remedy(read, path):
    with pytest.raises(CorpusError) as caught:
        read(b"a" * 4095 + b"\xe9t\xe9", 1024)
    message = str(caught.value)
    assert message.startswith(f"{path}: byte 4,095 (0xE9) is not utf-8")
    assert "--encoding" in message
    assert "--level byte" in message
    assert "\n" not in message
    assert caught.value.exit_code == 1


def test_a_character_cut_off_by_the_end_of_the_file_is_refused(read):
    with pytest.raises(CorpusError, match=r"byte 2 \(0xF0\)"):
        read(b"ab\xf0\x9f\x98")
    with pytest.raises(CorpusError, match=r"byte 6 \(0x63\) is not utf-16"):
        read("ab".encode("utf-16") + b"c", encoding="utf-16")


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("encoding", "data", "at"),
    [
        ("ascii", b"abcde\xe9", 5),
        ("utf-16", b"\xff\xfea\0b\0\0\xd8c\0", 6),
        ("utf-16-be", b"\0a\xdc\0", 2),
        ("utf-8-sig", b"\xef\xbb\xbfabc\xff", 6),
        ("utf-8-sig", b"abc\xff", 3),
        ("shift_jis", b"ab\x82\xa0\x82\x01", 4),
        ("cp1252", b"abc\x81", 3),
        ("utf-32-le", b"a\0\0\0\xff\xff\xff\xff", 4),
    ],
)
def test_the_offset_is_right_in_other_encodings_too(read, encoding, data, at, chunk):
    with pytest.raises(CorpusError, match=rf"byte {at} \(0x{data[at]:02X}\) is not {encoding}"):
        read(data, chunk, encoding=encoding)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_a_text_without_the_byte_order_mark_of_its_encoding_is_refused(read, encoding, chunk):
    with pytest.raises(CorpusError, match=f"{encoding}.*--encoding"):
        read(b"an ASCII text", chunk, encoding=encoding)


@pytest.mark.parametrize("encoding", ["undefined", "idna", "punycode"])
def test_an_encoding_that_cannot_read_a_text_is_refused(read, encoding):
    with pytest.raises(CorpusError):
        read(b"a..b\xff", encoding=encoding)


def test_a_lone_surrogate_is_refused_or_preserved(read):
    data = b"a+2AA-b"
    assert data.decode("utf-7") == "a\ud800b"
    try:
        found = read(data, encoding="utf-7")
    except CorpusError:
        return
    assert decoded(found) == "a\ud800b"


@pytest.mark.parametrize("name", ["missing.txt", "folder", "file/inside.txt"])
def test_a_file_that_cannot_be_opened_is_a_usage_error_that_names_it(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=name) as caught:
        corpus.read([str(tmp_path / name)], UTF8)
    assert caught.value.exit_code == 2


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may read anything")
def test_an_unreadable_file_is_a_usage_error_that_names_it(tmp_path):
    (tmp_path / "secret").touch(0)
    with pytest.raises(UsageError, match="secret"):
        corpus.read([str(tmp_path / "secret")], UTF8)


def test_an_empty_file_is_an_empty_text(read):
    assert len(read(b"")) == 0
