"""Files of symbols in shared folders: who may read one, and who may use its name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from commands import COMMAND, ENVIRONMENT, TINY, run_charrnn

from charrnn.text import cache, corpus, files, reader, store
from charrnn.text.corpus import TextOptions

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
TEXT = "Franz jagt im komplett verwahrlosten Taxi quer durch Bayern.\n" * 40
OTHER = 65534  # a user, and a group, that is not root


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    """Limits so low that short texts are large."""
    monkeypatch.setattr(cache, "LIMIT", 300)
    monkeypatch.setattr(files, "CHUNK", 50)
    monkeypatch.setattr(cache, "SETTLED", -1)


@pytest.fixture
def shared():
    """A folder with the sticky bit that every user can write."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    "".encode("utf-32-le").decode("utf-32-le")  # later, the codec could not be read
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o1777)
    yield folder
    os.seteuid(0)
    shutil.rmtree(folder)


def read(folder, *paths):
    return corpus.read(list(map(str, paths)), TextOptions("char", "utf-8", folder=folder))


def text_file(path, mode=0o644, text=TEXT):
    path.write_text(text)
    path.chmod(mode)
    return path


def modes(folder):
    return {path.name.split(".")[-1]: path.stat().st_mode & 0o777 for path in folder.iterdir()}


@pytest.mark.parametrize("sources, mode", [
    ([0o600], 0o600), ([0o644], 0o644), ([0o640], 0o640), ([0o400], 0o600), ([0o444], 0o644),
    ([0o755], 0o644), ([0o666, 0o664, 0o644], 0o644), ([0o644, 0o600], 0o600),
    ([0o640, 0o604], 0o600)])
def test_only_those_who_may_read_a_text_may_read_its_symbols(tmp_path, monkeypatch, sources, mode):
    paths = [text_file(tmp_path / f"{i}.txt", each) for i, each in enumerate(sources)]
    folder = tmp_path / "cache"
    while_written = []
    write = store.Store._write
    monkeypatch.setattr(store.Store, "_write", lambda self, file, data: (
        while_written.append(modes(folder)), write(self, file, data)))
    before = os.umask(0)
    try:
        made = read(folder, *paths)
    finally:
        os.umask(before)
    assert modes(folder) == {"ids": mode}
    assert all(found == {"tmp": mode} for found in while_written)
    while_written.clear()
    os.truncate(made.ids.filename, 10)
    before = os.umask(0)
    try:
        reader.read(list(map(str, paths)), made.vocabulary, "utf-8", folder=folder)
    finally:
        os.umask(before)
    assert while_written and all(found["tmp"] == mode for found in while_written)


def test_the_umask_applies_to_symbols(tmp_path):
    before = os.umask(0o027)
    try:
        read(tmp_path / "cache", text_file(tmp_path / "a.txt", 0o666))
    finally:
        os.umask(before)
    assert modes(tmp_path / "cache") == {"ids": 0o640}


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root can change groups")
@pytest.mark.parametrize("source, mode", [(0o640, 0o600), (0o644, 0o644), (0o664, 0o644)])
@pytest.mark.parametrize("of", ["text", "folder"])
def test_the_group_of_a_text_is_not_mistaken_for_another(tmp_path, source, mode, of):
    path, folder = text_file(tmp_path / "a.txt", source), tmp_path / "cache"
    folder.mkdir()
    if of == "text":
        os.chown(path, -1, OTHER)
    else:  # which hands its group on to what is made in it
        os.chown(folder, -1, OTHER)
        folder.chmod(0o2777)
    before = os.umask(0)
    try:
        read(folder, path)
    finally:
        os.umask(before)
    assert modes(folder) == {"ids": mode}


def test_symbols_from_a_pipe_are_readable_only_by_their_owner(tmp_path):
    code = ("import runpy, sys; from charrnn.text import cache; cache.LIMIT = 300;"
            "sys.argv = ['charrnn', *sys.argv[1:]];"
            "runpy.run_module('charrnn', run_name='__main__')")
    train = [sys.executable, "-c", code, "train", "-", *TINY, "--steps", "1", "--cache", "cache"]
    result = subprocess.run(train, input=TEXT.encode(), cwd=tmp_path, capture_output=True,
                            timeout=60, env=ENVIRONMENT)
    assert result.returncode == 0, result
    assert modes(tmp_path / "cache") == {"ids": 0o600}


