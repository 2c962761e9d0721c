"""Archives: what is written can be read, and nothing else can."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from forging import npy
from interpreter import start_python

from charrnn.errors import CharrnnError, UsageError
from charrnn.storage import archive
from charrnn.system.lock import locked

MEMBERS = {
    "meta": np.frombuffer(b'{"a": 1}', np.uint8),
    "codes": np.array([10, 0x1F600], np.uint32),
    "W": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "none": np.zeros((0, 2)),
    "b": np.array([-0.0, 1e-300, 1e300]),
}
POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")


def manifest(members):
    return {name: (array.dtype, array.shape) for name, array in list(members.items())[1:]}


def read(path, members=MEMBERS):
    """The members of an archive that should be of the types and shapes of ``members``."""
    with archive.reading(path) as file:
        meta = np.frombuffer(file.read_bytes("meta", 1000), np.uint8)
        file.check(manifest(members))
        rest = {
            name: file.read_into(name, np.empty(shape, dtype))
            for name, (dtype, shape) in manifest(members).items()
        }
    return {"meta": meta, **rest}


def same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def refusal(path, members=MEMBERS):
    with pytest.raises(CharrnnError) as caught:
        read(path, members)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message.replace(str(path), "")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


@pytest.fixture
def written(path):
    archive.write(path, MEMBERS)
    return path.read_bytes()


def folder_of(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def test_written_members_are_read_back(path):
    archive.write(path, MEMBERS)
    same(read(path), MEMBERS)
    assert folder_of(path) == ["run.npz"]


def test_numpy_reads_it_without_pickles(path):
    archive.write(path, MEMBERS)
    with np.load(path, allow_pickle=False) as found:
        same(dict(found), MEMBERS)


def test_an_array_in_any_layout_is_written_by_rows(path):
    a = np.arange(24.0).reshape(2, 3, 4)
    members = {"meta": MEMBERS["meta"], "t": a.T, "s": a[:, ::2, 1:], "f": np.asfortranarray(a[0])}
    archive.write(path, members)
    same(read(path, members), members)


def test_the_same_members_give_the_same_bytes(path, written, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10_000_000)
    archive.write(path, MEMBERS)
    assert path.read_bytes() == written
    assert {info.date_time[0] for info in zipfile.ZipFile(path).infolist()} == {1980}


def test_it_ends_with_the_digest_of_all_bytes_before_it(path, written):
    assert written[-64:].decode() == hashlib.sha256(written[:-64]).hexdigest()
    with archive.reading(path) as file:
        assert file.digest == written[-64:]


def test_nothing_is_compressed(path, written):
    for info in zipfile.ZipFile(path).infolist():
        assert info.compress_type == zipfile.ZIP_STORED
    assert MEMBERS["W"].tobytes() in written


def test_a_file_truncated_at_any_length_is_refused(path, written):
    for length in range(len(written)):
        path.write_bytes(written[:length])
        refusal(path)


def test_a_file_with_any_changed_byte_is_refused(path, written):
    data = bytearray(written)
    for at in range(len(data)):
        for mask in (1, 0x80, 0xFF):
            data[at] ^= mask
            path.write_bytes(data)
            refusal(path)
            data[at] ^= mask
    path.write_bytes(data)
    same(read(path), MEMBERS)


def test_a_file_longer_than_written_is_refused(path, written):
    for data in (written + b"\0", b"\0" + written, written * 2, written + written[-64:]):
        path.write_bytes(data)
        refusal(path)


def test_two_changes_with_a_valid_digest_are_refused_or_harmless(path, written, reseal):
    rng = np.random.default_rng(0)
    for _ in range(1000):
        data = bytearray(written)
        for at in rng.integers(0, len(data) - 64, 2):
            data[at] = rng.integers(256)
        path.write_bytes(reseal(bytes(data)))
        with contextlib.suppress(CharrnnError):
            found = read(path)
            assert [array.shape for array in found.values()][1:] == [
                array.shape for array in MEMBERS.values()][1:]


def huge(shape):
    """A header that asks for more than there is, and no more than a header."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue() + MEMBERS["W"].tobytes()


RAW = [(f"{name}.npy", npy(array)) for name, array in MEMBERS.items()]
W = MEMBERS["W"]


def instead(name, data, at=2):
    return [*RAW[:at], (name, data), *RAW[at + 1 :]]


