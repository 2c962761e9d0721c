"""``charrnn sample --json``: an object for each sample, from which all of its text can be had."""

from __future__ import annotations

import base64
import json

import pytest
from commands import TEXT, TINY, run_charrnn


def objects(result):
    assert result.returncode == 0, result
    assert result.stdout.isascii()
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_objects_hold_the_samples_that_are_printed_without_json(home):
    args = ["sample", "--prime", "sieb", "--count", "3", "--seed", "7", "--length", "40"]
    found = objects(run_charrnn(*args, "--json", cwd=home))
    assert [list(each) for each in found] == [
        ["number", "seed", "checkpoint", "prime", "text", "finish"]] * 3
    assert [each["number"] for each in found] == [1, 2, 3]
    for each in found:
        assert (each["seed"], each["checkpoint"]) == (7, "checkpoints/corpus.npz")
        assert (each["prime"], each["finish"]) == ("sieb", "length")
        assert len(each["text"]) == 40
    printed = run_charrnn(*args, cwd=home).stdout.decode()
    shown = [each["prime"] + each["text"] for each in found]
    assert printed == "".join(text if text.endswith("\n") else f"{text}\n" for text in shown)


def test_the_seed_of_an_object_repeats_its_sample(home):
    (first,) = objects(run_charrnn("sample", "--json", "--length", "30", cwd=home))
    (again,) = objects(run_charrnn("sample", "--json", "--length", "30", "--seed", first["seed"],
                                   cwd=home))
    assert again == first


def test_how_a_sample_finished_is_stored(home):
    args = ["sample", "--json", "--count", "20", "--seed", "1", "--length", "30", "--stop", "\n"]
    found = objects(run_charrnn(*args, cwd=home))
    assert {each["finish"] for each in found} == {"stop", "length"}
    for each in found:
        assert (len(each["text"]) < 30) == (each["finish"] == "stop")
        assert "\n" not in each["text"]
    (empty,) = objects(run_charrnn("sample", "--json", "--length", "0", cwd=home))
    assert (empty["prime"], empty["text"], empty["finish"]) == ("", "", "length")


def test_novelty_becomes_part_of_the_objects(home):
    args = ["sample", "--count", "2", "--seed", "3", "--length", "300", "--temperature", "0.3",
            "--novelty", "corpus.txt"]
    found = objects(run_charrnn(*args, "--json", cwd=home))
    messages = run_charrnn(*args, cwd=home).stderr.decode().splitlines()[1:]
    for each, line in zip(found, messages, strict=True):
        copied = each["novelty"]
        assert set(copied) == {"text", "longest", "passage", "windows", "copied_windows"}
        assert copied["text"] == "corpus.txt" and copied["windows"] == 281
        assert len(copied["passage"]) == copied["longest"]
        assert copied["passage"] in each["text"] and copied["passage"] in TEXT
        assert f" {copied['longest']:,} characters" in line
        assert f"occur there: {copied['copied_windows']:,} of 281 (" in line


@pytest.fixture(scope="module")
def bytes_home(tmp_path_factory):
    """A folder with a model of bytes."""
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "a.txt").write_text(TEXT, encoding="utf-8")
    result = run_charrnn("train", "a.txt", "--level", "byte", *TINY, "--steps", "3", cwd=folder)
    assert result.returncode == 0, result
    return folder


def test_bytes_that_are_not_utf8_are_also_given_without_loss(bytes_home):
    (bytes_home / "prime").write_bytes(b"ab\xff")
    args = ["sample", "--seed", "1", "--count", "4", "--length", "50", "--prime-file", "prime"]
    found = objects(run_charrnn(*args, "--json", cwd=bytes_home))
    printed = b""
    for each in found:
        assert each["prime"] == "ab\ufffd"
        raw = base64.b64decode(each["prime_base64"])
        text = each["text"].encode()
        if "text_base64" in each:
            text = base64.b64decode(each["text_base64"])
            assert text.decode(errors="replace") == each["text"]
        assert raw == b"ab\xff" and len(text) == 50
        printed += raw + text + b"\n" * (not text.endswith(b"\n"))
    assert any("text_base64" in each for each in found)
    assert run_charrnn(*args, cwd=bytes_home).stdout == printed


def test_bytes_that_are_utf8_are_given_only_as_text(bytes_home):
    args = ["sample", "--prime", "\u00dcber", "--length", "0", "--json"]
    (found,) = objects(run_charrnn(*args, cwd=bytes_home))
    assert found["prime"] == "\u00dcber" and not [key for key in found if "base64" in key]
