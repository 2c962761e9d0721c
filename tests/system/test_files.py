"""Files are opened and replaced safely: links are not followed and FIFOs do not block."""

from __future__ import annotations

import os

import pytest

from charrnn.errors import CharrnnError
from charrnn.system import files

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")


def plant(kind, name, keep):
    """Put something at ``name`` that charrnn would not create; some kinds link to ``keep``."""
    keep.write_bytes(b"precious")
    if kind == "link":
        name.symlink_to(keep)
    elif kind == "relative link":
        name.symlink_to(os.path.relpath(keep, name.parent))
    elif kind == "dangling link":
        name.symlink_to(keep.with_name("missing"))
    elif kind == "link to itself":
        name.symlink_to(name.name)
    elif kind == "hard link":
        os.link(keep, name)
    elif kind == "FIFO":
        os.mkfifo(name)
    elif kind == "file":
        name.write_bytes(b"precious")
    elif kind == "folder":
        name.mkdir()
    elif kind == "link to a folder":
        name.symlink_to(keep.parent)
    elif kind == "link to a device":
        name.symlink_to("/dev/zero")


PLANTED = ("link", "relative link", "dangling link", "link to itself", "hard link", "FIFO", "file",
           "folder", "link to a folder", "link to a device")


@POSIX
@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_temporary_file_is_never_written_through(tmp_path, kind):
    keep, path = tmp_path / "elsewhere" / "keep", tmp_path / "here" / "page"
    for folder in (keep.parent, path.parent):
        folder.mkdir()
    path.write_bytes(b"old")
    plant(kind, path.with_name(".page.tmp"), keep)
    try:
        with files.replacing(path, "the page") as file:
            file.write(b"new")
    except CharrnnError as error:
        assert kind == "folder" and "is kept" in str(error)
        assert path.read_bytes() == b"old"
    else:
        assert path.read_bytes() == b"new" and not path.is_symlink()
        assert os.listdir(path.parent) == ["page"]
    assert keep.read_bytes() == b"precious"
    assert os.listdir(keep.parent) == ["keep"]


@POSIX
def test_a_link_planted_at_the_last_moment_is_not_followed(tmp_path, monkeypatch):
    keep, path = tmp_path / "keep", tmp_path / "page"
    keep.write_bytes(b"precious")
    unlink = os.unlink

    def unlink_and_plant(name, **where):
        os.symlink(keep, name)
        monkeypatch.setattr(os, "unlink", unlink)

    monkeypatch.setattr(os, "unlink", unlink_and_plant)
    with (pytest.raises(CharrnnError, match="File exists"),
          files.replacing(path, "the page") as file):
        file.write(b"new")
    assert os.listdir(tmp_path) == ["keep"] and keep.read_bytes() == b"precious"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(28, "No space left")])
def test_after_any_exception_the_old_file_is_kept_and_no_temporary_file_is_left(tmp_path, error):
    path = tmp_path / "page"
    path.write_bytes(b"old")
    expected = CharrnnError if isinstance(error, OSError) else error
    with pytest.raises(expected), files.replacing(path, "the page") as file:
        file.write(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["page"]


@POSIX
@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("kind", PLANTED)
def test_only_regular_files_are_opened_and_nothing_blocks(tmp_path, kind, follow):
    (tmp_path / "elsewhere").mkdir()
    name = tmp_path / "name"
    plant(kind, name, tmp_path / "elsewhere" / "keep")
    if kind in ("file", "hard link") or (follow and kind in ("link", "relative link")):
        with files.open_regular(name, follow=follow) as file:
            assert file.read() == b"precious"
    else:
        with pytest.raises(OSError) as caught:
            files.open_regular(name, follow=follow)
        assert caught.value.strerror and caught.value.filename