FORGED = {
    "no members": [],
    "one member": RAW[:1],
    "the last missing": RAW[:-1],
    "the first missing": RAW[1:],
    "one more": [*RAW, ("more.npy", npy(1))],
    "one more before": [("more.npy", npy(1)), *RAW],
    "the same name again": [*RAW, RAW[2]],
    "one twice, another not": [*RAW[:3], RAW[2], RAW[4]],
    "another order": [RAW[0], *RAW[:0:-1]],
    "another name": instead("V.npy", npy(W)),
    "another first name": instead("beta.npy", RAW[0][1], 0),
    "a name in capitals": instead("w.npy", npy(W)),
    "no ending": instead("W", npy(W)),
    "a folder": instead("W.npy/", b""),
    "a parent": instead("../W.npy", npy(W)),
    "a root": instead("/W.npy", npy(W)),
    "wider numbers": instead("W.npy", npy(W.astype(np.float64))),
    "numbers of equal width": instead("W.npy", npy(W.view(np.int32))),
    "the other byte order": instead("W.npy", npy(W.astype(">f4"))),
    "transposed": instead("W.npy", npy(np.ascontiguousarray(W.T))),
    "by columns": instead("W.npy", npy(np.asfortranarray(W))),
    "flat": instead("W.npy", npy(W.ravel())),
    "one dimension more": instead("W.npy", npy(W[None])),
    "a number": instead("W.npy", npy(np.float32(1))),
    "too long": instead("W.npy", npy(W) + b"\0"),
    "too short": instead("W.npy", npy(W)[:-1]),
    "empty": instead("W.npy", b""),
    "text": instead("W.npy", b"W = 1, 2, 3\n" * 20),
    "version 2": instead("W.npy", npy(W, (2, 0))),
    "32 GiB": instead("W.npy", huge((2**33,))),
    "more than a word": instead("W.npy", huge((2**40, 2**40))),
    "negative": instead("W.npy", huge((-2, -3))),
    "records": instead("W.npy", npy(np.zeros((2, 3), [("a", "<f2"), ("b", "<f2")]))),
    "a long first": instead("meta.npy", npy(np.zeros(1001, np.uint8)), 0),
    "a first of letters": instead("meta.npy", npy(np.zeros(8, "S1")), 0),
    "not a number": instead("W.npy", npy(W * np.float32("nan"))),
    "one infinity": instead("b.npy", npy([-0.0, np.inf, 1e300]), 4),
    "501 members": [*RAW, *((f"{i}.npy", npy(i)) for i in range(496))],
}


def test_the_tests_can_forge_a_valid_file(path, forge):
    forge(path, RAW)
    same(read(path), MEMBERS)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_with_a_valid_digest_is_refused(path, forge, name):
    forge(path, FORGED[name])
    refusal(path)
    assert folder_of(path) == ["run.npz"]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(path, forge, method):
    forge(path, RAW, method)
    assert "compressed" in refusal(path)


def test_a_bomb_is_refused_without_expanding_it(path, forge):
    members = {"meta": MEMBERS["meta"], "W": np.zeros((5000, 5000), np.float32)}
    forge(path, [(f"{name}.npy", npy(a)) for name, a in members.items()], zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    refusal(path, members)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_50_000_members_are_refused_at_once(path, forge):
    forge(path, ((f"{i}", b"") for i in range(50_000)))
    begin = time.process_time()
    assert "50,000 members" in refusal(path)
    assert time.process_time() - begin < 1


def with_record64(data, entries, **facts):
    """The bytes of an archive with a longer end record, and ``entries`` more in its list."""
    end = len(data) - archive.DIGITS - archive.END_RECORD.size
    record = bytearray(data[end:])
    here, total, size, offset = struct.unpack_from("<2H2L", record, 8)
    first = data.index(b"PK\x01\x02")
    more = data[first : data.index(b"PK\x01\x02", first + 1)] * entries
    values = {"here": here, "total": total + entries, "size": size + len(more), "offset": offset}
    values |= facts
    at = end + len(more)
    long = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, *values.values())
    return data[:end] + more + long + struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1) + record


@pytest.mark.parametrize("facts", [{}, {"total": 5, "here": 5}, {"here": 2**63}, {"total": 2**63}])
def test_the_members_are_counted_in_the_record_that_zipfile_believes(
    path, written, reseal, monkeypatch, facts
):
    path.write_bytes(reseal(with_record64(written, 0)))
    same(read(path), MEMBERS)  # as in a checkpoint of more than 2 GB
    many = 50_000 if "here" not in facts or facts["here"] == 5 else 0
    path.write_bytes(reseal(with_record64(written, many, **facts)))
    with zipfile.ZipFile(path) as file:
        assert len(file.infolist()) == len(MEMBERS) + many
    monkeypatch.setattr(zipfile, "ZipFile", None)
    assert "members, in a list of" in refusal(path)


