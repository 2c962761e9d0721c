"""Large texts in files: the same as in memory, found again, verified, written by many at once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CharrnnError, CorpusError
from charrnn.system import lock
from charrnn.system.files import open_regular
from charrnn.text import cache, corpus, files, reader, store
from charrnn.text.corpus import TextOptions
from charrnn.text.store import Store
from charrnn.text.vocabulary import Vocabulary

TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\r\n" * 40


@pytest.fixture
def small_limits(monkeypatch):
    """Limits so low that short texts are large."""
    monkeypatch.setattr(cache, "LIMIT", 300)
    monkeypatch.setattr(cache, "CHUNK", 64)
    monkeypatch.setattr(files, "CHUNK", 50)
    monkeypatch.setattr(cache, "SETTLED", -1)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, newline="")
    return str(tmp_path / "text.txt")


def large(path, folder, more=corpus.NO_CODES, **how):
    return corpus.read([path], TextOptions(
        **{"level": "char", "encoding": "utf-8"} | how, folder=folder), more)


def in_memory(path, more=corpus.NO_CODES, **how):
    return large(path, None, more, **how)


def assert_same(one, other):
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.vocabulary.codes, other.vocabulary.codes)
    assert one.ids.dtype == other.ids.dtype
    for name in ("name", "digest", "distinct", "unknown", "begins", "notes"):
        assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize("how", [
    {}, {"level": "byte"}, {"min_count": 50}, {"encoding": "latin-1"},
    {"more": np.arange(0x400, 0x500, dtype=np.uint32)},
])
def test_a_text_in_a_file_is_the_text_in_memory(small_limits, path, tmp_path, how):
    made = large(path, tmp_path / "cache", **how)
    assert not made.in_memory
    assert isinstance(made.ids, np.memmap)
    assert not made.ids.flags.writeable
    assert_same(made, in_memory(path, **how))
    assert_same(large(path, tmp_path / "cache", **how), made)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@given(st.lists(st.integers(1, 700), min_size=5, max_size=30), st.integers(0, 200))
def test_symbols_that_need_more_room_late_are_the_same_in_a_file(tmp_path_factory, sizes, more):
    folder = tmp_path_factory.mktemp("wide")
    text = "".join("".join(map(chr, range(0x4E00, 0x4E00 + size))) for size in sizes)
    (folder / "text.txt").write_text(text)
    extra = np.arange(0x100, 0x100 + more, dtype=np.uint32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "LIMIT", 100)
        patch.setattr(cache, "CHUNK", 64)
        patch.setattr(files, "CHUNK", 150)
        made = large(str(folder / "text.txt"), folder / "cache", extra)
    assert made.vocabulary.decode(made.ids) == text
    assert_same(made, in_memory(str(folder / "text.txt"), extra))
    assert [each.suffix for each in folder.glob("cache/*")] == [".ids"] * (not made.in_memory)


def test_a_small_text_never_touches_the_disk(path, tmp_path):
    assert large(path, tmp_path / "cache").in_memory
    assert not (tmp_path / "cache").exists()


def test_an_unchanged_text_is_not_read_again(small_limits, path, tmp_path, monkeypatch):
    made = large(path, tmp_path / "cache")
    monkeypatch.setattr(corpus, "Source", None)
    found = large(path, tmp_path / "cache")
    assert_same(found, made)
    (file,) = (tmp_path / "cache").iterdir()
    assert found.ids.filename == made.ids.filename == str(file)


def test_a_text_read_with_other_options_has_another_file(small_limits, path, tmp_path):
    made = [large(path, tmp_path, **how) for how in (
        {}, {"level": "byte"}, {"min_count": 3}, {"more": np.array([0x3B1], np.uint32)})]
    assert len({str(each.ids.filename) for each in made}) == 4


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_text_that_was_changed_is_read_again(small_limits, path, tmp_path, change):
    large(path, tmp_path / "cache")
    with open(path, "r+b") as file:
        file.write(b"ZZ" if change == "content" else b"Zw")
    made = large(path, tmp_path / "cache")
    assert_same(made, in_memory(path))
    assert made.vocabulary.decode(made.ids[:2]) == ("ZZ" if change == "content" else "Zw")


def test_a_text_changed_a_moment_ago_is_not_considered_unchanged(path, monkeypatch):
    assert cache.fingerprints([path]) == []
    long_ago = time.time() - 100
    os.utime(path, (long_ago, long_ago))
    assert cache.fingerprints([path]) == [], "its status changed just now"
    monkeypatch.setattr(cache.time, "time", lambda: long_ago + 103)
    assert len(cache.fingerprints([path])) == 1
    assert cache.fingerprints([path, "-"]) == []


def test_any_damage_is_detected_and_the_file_created_again(small_limits, path, tmp_path):
    made = large(path, tmp_path / "cache")
    file = next((tmp_path / "cache").iterdir())
    whole = file.read_bytes()
    damaged = [whole[:cut] for cut in (0, 1, 79, 100, len(whole) - 80, len(whole) - 1)]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
                for at in range(0, len(whole), 13)]
    for data in damaged:
        file.write_bytes(data)
        assert cache.load(file) is None
    assert_same(large(path, tmp_path / "cache"), made)
    assert cache.load(file) is not None


FACTS = {
    "key": {"level": "char", "encoding": "utf-8", "min_count": 1, "more": "", "corpus": "0" * 64},
    "sources": [], "codes": [1, 2, 3], "distinct": 3, "unknown": 0, "begins": [], "notes": [],
}


@pytest.mark.parametrize("spelling", ["utf-8", "UTF8"])
def test_a_file_of_an_earlier_version_is_found_for_strict_decoding(
    small_limits, path, tmp_path, spelling
):
    made = large(path, tmp_path / "made")
    _, facts = cache.load(next((tmp_path / "made").iterdir()))
    facts["key"] = {**facts["key"], "encoding": spelling}
    del facts["key"]["errors"], facts["undecodable"]
    (tmp_path / "cache").mkdir()
    file = finished(tmp_path / "cache", made.ids, facts, len(made.vocabulary))
    for found in (large(path, tmp_path / "cache"),
                  reader.read([path], made.vocabulary, "utf-8", folder=tmp_path / "cache")):
        assert found.ids.filename == str(file)
        np.testing.assert_array_equal(found.ids, made.ids)
    assert large(path, tmp_path / "cache").notes == made.notes == ["CRLF newlines"]
    assert found.notes == [], "as of a text in memory"
    other = large(path, tmp_path / "cache", errors="replace")
    assert other.ids.filename != str(file)


def finished(folder, ids, facts=FACTS, size=10):
    """A file of symbols with valid digests and any facts."""
    made = Store(folder)
    made.append(ids)
    made.translate(np.arange(size), np.uint8)
    file = made.finish(facts)
    made.discard()
    return file


def test_a_symbol_beyond_the_vocabulary_is_damage_even_with_a_valid_checksum(
    small_limits, tmp_path
):
    file = finished(tmp_path, np.full(1000, 5))
    assert cache.load(file, verify=False) is not None
    assert cache.load(file) is None


def test_other_files_in_the_folder_are_ignored(small_limits, path, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "0.ids").write_bytes(b"")
    (tmp_path / "cache" / "1.ids").write_bytes(np.random.default_rng(1).bytes(1000))
    (tmp_path / "cache" / "2.ids").mkdir()
    assert_same(large(path, tmp_path / "cache"), in_memory(path))


def test_a_text_written_by_several_processes_at_once_is_complete(small_limits, path, tmp_path):
    expected, made = in_memory(path), []
    threads = [threading.Thread(target=lambda: made.append(large(path, tmp_path / "cache")))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    for each in made:
        assert_same(each, expected)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_only_temporary_files_of_killed_processes_are_removed(
    small_limits, path, tmp_path
):
    folder = tmp_path / "cache"
    folder.mkdir()
    old, new, held = (folder / f".{name}.ids.tmp" for name in ("1-old", "2-new", "3-held"))
    for each in (old, new, held):
        each.write_bytes(b"a part")
    for each in (old, held):
        os.utime(each, (1e9, 1e9))
    with open(held, "r+b") as file:
        assert lock.acquire(file)
        large(path, folder)
    assert sorted(each.name for each in folder.glob(".*")) == [new.name, held.name]


def test_nothing_is_left_of_a_text_that_cannot_be_read_to_its_end(small_limits, path, tmp_path):
    with open(path, "ab") as file:
        file.write(b"\xff")
    with pytest.raises(CorpusError, match="0xFF"):
        large(path, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("call", ["open", "write", "finish"])
def test_a_folder_that_cannot_be_written_is_reported_with_the_remedy(
    small_limits, path, tmp_path, monkeypatch, call
):
    class Full:
        def __init__(self, file):
            self.file = file

        def __getattr__(self, name):
            if name == {"write": "write", "finish": "truncate"}[call]:
                raise OSError(28, "No space left on device")
            return getattr(self.file, name)

    def failing(path, mode, opener):
        if call == "open":
            raise OSError(28, "No space left on device")
        return Full(open(path, mode, opener=opener))

    monkeypatch.setattr(store, "open", failing, raising=False)
    with pytest.raises(CharrnnError, match="No space left on device; name another folder with "):
        large(path, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*"))


def test_nothing_follows_the_symbols_after_they_are_narrowed(small_limits, tmp_path):
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 300))) + "ab\r\n" * 100
    (tmp_path / "text.txt").write_text(text, newline="")
    made = large(str(tmp_path / "text.txt"), tmp_path / "cache", min_count=5)
    assert made.ids.dtype == np.uint8
    assert_same(made, in_memory(str(tmp_path / "text.txt"), min_count=5))


def test_standard_input_and_compressed_files_are_distinguished_from_plain_files(path, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED", -1)
    about = os.stat(path)
    monkeypatch.setattr(cache.os, "stat", lambda name: about)
    assert cache.fingerprints(["-"]) == []
    assert cache.fingerprints(["a.gz"]) != cache.fingerprints(["a.txt"])


def test_a_full_disk_while_widening_symbols_leaves_no_file(small_limits, tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text("ab" * 500 + "".join(map(chr, range(0x4E00, 0x4F10))))
    written = []

    def write(self, file, data):
        written.append(file.name)
        if len(set(written)) > 1:
            raise CharrnnError("full")
        file.write(data)

    monkeypatch.setattr(Store, "_write", write)
    with pytest.raises(CharrnnError, match="full"):
        large(str(tmp_path / "text.txt"), tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_deleted_while_it_is_written_is_still_used(
    small_limits, path, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "replace", lambda old, new: os.unlink(old))
    assert_same(large(path, tmp_path / "cache"), in_memory(path))
    assert list((tmp_path / "cache").iterdir()) == []


def changed(**facts):
    return json.dumps({**FACTS, "dtype": "|u1", **facts}).encode()


def with_key(**key):
    return changed(key={**FACTS["key"], **key})


UNSOUND = {
    "no object": b"[]", "text": b'"text"', "a number": b"1", "nothing": b"", "no UTF-8": b"\xff",
    "no JSON": b"{", "deep": b'{"dtype": ' + b"[" * 100_000, "a long number": b"1" * 100_000,
    "another type": changed(dtype="|O"), "a type in a list": changed(dtype=["|u1"]),
    "no key": changed(key=None), "a key of text": changed(key="level"), "no level": b"{}",
    "codes out of order": changed(codes=[1, 3, 2]), "codes twice": changed(codes=[1, 2, 2]),
    "no codes": changed(codes=[]), "codes as text": changed(codes="abc"),
    "codes as object": changed(codes={"1": 1}), "nested codes": changed(codes=[[1], [2], [3]]),
    "negative codes": changed(codes=[-1, 2, 3]), "surrogates": changed(codes=[1, 2, 0xD800]),
    "codes beyond Unicode": changed(codes=[1, 2, 0x110000]), "true": changed(codes=[True, 2, 3]),
    "huge codes": changed(codes=[1, 2, 10**4000]), "fractions": changed(codes=[1, 2.5, 3]),
    "infinite": changed(codes=[1, 2, float("inf")]), "no bytes": with_key(level="byte"),
    "nothing for rare characters": with_key(min_count=2), "min_count": with_key(min_count="1"),
    "no digest": with_key(corpus=""), "a digest of anything": with_key(corpus="\x1b[2J" + "0" * 60),
    "begins beyond the end": changed(begins=[51]), "begins out of order": changed(begins=[9, 8]),
    "negative begins": changed(begins=[-1]), "begins as object": changed(begins={}),
    "notes as text": changed(notes="note"), "notes of numbers": changed(notes=[1]),
    "distinct": changed(distinct=4), "unknown": changed(unknown=-1), "": changed(unknown=""),
}


def put(path, symbols, facts, length=None):
    """Write a file with a valid footer, as anybody might."""
    digests = (hashlib.sha256(data).digest() for data in (symbols, facts))
    size = len(facts) if length is None else length
    path.write_bytes(symbols + facts + cache.FOOTER.pack(cache.MAGIC, size, *digests))


@pytest.mark.parametrize("name", UNSOUND)
def test_facts_that_no_run_would_write_are_refused_even_with_a_valid_checksum(tmp_path, name):
    put(tmp_path / "0.ids", bytes(50), changed(begins=[0, 50]))
    assert cache.load(tmp_path / "0.ids") is not None
    put(tmp_path / "0.ids", bytes(50), UNSOUND[name])
    assert cache.load(tmp_path / "0.ids") is None
    assert list(cache.find(tmp_path, {}, [[1 << 40, 0, 0, 0, 0, 0]])) == []


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_the_length_of_the_facts_is_bounded_before_they_are_read(tmp_path, monkeypatch, length):
    put(tmp_path / "0.ids", bytes(50), changed(), length)
    with open(tmp_path / "0.ids", "r+b") as file:
        end = (tmp_path / "0.ids").read_bytes()[-cache.FOOTER.size :]
        file.truncate(1 << 41)  # a hole
        file.seek(0, os.SEEK_END)
        file.write(end)
    monkeypatch.setattr(cache, "MAX_FACTS", 1 << 19)
    tracemalloc.start()
    assert cache.load(tmp_path / "0.ids") is None
    assert tracemalloc.get_traced_memory()[1] < 1 << 19
    tracemalloc.stop()


def test_the_facts_of_another_text_are_not_parsed(tmp_path, monkeypatch):
    sources = [[1 << 40, 2, 3, 4, 5, 0]]
    put(tmp_path / "0.ids", bytes(50), changed(sources=sources))
    assert len(list(cache.find(tmp_path, {"level": "char"}, sources))) == 1
    parsed = []
    monkeypatch.setattr(cache.json, "loads", parsed.append)
    assert list(cache.find(tmp_path, {}, [[1 << 40, 2, 3, 4, 6, 0]])) == []
    assert parsed == []


@pytest.mark.skipif(os.name != "posix", reason="links and FIFOs")
def test_files_that_are_not_regular_are_ignored_at_once(small_limits, path, tmp_path):
    folder = tmp_path / "cache"
    made = large(path, folder)
    (found,) = folder.iterdir()
    found.rename(tmp_path / "elsewhere")
    for ending in (".ids", ".ids.tmp"):
        os.mkfifo(folder / f".fifo{ending}")
        (folder / f".link{ending}").symlink_to(tmp_path / "elsewhere")
        (folder / f".gone{ending}").symlink_to("nowhere")
        (folder / f".zero{ending}").symlink_to("/dev/zero")
        (folder / f".folder{ending}").mkdir()
    found.symlink_to(tmp_path / "elsewhere")
    assert cache.load(found) is None
    for name in folder.iterdir():
        os.utime(name, (1e9, 1e9), follow_symlinks=False)
    before = {name.name for name in folder.iterdir()}
    assert_same(large(path, folder), made)
    assert {name.name for name in folder.iterdir()} == before
    assert found.is_file() and not found.is_symlink(), "the link was replaced, not its target"
    assert (tmp_path / "elsewhere").read_bytes() == found.read_bytes()


@pytest.mark.parametrize("name, size, looked_for", [
    ("a.txt", 74, False), ("a.txt", 76, True), ("a.xz", 0, False), ("a.xz", 1, True)])
def test_no_file_is_searched_for_a_short_text(
    tmp_path, monkeypatch, name, size, looked_for
):
    monkeypatch.setattr(cache, "LIMIT", 300)
    monkeypatch.setattr(cache, "SETTLED", -1)
    (tmp_path / name).write_bytes(bytes(size))
    put(tmp_path / "0.ids", bytes(50), changed())
    opened = []
    monkeypatch.setattr(
        cache, "open_regular", lambda path: opened.append(path) or open_regular(path))
    assert list(cache.find(tmp_path, {}, cache.fingerprints([str(tmp_path / name)]))) == []
    assert bool(opened) == looked_for
    assert list(cache.find(tmp_path, {}, [])) == []


def test_the_file_of_a_run_is_mapped_when_its_corpus_is_scored(small_limits, path, tmp_path):
    made = large(path, tmp_path / "cache")
    found = reader.read([path], made.vocabulary, "utf-8", folder=tmp_path / "cache")
    assert not found.in_memory
    assert made.notes and not found.notes
    assert_same(dataclasses.replace(found, notes=made.notes), made)
    replacing = Vocabulary(made.vocabulary.codes, "char", replaces=True)
    found = reader.read([path], replacing, "utf-8", folder=tmp_path / "cache")
    assert found.ids.filename != made.ids.filename
    other = Vocabulary(made.vocabulary.codes[:-1], "char")
    before = sorted((tmp_path / "cache").iterdir())
    found = reader.read([path], other, "utf-8", True, folder=tmp_path / "cache")
    alone = reader.read([path], other, "utf-8", True)
    assert alone.in_memory and not found.in_memory
    assert_same(found, alone)
    assert sorted((tmp_path / "cache").iterdir()) == before, "a file of its own is seen by nobody"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_DATA")
def test_a_large_text_is_trained_on_scored_and_read_as_a_prime_in_little_memory(tmp_path):
    """240 MB, with less memory than that for everything."""
    code = (
        "import resource, runpy, sys; from charrnn.text import cache;"
        "cache.LIMIT = 8 << 20;"
        "resource.setrlimit(resource.RLIMIT_DATA, (200 << 20, 200 << 20));"
        "sys.argv = ['charrnn', *sys.argv[1:]];"
        "runpy.run_module('charrnn', run_name='__main__')"
    )
    line = b"The sea gives back what it was lent, but never all of it, and not at once.\n"
    (tmp_path / "large.txt").write_bytes(line * ((240 << 20) // len(line)))

    def limited(*args, **kwargs):
        result = subprocess.run(
            [sys.executable, "-c", code, *args], cwd=tmp_path, capture_output=True, timeout=100,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, **kwargs)
        assert result.returncode == 0, result.stderr
        return result

    train = ["train", "large.txt", "--hidden-size", "16", "--layers", "1", "--threads", "1",
             "--val-fraction", "0.001", "--json", "--steps"]
    first = limited(*train, "20")
    assert b"symbols, 0.3 GB, are in" in first.stdout
    start = json.loads(limited(*train, "30").stdout.partition(b"\n")[0])
    assert start["continued"]
    assert start["chars"] == (tmp_path / "large.txt").stat().st_size

    with open(tmp_path / "large.txt", "rb") as file:
        part = file.read(3 << 20)
    limited("sample", "--prime-file", "-", "--length", "5", input=part[: 1 << 18])
    result = limited("eval", "-", "--json", input=part)
    assert json.loads(result.stdout)["chars"] == len(part)
