"""Files that are not plain text are recognized by their first bytes, and texts are not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import sqlite3
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.text import corpus, files, kinds
from charrnn.text.corpus import TextOptions

RUSSIAN = "Съешь ещё этих мягких французских булок\n"
PROSE = "Der Käfer fällt über die Öffnung, und niemand hört ihn.\n" * 50


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, "application/epub+zip" if name == "mimetype" else "text " * 50)
    return buffer.getvalue()


def tarred(format=tarfile.GNU_FORMAT, text=b"text\n" * 100):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as file:
        member = tarfile.TarInfo("a.txt")
        member.size = len(text)
        file.addfile(member, io.BytesIO(text))
    return buffer.getvalue()


def old_tar(signed=False):
    """One of before 1988, which has a checksum, of signed or unsigned bytes, and no magic."""
    header = bytearray(tarred()[:512])
    header[:6] = "été".encode().ljust(6, b"x")
    header[257:512] = bytes(255)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % (
        sum(header) - 256 * signed * sum(byte > 127 for byte in header))
    return bytes(header) + b"text\n" * 100


def database(folder):
    with sqlite3.connect(folder / "a.db") as file:
        file.execute("create table t (x)")
    file.close()
    return (folder / "a.db").read_bytes()


def saved():
    buffer = io.BytesIO()
    np.savez(buffer, meta=np.zeros(3))
    return buffer.getvalue()


def array():
    buffer = io.BytesIO()
    np.save(buffer, np.arange(9))
    return buffer.getvalue()


FILES = {
    "docx": (lambda _: zipped("[Content_Types].xml", "word/document.xml"), "pandoc"),
    "odt": (lambda _: zipped("mimetype", "content.xml"), "pandoc"),
    "zip": (lambda _: zipped("a.txt"), "unzip"),
    "zip of texts about documents": (
        lambda _: zipped("a.txt", "word/document.xml", "mimetype"), "unzip"),
    "zip of a folder of words": (lambda _: zipped("word/a.txt"), "unzip"),
    "xlsx": (lambda _: zipped("_rels/.rels", "xl/workbook.xml"), "pandoc"),
    "empty zip": (lambda _: zipped(), "an empty zip archive"),
    "checkpoint": (lambda _: saved(), "checkpoints of charrnn"),
    "pdf": (lambda _: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "pdftotext"),
    "doc": (lambda _: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "in the program"),
    "gnu tar": (lambda _: tarred(), "tar -xf"),
    "posix tar": (lambda _: tarred(tarfile.PAX_FORMAT), "tar -xf"),
    "ustar": (lambda _: tarred(tarfile.USTAR_FORMAT), "tar -xf"),
    "old tar": (lambda _: old_tar(), "tar -xf"),
    "old tar with a signed checksum": (lambda _: old_tar(signed=True), "tar -xf"),
    "empty tar": (lambda _: bytes(10240), "an empty tar archive, or other data"),
    "gzip": (lambda _: gzip.compress(b"text"), "gunzip"),
    "xz": (lambda _: lzma.compress(b"text"), "unxz"),
    "bzip2": (lambda _: bz2.compress(b"text"), "bunzip2"),
    "empty bzip2": (lambda _: bz2.compress(b""), "bunzip2"),
    "zstd": (lambda _: b"\x28\xb5\x2f\xfd\x04\x00text", "zstd -dc < FILE"),
    "sqlite": (database, "sqlite3"),
    "png": (lambda _: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "--level byte"),
    "jpeg": (lambda _: b"\xff\xd8\xff\xe0\0\x10JFIF\0", "--level byte"),
    "rar": (lambda _: b"Rar!\x1a\7\1\0", "unrar"),
    "7z": (lambda _: b"7z\xbc\xaf\x27\x1c\0\4", "7z x"),
    "lz4": (lambda _: b"\4\"M\x18d@\xa7", "lz4 -dc < FILE"),
    "lzma": (lambda _: lzma.compress(b"text", lzma.FORMAT_ALONE), "unlzma"),
    "array": (lambda _: array(), "--level byte"),
    "rtf": (lambda _: b"{\\rtf1\\ansi text}", "pandoc"),
    "elf": (lambda _: b"\x7fELF\x02\x01\x01\0", "--level byte"),
    "utf-16": (lambda _: PROSE.encode("utf-16"), "--encoding utf-16"),
    "utf-16 from another machine": (
        lambda _: b"\xfe\xff" + PROSE.encode("utf-16-be"), "--encoding utf-16"),
    "utf-32": (lambda _: PROSE.encode("utf-32"), "--encoding utf-32"),
    "utf-16 without a mark": (lambda _: b"a text\n".decode().encode("utf-16-le") * 9,
                              "--encoding utf-16-le"),
    "Russian utf-16 without a mark": (lambda _: RUSSIAN.encode("utf-16-be"),
                                      "--encoding utf-16-be"),
}
CONTAINERS = {"docx", "odt", "xlsx", "zip", "zip of texts about documents",
              "zip of a folder of words", "rar", "7z", "lz4", "lzma",
              "empty zip", "checkpoint", "gnu tar", "posix tar", "ustar",
              "old tar", "old tar with a signed checksum", "gzip", "xz", "bzip2",
              "empty bzip2", "zstd"}
ARCHIVES = ("gnu tar", "posix tar", "ustar", "old tar", "old tar with a signed checksum")


def read(path, data, level="char", encoding="utf-8", chunk=files.CHUNK, **options):
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK", chunk)
        return corpus.read([str(path)], TextOptions(level, encoding, **options))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("errors", ["strict", "replace"])
def test_files_that_are_not_text_are_refused_with_the_remedy(tmp_path, name, encoding, errors):
    make, remedy = FILES[name]
    with pytest.raises(CorpusError) as caught:
        read(tmp_path / "text", make(tmp_path), encoding=encoding, errors=errors)
    message = str(caught.value)
    assert message.startswith((f"{tmp_path / 'text'} is ", f"{tmp_path / 'text'} looks like "))
    assert remedy in message
    assert "\n" not in message


@pytest.mark.parametrize("name", FILES)
def test_at_byte_level_anything_is_read_and_containers_are_noted(tmp_path, name):
    data = FILES[name][0](tmp_path)
    found = read(tmp_path / "text", data, "byte")
    assert found.vocabulary.decode(found.ids) == data
    assert len(found.notes) == (name in CONTAINERS)
    for note in found.notes:
        assert note.startswith(f"{tmp_path / 'text'} is ") and "bytes of the file" in note


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("pack", [(".gz", gzip.compress), (".xz", lzma.compress),
                                  (".bz2", bz2.compress)])
def test_a_compressed_tar_archive_is_recognized(tmp_path, name, pack):
    ending, compress = pack
    data = FILES[name][0](tmp_path)
    with pytest.raises(CorpusError, match=r"is a tar archive: unpack it with tar -xf"):
        read(tmp_path / f"text{ending}", compress(data))
    assert len(read(tmp_path / f"text{ending}", compress(data), "byte").notes) == 1


@pytest.mark.parametrize(("name", "compress"), [
    ("a.tgz", gzip.compress), ("a.TXZ", lzma.compress), ("a.tbz2", bz2.compress)])
def test_a_compressed_archive_with_a_short_ending_is_recognized(tmp_path, name, compress):
    with pytest.raises(CorpusError, match="is a tar archive: unpack it with tar -xf"):
        read(tmp_path / name, compress(tarred()))
    assert len(read(tmp_path / name, b"a text\n")) == 7


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("chunk", [1, 100, 257, 511])
def test_an_archive_is_recognized_wherever_the_chunks_end(tmp_path, name, chunk):
    with pytest.raises(CorpusError, match="is a tar archive"):
        read(tmp_path / "text", FILES[name][0](tmp_path), chunk=chunk)


def test_a_second_file_is_recognized_as_well(tmp_path):
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_bytes(tarred())
    with pytest.raises(CorpusError, match="b is a tar archive"):
        corpus.read([str(tmp_path / "a"), str(tmp_path / "b")], TextOptions("char", "utf-8"))


@pytest.mark.parametrize("text", [
    "BZh1 is how bzip2 begins\n", "%PDF-1.4 is how a PDF file begins\n", "%PDF-x.y\n",
    "PK\n", "PDF: %PDF-1.4\n", "ustar" * 200, "SQLite format 3\n",
    " " * 257 + "ustar  and more\n" * 50, "0" * 2000, "\n" * 1000, "7z\n", "",
])
def test_texts_that_mention_such_files_are_texts(tmp_path, text):
    assert len(read(tmp_path / "text", text.encode())) == len(text)


@given(st.text(max_size=600))
def test_text_is_never_taken_for_a_container_unless_it_has_control_characters(text):
    if not any(c < " " and c not in "\n\r\t" for c in text):
        kind = kinds.kind_of(text.encode()[: kinds.HEAD])
        assert kind is None or kinds.PDF.match(text.encode())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_a_named_encoding_is_used_if_it_can_be_right(tmp_path, encoding):
    data = ("\ufeff" * encoding.endswith("e") + PROSE).encode(encoding)
    assert len(read(tmp_path / "text", data, encoding=encoding)) >= len(PROSE)


@pytest.mark.parametrize(("compress", "program"), [
    (gzip.compress, "gunzip"), (lzma.compress, "unxz"), (bz2.compress, "bunzip2")])
def test_the_remedy_for_text_compressed_twice_unpacks_it_twice(tmp_path, compress, program):
    remedy = rf"it was compressed twice: unpack it with gunzip < FILE \| {program} > TEXT$"
    with pytest.raises(CorpusError, match=remedy):
        read(tmp_path / "a.gz", gzip.compress(compress(b"text")))


def test_the_remedy_for_compressed_data_works_whatever_its_name(tmp_path, monkeypatch):
    data, command = gzip.compress(b"text"), "unpack it with gunzip < FILE"
    with pytest.raises(CorpusError, match=f": rename it to end in .gz, or {command} > TEXT$"):
        read(tmp_path / "a.gzip", data)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(CorpusError, match=rf"gzip: {command} \| charrnn \.\.\.$"):
        corpus.read(["-"], TextOptions("char", "utf-8"))


def test_zero_bytes_at_the_end_of_a_text_and_a_few_at_its_beginning_are_text(tmp_path):
    assert len(read(tmp_path / "text", b"a" + bytes(1000))) == 1001
    assert len(read(tmp_path / "text", bytes(100) + b"a" * 1000)) == 1100


def test_few_undecodable_bytes_in_ascii_are_first_of_all_damage(tmp_path):
    ascii_text = b"A text in English, without accents.\n" * 50
    remedy = (r"\(0xE9\) is not utf-8: read past such bytes with --errors replace, or name the "
              r"right --encoding \(perhaps latin-1\)$")
    with pytest.raises(CorpusError, match=remedy):
        read(tmp_path / "text", ascii_text + b"caf\xe9 " + ascii_text)
    with pytest.raises(CorpusError, match=r"looks like latin-1; try --encoding latin-1, read past"):
        read(tmp_path / "text", (ascii_text[:200] + b"caf\xe9 ") * 9)


def test_the_error_for_a_binary_file_in_a_folder_suggests_moving_it(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.png").write_bytes(FILES["png"][0](tmp_path))
    with pytest.raises(CorpusError, match=r"it; otherwise, move it out of the folder$"):
        corpus.read([str(tmp_path)], TextOptions("char", "utf-8"))
    with pytest.raises(CorpusError, match=r"byte can read it$"):
        corpus.read([str(tmp_path / "b.png")], TextOptions("char", "utf-8"))


@pytest.mark.parametrize("chunk", [1, 4, files.CHUNK])
def test_the_first_letters_in_an_encoding_that_is_named_are_not_a_byte_order_mark(tmp_path, chunk):
    data = "яюная\n".encode("cp1251")
    assert data.startswith(b"\xff\xfe")
    assert len(read(tmp_path / "text", data, encoding="cp1251", chunk=chunk)) == 6
    with pytest.raises(CorpusError, match="is UTF-16 text, by its byte order mark"):
        read(tmp_path / "text", data)


POLISH = "Zażółć gęślą jaźń. Chrząszcz brzmi w trzcinie, a źdźbło się łamie.\n" * 9
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy, říkal děda.\n" * 9
HUNGARIAN = "Árvíztűrő tükörfúrógép, mondta az öreg, és nevetett az őrült.\n" * 9
ROMANIAN = "În ţară, fără să ştie, omul aşteaptă până mâine dimineaţă.\n" * 9
TURKISH = "Işıklı gökyüzünde ağır bulutlar; çağrı şimdi düştü.\n" * 9
FRENCH = "Dès Noël, où un zéphyr haï me vêt de glaçons würmiens, je dîne d’exquis rôtis.\n" * 9


@pytest.mark.parametrize(("text", "encoding", "guess"), [
    (PROSE, "latin-1", "latin-1"),
    (PROSE, "cp1252", "latin-1"),  # the same bytes
    ("It\u2019s \u201cquoted\u201d.\n" * 9, "cp1252", "cp1252"),
    ("größer, heißer, müßig\n", "latin-1", "latin-1"),
    ("GRÖSSE, ÄRGER, ÜBEL\n", "latin-1", "latin-1"),
    (FRENCH, "cp1252", "cp1252"),
    ("¿Dónde está el niño? — Mañana, señor.\n" * 9, "cp1252", "cp1252"),
    ("Não há pão à mesa; a lição é só tua, irmã.\n" * 9, "latin-1", "latin-1"),
    ("Blåbærgrød på øen\n", "latin-1", "latin-1"),
    ("Það er sól í dag, æ, ó, þú ert hér\n", "latin-1", "latin-1"),
    (RUSSIAN, "cp1251", None),
    (RUSSIAN, "koi8-r", None),
    (POLISH, "iso8859-2", None),
    (POLISH, "cp1250", None),
    (CZECH, "iso8859-2", None),
    (CZECH, "cp1250", None),
    (CZECH, "cp852", None),
    (HUNGARIAN, "iso8859-2", None),
    (HUNGARIAN, "cp1250", None),
    (ROMANIAN, "iso8859-2", None),
    (ROMANIAN, "cp1250", None),
    (TURKISH, "iso8859-9", None),
    (TURKISH, "cp1254", None),
    (PROSE, "mac-roman", None),
    ("Don’t stop, he’d said; it’s late.\n" * 9, "mac-roman", None),
    ("吃葡萄不吐葡萄皮\n" * 9, "gb18030", None),
    ("The word 葡萄 means grape, and 皮 is a skin.\n" * 9, "gbk", None),
    ("いろはにほへと ちりぬるを\n" * 9, "shift_jis", None),
    ("“Don’t—stop…” he said; it cost €5.\n" * 9, "cp1252", "cp1252"),
    ("Zwölf Boxkämpfer\n" * 9, "cp437", None),
    ("für\n" * 9, "cp437", None),  # 0x81 has no meaning in cp1252
    ("“" + "a text\n" * 9, "utf-16-le", "utf-16-le"),
    ("€" * 9 + "a text\n" * 19, "utf-16-be", "utf-16-be"),
])
def test_western_encodings_are_guessed_and_others_are_not(tmp_path, text, encoding, guess):
    assert kinds.guessed_encoding(text.encode(encoding)) == guess
    with pytest.raises(CorpusError) as caught:
        read(tmp_path / "text", text.encode(encoding))
    if guess:
        assert f"--encoding {guess}" in str(caught.value)
    else:
        assert "name the right --encoding (perhaps " in str(caught.value)
    assert "--errors replace" in str(caught.value) or "utf-16" in encoding


def test_the_encodings_that_are_named_depend_on_how_much_is_beyond_ascii(tmp_path):
    for text, encoding in (("Nie wiem, czy to będzie łatwe.\n", "cp1250"), (RUSSIAN, "koi8-r")):
        with pytest.raises(CorpusError, match=rf"\(perhaps .*{encoding}.*\)"):
            read(tmp_path / "text", text.encode(encoding) * 9)


@pytest.mark.parametrize("data", [
    pickle.dumps({"a": 1, "text": [b"\xff", 3.5]}), bytes(range(256)),
    np.random.default_rng(1).bytes(9999), b"II*\0" + np.arange(200, dtype="<f4").tobytes(),
])
def test_no_encoding_is_suggested_for_binary_data(tmp_path, data):
    assert kinds.guessed_encoding(data) is None
    with pytest.raises(CorpusError, match=r"name the right --encoding, read past such bytes"):
        read(tmp_path / "text", data)


def test_damaged_utf_8_is_not_taken_for_another_encoding(tmp_path):
    data = PROSE.encode() + b"\x92\n"
    assert kinds.guessed_encoding(data) is None
    with pytest.raises(CorpusError, match=r"name the right --encoding, read past such bytes"):
        read(tmp_path / "text", data)