@pytest.mark.parametrize("at", [4, 0, 56, 64])
def test_a_longer_end_record_anywhere_else_is_refused(path, written, reseal, at):
    data = bytearray(with_record64(written, 0))
    begin = data.rindex(b"PK\x06\x06")
    data[begin + at] ^= 1
    path.write_bytes(reseal(bytes(data)))
    if at == 56:  # no locator any more: for zipfile an ordinary archive with a hole
        with contextlib.suppress(CharrnnError):
            same(read(path), MEMBERS)
    else:
        assert "end record is not that of a checkpoint" in refusal(path)


@POSIX
@pytest.mark.parametrize("name", ["FIFO", "/dev/zero", "/dev/null", "link"])
def test_a_path_that_is_not_a_regular_file_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / "FIFO")
    (tmp_path / "link").symlink_to("FIFO")
    with pytest.raises(UsageError, match="is not a regular file"):
        read(tmp_path / name)


def test_a_pickle_is_refused_and_not_run(path, forge, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    forge(path, instead("W.npy", npy(np.array([Evil()] * 6).reshape(2, 3))))
    refusal(path)
    forge(path, instead("meta.npy", npy(np.array([Evil()])), 0))
    refusal(path)
    assert not (tmp_path / "executed").exists()


def test_an_encrypted_member_is_refused(path, written, reseal):
    data = bytearray(written)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    path.write_bytes(reseal(bytes(data)))
    assert "encrypted" in refusal(path)


@pytest.mark.parametrize("offset", [2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_member_outside_the_file_is_refused(path, written, reseal, offset):
    first = written.index(b"PK\x01\x02")
    entry = bytearray(written[first : first + 46])
    name = written[first + 46 : first + 46 + len("meta.npy")]
    rest = written[first + 46 + len("meta.npy") :]
    extra = struct.pack("<HHQ", 1, 8, offset)
    entry[30:32] = struct.pack("<H", len(extra))
    entry[42:46] = b"\xff" * 4
    data = bytearray(written[:first] + entry + name + extra + rest)
    end = data.rindex(b"PK\x05\x06")
    size = int.from_bytes(data[end + 12 : end + 16], "little") + len(extra)
    data[end + 12 : end + 16] = struct.pack("<L", size)
    path.write_bytes(reseal(bytes(data)))
    refusal(path)


def test_a_member_inside_another_is_refused(path, reseal):
    members = {"meta": MEMBERS["meta"], "inner": np.arange(999, dtype=np.uint8)}
    archive.write(path, members)
    data = path.read_bytes()
    begin, second, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x01\x02"), len(data) - 86
    hidden = data[data.rindex(b"PK\x03\x04") : begin]  # the whole of inner.npy
    entry = bytearray(data[second:end])

    members = {"meta": MEMBERS["meta"], "outer": np.frombuffer(hidden, np.uint8)}
    archive.write(path, members)
    data = path.read_bytes()
    entry[42:46] = struct.pack("<L", data.index(hidden))
    end = len(data) - 86
    record = bytearray(data[end:])
    size = struct.unpack_from("<L", record, 12)[0] + len(entry)
    struct.pack_into("<HHL", record, 8, 3, 3, size)
    path.write_bytes(reseal(data[:end] + entry + record))
    with zipfile.ZipFile(path) as file:
        assert file.namelist() == ["meta.npy", "outer.npy", "inner.npy"]
    refusal(path, members | {"inner": np.arange(999, dtype=np.uint8)})


def test_a_comment_that_is_more_than_the_digest_is_refused(path, written, reseal):
    end = len(written) - 64 - 2
    data = written[:end] + struct.pack("<H", 22 + 64) + bytes(22) + written[-64:]
    path.write_bytes(reseal(data))
    with zipfile.ZipFile(path) as file:
        assert len(file.comment) == 86
    refusal(path)


@pytest.mark.parametrize("chunk", range(8))
def test_any_changed_byte_with_a_valid_digest_is_refused_or_gives_a_valid_file(
    path, written, reseal, chunk
):
    data = bytearray(written)
    for at in range(chunk, len(data) - archive.DIGITS, 8):
        data[at] ^= 1 << at // 8 % 8
        path.write_bytes(reseal(bytes(data)))
        data[at] ^= 1 << at // 8 % 8
        with contextlib.suppress(CharrnnError):
            for name, array in list(read(path).items())[1:]:
                assert (array.dtype, array.shape) == (MEMBERS[name].dtype, MEMBERS[name].shape)
                assert array.dtype.kind != "f" or np.isfinite(array).all()


LOOK_ALIKES = {
    "empty": (b"", "empty"),
    "text": (b"Once upon a time\n" * 20, "not a charrnn checkpoint"),
    "one byte": (b"P", "not a charrnn checkpoint"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(500), "HDF5"),
    "safetensors": (
        (64).to_bytes(8, "little") + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        + b" " * 10 + bytes(4), "safetensors",
    ),
    "old PyTorch": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "not a charrnn checkpoint"),
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_the_file_of_another_program_is_recognized(path, name):
    data, words = LOOK_ALIKES[name]
    path.write_bytes(data)
    assert words in refusal(path)


def test_a_pytorch_file_is_recognized(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data.pkl", b"\x80\x02}q\x00.")
        file.writestr("model/data/0", bytes(16))
    assert "PyTorch" in refusal(path)


def test_numpy_s_own_archive_is_not_taken_for_a_checkpoint(path):
    np.savez(path, **MEMBERS)
    assert "checkpoint" in refusal(path)
    np.save(path.with_suffix(".npy"), W)
    refusal(path.with_suffix(".npy"))


def test_a_damaged_archive_is_called_damaged(path, written):
    path.write_bytes(written[:-100])
    assert "damaged" in refusal(path)


def test_a_missing_file_is_a_usage_error_with_the_remedy(path):
    with pytest.raises(UsageError, match="no such checkpoint; charrnn train"):
        read(path)


def test_a_folder_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_if_writing_fails_the_old_file_stays_and_no_temporary_file(
    path, written, monkeypatch, failing
):
    def refuse(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, refuse)
    with pytest.raises(CharrnnError, match=r"No space left on device.*kept") as caught:
        archive.write(path, {"meta": MEMBERS["meta"]})
    assert caught.value.exit_code == 1
    assert path.read_bytes() == written
    assert folder_of(path) == ["run.npz"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_if_writing_the_first_file_fails_there_is_none(path, monkeypatch, failing):
    def refuse(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, failing, refuse)
    with pytest.raises(CharrnnError, match="Input/output error") as caught:
        archive.write(path, MEMBERS)
    assert "kept" not in str(caught.value)
    assert folder_of(path) == []


@POSIX
def test_if_the_name_cannot_be_made_durable_the_message_is_true(
    path, written, monkeypatch
):
    fsync, calls = os.fsync, []

    def refuse_the_second(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_the_second)
    with pytest.raises(CharrnnError) as caught:
        archive.write(path, {"meta": MEMBERS["meta"]})
    assert len(calls) == 2
    assert folder_of(path) == ["run.npz"]
    assert ("kept" in str(caught.value)) == (path.read_bytes() == written)


@POSIX
def test_on_a_full_disk_the_old_file_stays_and_no_temporary_file(path, written):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in range(0, len(written), 7):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
        try:
            archive.write(path, MEMBERS | {"b": MEMBERS["b"] + 1})
            failed = False
        except CharrnnError as error:
            failed = "cannot be written" in str(error)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert failed
        assert path.read_bytes() == written
        assert folder_of(path) == ["run.npz"]


def test_a_file_that_is_read_while_it_is_replaced_is_the_old_one(path, written):
    with archive.reading(path) as file:
        if os.name == "posix":
            archive.write(path, {"meta": MEMBERS["meta"]})
        file.read_bytes("meta", 1000)
        file.check(manifest(MEMBERS))
        assert np.array_equal(file.read_into("W", np.empty((2, 3), np.float32)), W)


@POSIX
def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "deep").mkdir()
    target, link = tmp_path / "deep" / "target.npz", tmp_path / "link.npz"
    target.write_bytes(b"old")
    link.symlink_to("deep/target.npz")
    archive.write(link, MEMBERS)
    assert link.is_symlink()
    assert not target.is_symlink()
    same(read(target), MEMBERS)
    assert folder_of(link) == ["deep", "link.npz"]
    assert folder_of(target) == ["target.npz"]


@POSIX
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077, 0o002])
def test_the_mode_is_what_umask_leaves(path, mask):
    before = os.umask(mask)
    try:
        archive.write(path, MEMBERS)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


@POSIX
def test_a_writer_killed_at_any_moment_leaves_a_complete_file(path):
    code = """import sys
from pathlib import Path
import numpy as np
from charrnn.storage import archive
for value in range(10**9):
    archive.write(Path(sys.argv[1]), {"meta": np.zeros(1, np.uint8), "W": np.full(9999, value)})
    if value == 0:
        print("begun", flush=True)
"""
    members = {"meta": np.zeros(1, np.uint8), "W": np.zeros(9999, np.int64)}
    for attempt in range(8):
        with start_python(code, path) as writer:
            time.sleep(0.003 + 0.0037 * attempt)
            writer.send_signal(signal.SIGKILL)
        assert len(np.unique(read(path, members)["W"])) == 1
        with locked(path):  # removes the temporary file
            pass
        assert folder_of(path) == ["run.npz"]