def test_a_second_user_of_a_shared_folder_uses_a_file_without_a_name(shared):
    expected = read(None, text_file(shared / "one.txt"))
    text_file(shared / "two.txt")
    (shared / "cache").mkdir()
    (shared / "cache").chmod(0o1777)
    made = read(shared / "cache", shared / "one.txt")
    before = os.listdir(shared / "cache")
    os.seteuid(OTHER)
    found = read(shared / "cache", shared / "one.txt")
    assert found.ids.filename == made.ids.filename, "the same file is found by both"
    found = read(shared / "cache", shared / "two.txt")  # the same symbols, of another file
    assert not found.in_memory and os.listdir(shared / "cache") == before
    assert found.notes == [f"the encoded text cannot be kept in {shared / 'cache'}: the next run "
                           "encodes it again"]
    for each in (made, found):
        np.testing.assert_array_equal(each.ids, expected.ids)
        assert each.digest == expected.digest


def test_an_unreadable_cache_of_another_user_is_ignored(shared):
    (shared / "cache").mkdir()
    (shared / "cache").chmod(0o1777)
    read(shared / "cache", text_file(shared / "one.txt", 0o600))
    before = os.listdir(shared / "cache")
    os.seteuid(OTHER)
    found = read(shared / "cache", text_file(shared / "two.txt"))
    assert found.vocabulary.decode(found.ids) == TEXT
    assert os.listdir(shared / "cache") == before


def test_if_the_name_is_taken_or_the_facts_are_too_long_the_run_uses_its_own_file(
    tmp_path, monkeypatch
):
    path = text_file(tmp_path / "a.txt")
    made = read(tmp_path / "cache", path)
    name = Path(made.ids.filename)
    name.unlink()
    name.mkdir()
    found = read(tmp_path / "cache", path)
    assert not found.in_memory and "cannot be kept" in found.notes[-1]
    name.rmdir()
    monkeypatch.setattr(store, "MAX_FACTS", 100)
    found = read(tmp_path / "cache", path)
    assert not found.in_memory and "cannot be kept" in found.notes[-1]
    np.testing.assert_array_equal(found.ids, made.ids)
    assert os.listdir(tmp_path / "cache") == []


def test_symbols_are_never_written_through_a_link(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "keep").write_text("precious")
    monkeypatch.setattr(store.time, "monotonic_ns", lambda: 1)
    planted = tmp_path / "cache" / f".{os.getpid()}-1.ids.tmp"
    planted.symlink_to("../keep")
    with pytest.raises(store.CharrnnError, match="File exists"):
        read(tmp_path / "cache", text_file(tmp_path / "a.txt"))
    assert (tmp_path / "keep").read_text() == "precious"


def test_a_fifo_next_to_the_checkpoint_blocks_no_command(tmp_path):
    text_file(tmp_path / "a.txt")
    os.utime(tmp_path / "a.txt", (1e9, 1e9))
    (tmp_path / "checkpoints").mkdir()
    os.mkfifo(tmp_path / "checkpoints/x.ids")
    lower = "from charrnn.text import cache; cache.LIMIT, cache.SETTLED = 300, -1;"
    code = f"import runpy, sys; {lower} sys.argv = ['charrnn', *sys.argv[1:]];" + (
        "runpy.run_module('charrnn', run_name='__main__')")
    for command in (COMMAND, [sys.executable, "-c", code]):
        for args in (["train", "a.txt", *TINY, "--steps", "1"], ["eval", "a.txt"]):
            result = subprocess.run([*command, *args], cwd=tmp_path, capture_output=True,
                                    timeout=30, env=ENVIRONMENT)
            assert result.returncode == 0, result
            assert run_charrnn("report", "a.txt", cwd=tmp_path).returncode == 0
