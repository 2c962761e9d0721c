"""Presets by name, and the example text: they need no clone."""

from __future__ import annotations

import pytest
from commands import one_line, run_charrnn

from charrnn.system import resources

NAMES = list(resources.presets())


def test_the_list_has_one_line_for_each_preset(tmp_path):
    result = run_charrnn("presets", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, b"")
    lines = result.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    for line in lines:
        summary = line.split(maxsplit=1)[1]
        assert len(line) <= 120 and not summary[0].islower() and summary.endswith(".")


def test_a_preset_is_printed_as_it_is(tmp_path):
    for name in NAMES:
        result = run_charrnn("presets", name, cwd=tmp_path)
        assert result.stdout == resources.presets()[name].read_bytes()


def test_an_unknown_preset_gets_the_nearest(tmp_path):
    assert one_line(run_charrnn("presets", "spint", cwd=tmp_path), 2) == (
        "charrnn: 'spint' is not a preset; did you mean sprint?\n")
    assert one_line(run_charrnn("train", "--example", "-c", "spint", cwd=tmp_path), 2) == (
        "charrnn: spint: neither a file nor a preset; did you mean sprint?; charrnn presets lists "
        "the presets\n")


@pytest.mark.parametrize("name", ["tiny.yaml", "no/tiny", "./tiny"])
def test_only_a_bare_name_is_that_of_a_preset(tmp_path, name):
    line = one_line(run_charrnn("train", "--example", "-c", name, cwd=tmp_path), 2)
    assert line.startswith(f"charrnn: {name}: the config cannot be read")


def test_a_preset_gives_the_settings_of_its_file_and_options_override_it(tmp_path):
    by_name = run_charrnn("train", "--example", "-c", "tiny", "--steps", "20", "-o", "a.npz",
                          cwd=tmp_path)
    by_file = run_charrnn("train", resources.example(), "-c", resources.presets()["tiny"],
                          "--steps", "20", "-o", "b.npz", cwd=tmp_path)
    assert by_name.returncode == by_file.returncode == 0, by_name.stderr
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = run_charrnn("train", "--example", "-c", "tiny", "--steps", "20", "-o", "a.npz",
                        cwd=tmp_path)
    assert b"already trained" in again.stderr


def test_a_file_in_the_working_directory_wins_but_not_a_folder(tmp_path):
    (tmp_path / "tiny").mkdir()
    result = run_charrnn("train", "--example", "-c", "tiny", "--dry-run", cwd=tmp_path)
    assert b"hidden_size 16" in result.stderr
    (tmp_path / "tiny").rmdir()
    (tmp_path / "tiny").write_text("hidden_size: 5")
    result = run_charrnn("train", "--example", "-c", "tiny", "--dry-run", cwd=tmp_path)
    assert b"hidden_size 5" in result.stderr


def test_the_example_is_the_play_and_its_checkpoint_has_its_name(tmp_path):
    result = run_charrnn("train", "--example", "-c", "tiny", "--steps", "1", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(b"tide_clock.txt: 84,626 characters")
    assert (tmp_path / "checkpoints" / "tide_clock.npz").exists()


def test_the_example_is_the_only_text(tmp_path):
    line = one_line(run_charrnn("train", "--example", "a.txt", cwd=tmp_path), 2)
    assert line == ("charrnn train: --example is a text: name no other one "
                    "(see charrnn train --help)\n")


def test_files_are_found_inside_an_installed_package(tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "PACKAGE", tmp_path)
    (tmp_path / "presets").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "presets" / "b.yaml").touch()
    (tmp_path / "presets" / "a.yaml").touch()
    assert list(resources.presets()) == ["a", "b"]
    assert resources.example() == tmp_path / "texts" / "tide_clock.txt"
