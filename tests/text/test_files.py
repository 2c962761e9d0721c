"""Files: which are read, in which order, and how compressed ones are unpacked."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

from charrnn.errors import CorpusError, UsageError
from charrnn.text import files
from charrnn.text.corpus import TextOptions, read

UTF8 = TextOptions("char", "utf-8")
PACK = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


@pytest.fixture
def shelf(tmp_path):
    """A folder of folders; each text says where it stands in the order."""
    for number, name in enumerate(["a.txt", "b.txt", "c", "B/x.txt", "a/1/deep", "a/2"]):
        path = tmp_path / "shelf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number))
    for name in (".hidden", ".git/config", "a/.DS_Store"):
        path = tmp_path / "shelf" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("not read")
    return tmp_path / "shelf"


def test_a_folder_is_its_files_by_name_and_then_those_of_its_folders(shelf):
    found = [os.path.relpath(path, shelf) for path in files.files_of([str(shelf)])]
    assert found == ["a.txt", "b.txt", "c", "B/x.txt", "a/2", "a/1/deep"]


def test_the_files_of_a_folder_are_read_in_its_place(shelf, tmp_path):
    (tmp_path / "first").write_text("<")
    (tmp_path / "last").write_text(">")
    paths = [str(tmp_path / "first"), str(shelf), str(tmp_path / "last")]
    text = read(paths, UTF8)
    assert text.vocabulary.decode(text.ids) == "<012354>"
    assert text.begins == [1, 2, 3, 4, 5, 6, 7]
    assert text.name == "first and 2 more"
    assert read([str(shelf) + "/"], UTF8).name == "shelf"


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is a folder without files"):
        files.files_of([str(tmp_path)])


@pytest.mark.parametrize("ending", PACK)
def test_a_compressed_file_is_read_like_the_original(tmp_path, ending):
    data = ("größer als der Puffer\r\n" * 100_000).encode()
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / f"packed{ending}").write_bytes(PACK[ending](data))
    plain, packed = (read([str(tmp_path / name)], UTF8) for name in ("plain", f"packed{ending}"))
    np.testing.assert_array_equal(packed.ids, plain.ids)
    assert packed.digest == plain.digest


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize("damage", ["cut off", "other bytes", "empty inside"])
def test_a_file_that_cannot_be_unpacked_is_refused_by_name(tmp_path, ending, damage):
    whole = bytearray(PACK[ending](np.random.default_rng(1).bytes(300_000)))
    if damage == "cut off":
        whole = whole[: len(whole) // 2]
    elif damage == "other bytes":
        whole = bytearray(b"no such thing at all, but some text")
    else:
        whole[len(whole) // 2 : len(whole) // 2 + 40] = bytes(40)
    path = tmp_path / f"packed{ending}"
    path.write_bytes(whole)
    with pytest.raises(CorpusError, match=rf"packed\{ending} cannot be unpacked"):
        read([str(path)], TextOptions("byte", "utf-8"))


def of_bytes(path, data):
    """What is read of a compressed file that holds ``data``."""
    path.write_bytes(data)
    return b"".join(files.chunks(str(path)))


@pytest.mark.parametrize("chunk", [1, 7, 100, files.CHUNK])
@pytest.mark.parametrize("ending", PACK)
def test_several_streams_are_read_as_one_text(tmp_path, monkeypatch, ending, chunk):
    parts = [b"one\n" * 100, b"", b"two", np.random.default_rng(1).bytes(3000), bytes(5000)]
    monkeypatch.setattr(files, "CHUNK", chunk)
    monkeypatch.setattr(files, "INPUT", chunk)
    packed = b"".join(map(PACK[ending], parts))
    assert of_bytes(tmp_path / f"packed{ending}", packed) == b"".join(parts)


@pytest.mark.parametrize("ending", PACK)
def test_a_later_stream_that_is_damaged_or_cut_off_is_refused(tmp_path, ending):
    path = tmp_path / f"packed{ending}"
    first, second = PACK[ending](b"first\n" * 9), PACK[ending](b"second\n" * 9)
    refused = 0
    for at in range(len(second)):
        with pytest.raises(CorpusError, match=rf"packed\{ending} cannot be unpacked"):
            of_bytes(path, first + second[:at] + b"!" * (at == 0))
        damaged = bytearray(second)
        damaged[at] ^= 1 << at % 8
        try:  # a few bits say nothing of the content, such as when it was packed
            assert of_bytes(path, first + damaged) == b"first\n" * 9 + b"second\n" * 9
        except CorpusError:
            refused += 1
    assert refused > 0.7 * len(second)


@pytest.mark.parametrize("ending, allowed", [(".gz", {0, 1, 2, 3, 4, 8, 99_999, 100_000}),
                                             (".xz", {0, 4, 8, 100_000}), (".bz2", {0})])
def test_zero_bytes_may_follow_a_stream_if_its_format_allows_it(tmp_path, ending, allowed):
    path, packed = tmp_path / f"packed{ending}", PACK[ending](b"text")
    for zeros in (0, 1, 2, 3, 4, 8, 99_999, 100_000):
        for after in (b"", packed, b"garbage", b"\0\0\0garbage"):
            fine = zeros in allowed and after in (b"", packed)
            if fine:
                found = of_bytes(path, packed + bytes(zeros) + after)
                assert found == b"text" * (1 + (after == packed))
            else:
                with pytest.raises(CorpusError, match="cannot be unpacked"):
                    of_bytes(path, packed + bytes(zeros) + after)
    with pytest.raises(CorpusError, match="cannot be unpacked"):
        of_bytes(path, b"")


@pytest.mark.parametrize("ending", PACK)
def test_a_decompression_bomb_is_unpacked_in_chunks(tmp_path, ending):
    (tmp_path / f"packed{ending}").write_bytes(PACK[ending](bytes(30 << 20)))
    tracemalloc.start()
    sizes = [len(data) for data in files.chunks(str(tmp_path / f"packed{ending}"))]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(sizes) == 30 << 20 and max(sizes) == files.CHUNK
    assert peak < 15 << 20


def test_a_missing_compressed_file_is_reported_as_missing(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read([str(tmp_path / "nothing.gz")], UTF8)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_data_from_a_pipe_is_available_as_it_arrives(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    seen = threading.Event()

    def write():
        with open(tmp_path / "pipe", "wb", buffering=0) as pipe:
            pipe.write(b"now")
            seen.wait(20)

    writer = threading.Thread(target=write)
    writer.start()
    chunks = files.chunks(str(tmp_path / "pipe"))
    assert next(chunks) == b"now"
    seen.set()
    assert list(chunks) == [b""]
    writer.join()


def test_in_a_folder_only_files_are_read_that_charrnn_did_not_write(tmp_path):
    for name in ("a.txt", "model.npz", "0123.ids"):
        (tmp_path / name).write_text("text")
    os.mkfifo(tmp_path / "pipe")
    assert files.files_of([str(tmp_path)]) == [str(tmp_path / "a.txt")]
    (tmp_path / "gone").symlink_to("nowhere")
    with pytest.raises(UsageError, match="gone: no such file"):
        read([str(tmp_path)], UTF8)


PAGE = b"<!doctype html>\n<html>\n<title>charrnn report</title>\n<style>\n"
EVENTS = b'{"event": "start", "step": 0, "steps": 10, "corpus": "a.txt"}\n{"event": "step"}\n'
LOG = (b"a.txt: 1,115,394 characters, 65 distinct; 1,003,854 to learn from\n"
       b"model: 243,777 parameters, about 13 MB; 6,000 steps\n")


@pytest.mark.parametrize("content", [
    PAGE, EVENTS, LOG, LOG.replace(b"\nmodel", b", 9\nmore\nmodel"),
    b"nohup: ignoring input\n" + LOG, b"Thu Nov 26 05:00:00 UTC 2026\nhost 1\nhost 2\n" + LOG])
def test_what_charrnn_wrote_into_a_folder_is_left_out_and_noted(tmp_path, content):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "deep/any name.txt").write_bytes(content)
    (tmp_path / "deep/b.txt").write_text("text")
    expected = [str(tmp_path / name) for name in ("a.txt", "deep/b.txt")]
    left_out = []
    assert files.files_of([str(tmp_path)], left_out) == expected
    assert left_out == [str(tmp_path / "deep/any name.txt")]
    assert files.left_out_notes([str(tmp_path)]) == [
        f"not read, because written by charrnn: {tmp_path / 'deep/any name.txt'}"]
    assert files.files_of(left_out) == left_out, "a file that is named is read"
    assert files.left_out_notes(left_out + expected) == [
        f"read as text, but probably written by charrnn: {tmp_path / 'deep/any name.txt'}"]
    assert files.left_out_notes(expected) == []


@pytest.mark.parametrize("content", [
    b"charrnn report\n", b"<!doctype html>\n<title>On the charrnn report</title>\n",
    b"The page begins with\n" + PAGE, b"A run prints\n\n    " + LOG, b"It prints\n\n" + LOG,
    b"1\n2\n3\n4\n" + LOG, EVENTS[1:], b'{"text": "a line", "chars": 6}\n',
    b'[{"event": "start"}]', b'{"event": "start of the fair", "step": "first"}\n',
    b"model: 243,777 parameters\n", b"# charrnn\n\nTrain character-level language models.\n",
    b"First Citizen: 12 characters, more or less\nAll:\nSpeak!\nmodel: 3 parameters\n"[:60],
])
def test_a_text_that_only_mentions_charrnn_is_read(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    assert files.files_of([str(tmp_path)]) == [str(tmp_path / "a.txt")]
    assert files.left_out_notes([str(tmp_path)]) == []


def test_an_empty_file_in_a_folder_such_as_a_log_that_has_just_begun_is_not_read(tmp_path):
    for name in ("run.log", "a.txt", "b.gz"):
        (tmp_path / name).write_text("text" * (name == "a.txt"))
    expected = [str(tmp_path / name) for name in ("a.txt", "b.gz")]
    assert files.files_of([str(tmp_path)]) == expected, "an empty .gz file is damaged"
    assert files.files_of([str(tmp_path / "run.log")]) == [str(tmp_path / "run.log")]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_file_that_output_goes_to_is_not_read_whatever_it_holds(tmp_path, stream):
    (tmp_path / "a.txt").write_text("text")
    code = ("import sys; from charrnn.text.files import files_of; "
            f"print(files_of([{str(tmp_path)!r}]), file=sys.{other(stream)})")
    with open(tmp_path / "nohup.out", "w") as log:
        log.write("nohup: ignoring input\n")
        log.flush()
        done = subprocess.run([sys.executable, "-c", code], check=True,
                              **{stream: log, other(stream): subprocess.PIPE})
    assert getattr(done, other(stream)).decode().strip() == str([str(tmp_path / "a.txt")])


def other(stream):
    return {"stdout": "stderr", "stderr": "stdout"}[stream]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_named_pipe_is_not_opened_to_look_at_it(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.gz")
    monkeypatch.setattr(files, "open_regular", None)
    assert files.left_out_notes([str(tmp_path / "pipe.gz")]) == []


@pytest.mark.parametrize(("name", "data", "what"), [
    ("a.gz", b"plain text\n" * 99, "it is plain text, despite its ending .gz: rename it"),
    ("a.bz2", "größer\n".encode() * 99, "it is plain text, despite its ending .bz2: rename it"),
    ("a.xz", gzip.compress(b"text"), "it is compressed with gzip, despite its ending .xz: rename"),
    ("a.gz", b"PK\3\4\n\0\0\0\0\0", "it is a zip archive, despite its ending .gz: rename it"),
    ("a.gz", bytes(range(99)), "it does not begin like a .gz file"),
    ("a.gz", b"\x1f\x8b\x08damaged", "Error -3"),
])
def test_what_has_the_wrong_ending_is_named(tmp_path, name, data, what):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorpusError) as caught:
        read([str(tmp_path / name)], UTF8)
    assert str(caught.value).startswith(f"{tmp_path / name} cannot be unpacked: {what}")


def test_a_folder_that_cannot_be_read_is_an_error(shelf, monkeypatch):
    def scandir(path):
        if str(path).endswith("B"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match="B: cannot be read: Permission denied"):
        files.files_of([str(shelf)])


def test_a_file_that_fails_while_it_is_read_is_named(tmp_path, monkeypatch):
    class Broken:
        def read1(self, size):
            raise OSError(5, "Input/output error")

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(files, "open", lambda *args: Broken(), raising=False)
    with pytest.raises(CorpusError, match="text cannot be read: "):
        list(files.chunks("text"))
