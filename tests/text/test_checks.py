"""Notes on what a user may not expect in a text, with numbers."""

from __future__ import annotations

import pytest

from charrnn.text import corpus
from charrnn.text.checks import text_warnings
from charrnn.text.corpus import TextOptions


@pytest.fixture
def read(tmp_path):
    """Read bytes from a file."""
    def read(data, level="char"):
        (tmp_path / "text.txt").write_bytes(data)
        return corpus.read([str(tmp_path / "text.txt")], TextOptions(level, "utf-8"))

    return read


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("a\nb\n", []),
        ("a\tb\n", []),
        ("", ["no newlines"]),
        ("ab", ["no newlines"]),
        ("a\r\nb\r\n", ["CRLF newlines"]),
        ("a\r\nb\r\nc\nd\re\n\rf", ["2 LF, 2 CRLF, 2 CR"]),
        ("a\r\nb\nc", ["1 LF, 1 CRLF, 0 CR"]),
        ("a\rb\r", ["2 CR newlines and no LF"]),
        ("a\rb", ["1 CR newline and no LF"]),
        ("\ufeffa\n", ["a byte order mark at the beginning, which --encoding utf-8-sig drops"]),
        ("a\ufeff\n", ["a byte order mark (U+FEFF) inside"]),
        ("a\0b\0\n", ["2 control characters, such as U+0000"]),
        ("\x1b\x7f\x85\n", ["3 control characters, such as U+001B"]),
        ("\ufffda\ufffd\ufffd\n", ["3 replacement characters (U+FFFD)"]),
        ("a\ufffd\n", ["1 replacement character (U+FFFD)"]),
    ],
)
def test_warnings_about_a_text_contain_the_numbers(read, text, notes):
    found = read(text.encode())
    assert len(found.notes) == len(notes)
    for note, words in zip(found.notes, notes, strict=True):
        assert words in note
    for size in (1, 2, 3):
        chunks = [found.ids[at : at + size] for at in range(0, len(found), size)]
        assert text_warnings(lambda chunks=chunks: chunks, found.vocabulary, utf8=True) == (
                found.notes)


@pytest.mark.parametrize(("data", "errors", "notes"), [
    (b"a\xff\xff\n", "replace", []),
    (b"a\xff\xef\xbf\xbd\n", "replace", ["1 replacement character"]),
    (b"a\xff\xef\xbf\xbd\n", "skip", ["1 replacement character"]),
])
def test_what_was_replaced_while_reading_is_not_counted_as_part_of_the_text(
    tmp_path, data, errors, notes
):
    (tmp_path / "text.txt").write_bytes(data)
    found = corpus.read([str(tmp_path / "text.txt")], TextOptions("char", "utf-8", errors=errors))
    assert [note[: len(words)] for note, words in zip(found.notes, notes, strict=True)] == notes


def test_bytes_cause_no_warnings(read):
    assert read(b"\0\r\n\r", level="byte").notes == []
