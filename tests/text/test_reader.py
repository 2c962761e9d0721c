"""Texts read with a given vocabulary, whole or line by line; unknown characters are counted."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from examples import a_vocabulary
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import CorpusError, UsageError
from charrnn.text import files, reader
from charrnn.text.vocabulary import Vocabulary

CHUNKS = st.integers(1, 9)
ENCODINGS = st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "utf-7", "gb18030"])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("reader") / "text.txt"


def decoded(text):
    return text.vocabulary.decode(text.ids)


@pytest.mark.parametrize("name", ["missing.txt", "folder", "file/inside.txt"])
def test_a_file_that_cannot_be_opened_is_a_usage_error(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    known = Vocabulary.of_bytes()
    for read in (
        lambda path: reader.read([path], known, "utf-8"),
        lambda path: list(reader.TextStream([path], known, "utf-8").lines()),
    ):
        with pytest.raises(UsageError, match=name) as caught:
            read(str(tmp_path / name))
        assert caught.value.exit_code == 2


@given(st.text(max_size=20), st.text(max_size=20), CHUNKS, ENCODINGS)
@example("abc", "é\U0001f600", 1, "utf-8")
def test_a_text_is_read_with_a_given_vocabulary(path, text, more, chunk, encoding):
    known = a_vocabulary(text + more)
    path.write_bytes(text.encode(encoding))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK", chunk)
        found = reader.read([str(path)], known, encoding)
    assert found.vocabulary is known
    assert decoded(found) == text
    assert found.ids.dtype == known.dtype
    assert found.digest == hashlib.sha256(text.encode(encoding)).hexdigest()


def test_unknown_characters_are_refused_or_skipped_and_counted(path):
    path.write_text("abxbay")
    known = a_vocabulary("ab")
    with pytest.raises(CorpusError, match=r"text.txt: character 3, 'x' \(U\+0078\), is not "):
        reader.read([str(path)], known, "utf-8")
    found = reader.read([str(path)], known, "utf-8", skip_unknown=True)
    assert decoded(found) == "abba"
    assert found.unknown == 2


@pytest.mark.parametrize("size", [2, 255, 256, 257])
def test_unknown_characters_can_be_kept_as_an_id_that_is_not_a_symbol(path, size):
    known = a_vocabulary("".join(chr(0x100 + i) for i in range(size)))
    text = "\u0100x\u0101\u2603"
    path.write_text(text, encoding="utf-8")
    found = reader.read([str(path)], known, "utf-8", mark_unknown=True)
    assert found.ids.tolist() == [0, size, 1, size]
    assert found.unknown == 2
    replacing = Vocabulary(np.array([0x100, 0x101, 0xFFFD]), "char", replaces=True)
    found = reader.read([str(path)], replacing, "utf-8", mark_unknown=True)
    assert decoded(found) == "\u0100\ufffd\u0101\ufffd", "as the model reads it"
    found = reader.read([str(path)], Vocabulary.of_bytes(), "utf-8", mark_unknown=True)
    assert (found.ids.dtype, decoded(found)) == (np.uint8, text.encode())


@given(st.lists(st.text("abx", max_size=9), min_size=1, max_size=4), CHUNKS)
@example(["axxb", "x", "", "b"], 1)
def test_only_the_end_of_a_file_is_an_empty_chunk(tmp_path_factory, texts, chunk):
    folder, known = tmp_path_factory.getbasetemp(), a_vocabulary("ab")
    paths = []
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text)
        paths.append(str(folder / f"{number}.txt"))
    kept = [text.replace("x", "") for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK", chunk)
        chunks = list(reader.TextStream(paths, known, "utf-8", skip_unknown=True))
        found = reader.read(paths, known, "utf-8", skip_unknown=True)
    assert [len(each) for each in chunks].count(0) == len(texts)
    documents, begin = [], 0
    for end in [i for i, each in enumerate(chunks) if len(each) == 0]:
        documents.append("".join(map(known.decode, chunks[begin:end])))
        begin = end + 1
    assert documents == kept
    ends = [0, *found.begins, len(found.ids)]
    assert [known.decode(found.ids[a:b]) for a, b in itertools.pairwise(ends)] == kept


def lines(path, data, known, chunk=files.CHUNK, skip_unknown=False, encoding="utf-8"):
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK", chunk)
        found = list(reader.TextStream([str(path)], known, encoding, skip_unknown).lines())
    return [(line, ids.tolist(), unknown) for line, ids, unknown in found]


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_lines_come_without_their_newline_and_symbols_with_it(path, chunk):
    known = a_vocabulary("\nabé")  # 0, 1, 2, 3
    assert lines(path, "ab\n\né\r".encode(), known, chunk, skip_unknown=True) == [
        ("ab", [1, 2, 0], 0), ("", [0], 0), ("é\r", [3], 1)
    ]
    assert lines(path, b"a\n", known, chunk) == [("a", [1, 0], 0)]
    assert lines(path, b"\n", known, chunk) == [("", [0], 0)]
    assert lines(path, b"", known, chunk) == []


@pytest.mark.parametrize("chunk", [1, 100])
def test_a_newline_outside_the_vocabulary_is_not_a_symbol_of_a_line(path, chunk):
    assert lines(path, b"ab\n\nb", a_vocabulary("ab"), chunk) == [
        ("ab", [0, 1], 0), ("", [], 0), ("b", [1], 0)
    ]


def test_lines_of_bytes_are_bytes(path):
    assert lines(path, b"a\xff\n\0", Vocabulary.of_bytes(), 1) == [
        (b"a\xff", [97, 255, 10], 0), (b"\0", [0], 0)
    ]


def test_an_unknown_character_of_a_line_is_shown_but_is_not_a_symbol(path):
    known = a_vocabulary("\nab")
    assert lines(path, b"axb\n", known, skip_unknown=True) == [("axb", [1, 2, 0], 1)]
    with pytest.raises(CorpusError, match=r"U\+0078"):
        lines(path, b"axb\n", known)


@given(st.text("ab\n\r\u2028é\U0001f600"), CHUNKS)
def test_the_lines_together_are_the_text(path, text, chunk):
    known = a_vocabulary("\n" + text)
    found = lines(path, text.encode(), known, chunk)
    assert "\n".join(line for line, _, _ in found) == text.removesuffix("\n")
    assert [i for _, ids, _ in found for i in ids] == known.encode_text(text).tolist()


def test_a_line_ends_where_its_file_does(tmp_path):
    (tmp_path / "a").write_text("ab\nc")
    (tmp_path / "b").write_text("d\n")
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    found = reader.TextStream(paths, a_vocabulary("\nabcd"), "utf-8").lines()
    assert [line for line, _, _ in found] == ["ab", "c", "d"]


def test_batches_of_lines_have_all_lines_and_those_before_an_error(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    path.write_text("a\nbb\n\na\nb", encoding="utf-8")
    monkeypatch.setattr(files, "CHUNK", 3)

    def batches(known="ab\n"):
        found = reader.TextStream([str(path)], a_vocabulary(known), "utf-8").line_batches(2)
        return ([line for line, _, _ in batch] for batch in found)

    assert list(batches()) == [["a", "bb"], ["", "a"], ["b"]], "chunks of a file do not matter"
    monkeypatch.setattr(reader.os.path, "isfile", lambda path: False)
    assert list(batches()) == [["a"], ["bb", ""], ["a"], ["b"]], "a pipe's lines as they arrive"
    path.write_text("a\nb\na\nc\n", encoding="utf-8")
    found = batches()
    assert [next(found), next(found)] == [["a"], ["b", "a"]]
    with pytest.raises(CorpusError, match="line 4"):
        next(found)
