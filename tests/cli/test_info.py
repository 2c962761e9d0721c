"""``charrnn info``: what a checkpoint contains, for people and as JSON, also of older files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from commands import TEXT, TINY, one_line, run_charrnn
from examples import a_checkpoint

from charrnn.api import loaded
from charrnn.cli import info
from charrnn.config.settings import DERIVED, FIELDS
from charrnn.storage import checkpoint

DATA = Path(__file__).parent.parent / "data"


def shown(result):
    """The lines of a command that succeeded and printed no message."""
    assert (result.returncode, result.stderr) == (0, b""), result
    return result.stdout.decode()


def of(run, path):
    """The facts and the text about a checkpoint that is saved as ``path``."""
    checkpoint.save(path, run)
    facts = info.contents(loaded.load(path))
    assert json.loads(json.dumps(facts)) == facts
    return facts, "\n".join(info.lines(facts))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


def test_a_checkpoint_is_shown_with_its_model_text_score_and_settings(home):
    text = shown(run_charrnn("info", "checkpoints/corpus.npz", cwd=home))
    facts = json.loads(shown(run_charrnn("info", "-m", "corpus", "--json", cwd=home)))
    assert facts["file"] == "checkpoints/corpus.npz"
    assert text.startswith("checkpoints/corpus.npz: ")
    assert "RNN (tanh), 1 x 8 units, " in text
    assert f"{len(set(TEXT))} characters: " in text and "'\\n ,.BJ" in text
    assert "step 60 of 60" in text
    progress = facts["progress"]
    assert (f"{progress['best_bits_per_char']:.4f} bits/char "
            f"({progress['best_nats_per_char']:.4f} nats/char) at step") in text
    assert "  * hidden_size    8\n" in text and "    dropout        0.3\n" in text
    assert "not recorded" not in text
    assert max(map(len, text.splitlines())) <= 80 + len("  | ") + 200


def test_without_a_name_the_newest_checkpoint_is_shown_and_quiet_changes_nothing(home):
    named = run_charrnn("info", "corpus", cwd=home)
    assert shown(run_charrnn("info", cwd=home)) == shown(named)
    assert shown(run_charrnn("info", "-q", cwd=home)) == shown(named)


def test_json_is_complete(home):
    facts = json.loads(shown(run_charrnn("info", "--json", cwd=home)))
    run = checkpoint.load(home / "checkpoints/corpus.npz")
    assert facts["settings"] == run.settings
    assert facts["explicit"] == run.explicit
    assert set(facts["explicit"]) == {"hidden_size", "layers", "batch_size", "seq_length", "steps"}
    assert facts["not_recorded"] == []
    assert facts["vocabulary"]["symbols"] == "".join(sorted(set(TEXT)))
    assert facts["vocabulary"]["codes"] == sorted(map(ord, set(TEXT)))
    assert facts["digest"] == run.digest
    assert facts["bytes"] == (home / "checkpoints/corpus.npz").stat().st_size
    assert set(facts["versions"]) == {"charrnn", "numpy", "python"}
    assert facts["text"]["digest"] == run.origin["corpus"]
    assert facts["model"]["parameters"] == run.best.arch.size
    assert len(facts["history"]) == len(run.history)
    for row in facts["history"]:
        assert row["training_bits_per_char"] == row["training_nats_per_char"] / np.log(2)
        assert row["validation_bits_per_char"] == row["validation_nats_per_char"] / np.log(2)
    assert [sample["text"] for sample in facts["samples"]] == [text for _, text in run.samples]


@pytest.mark.parametrize("name", ["first.npz", "format1.npz"])
def test_values_that_an_older_file_lacks_are_shown_as_not_recorded(name, tmp_path):
    text = shown(run_charrnn("info", DATA / name, cwd=tmp_path))
    facts = json.loads(shown(run_charrnn("info", DATA / name, "--json", cwd=tmp_path)))
    assert "    eval_every     not recorded\n" in text
    assert "* differs from the default; explicit settings are not recorded" in text
    assert "  * hidden_size    " in text
    assert facts["explicit"] is None
    assert facts["changed"][0] == "hidden_size"
    assert "eval_every" in facts["not_recorded"]
    assert facts["settings"]["eval_every"] is None


def test_a_file_without_versions_processes_and_samples_is_shown(path):
    run = a_checkpoint()
    run.samples = []
    facts, text = of(run, path)
    facts["versions"] = None
    assert "written by   not recorded; format 1" in "\n".join(info.lines(facts))
    assert "Sample" not in text


def test_a_run_before_its_first_validation_is_shown(path):
    run = a_checkpoint()
    run.history, run.samples = [], []
    run.progress = dataclasses.replace(run.progress, best_nats=None, best_step=7)
    facts, text = of(run, path)
    assert "best score   not validated yet" in text
    assert "History" not in text
    assert facts["progress"]["best_step"] is None
    assert facts["progress"]["best_bits_per_char"] is None


def test_rows_without_validation_are_shown(path):
    run = a_checkpoint()
    run.history = [[step, 1.5, None, 0.5, 1e-3] for step in range(1, 8)]
    run.settings["val_fraction"] = 0.0
    run.progress = dataclasses.replace(run.progress, best_nats=None)
    facts, text = of(run, path)
    assert "validation   none" in text
    assert "best score   none: no validation part" in text
    assert "(last 5 of 7 rows; bits/char)" in text
    assert text.count("2.1640           -") == 5
    assert {row["validation_bits_per_char"] for row in facts["history"]} == {None}


def test_a_byte_level_model_is_shown(path):
    facts, text = of(a_checkpoint(level="byte"), path)
    assert "vocabulary   all 256 bytes" in text
    assert facts["vocabulary"]["symbols"] is None
    assert facts["vocabulary"]["codes"] == list(range(256))


def test_a_vocabulary_with_a_character_for_rare_ones_is_shown(path):
    facts, text = of(a_checkpoint("\nab\ufffd", min_count=5), path)
    assert "; others are read as U+FFFD" in text
    assert facts["vocabulary"]["replaces_unknown"] is True


def test_only_the_beginning_of_a_large_vocabulary_is_shown(path):
    run = a_checkpoint("".join(map(chr, range(0x4E00, 0x4E00 + 1000))))
    facts, text = of(run, path)
    assert "1,000 characters: '\u4e00\u4e01" in text
    assert "' and 920 more" in text
    assert len(facts["vocabulary"]["symbols"]) == 1000


def test_a_validation_text_and_a_first_checkpoint_are_shown_by_their_digests(path):
    run = a_checkpoint()
    run.origin = {"corpus": "ab" * 32, "val": "ef" * 32, "init_from": "cd" * 32}
    run.settings["val_fraction"] = None
    facts, text = of(run, path)
    assert f"validation   a separate text, SHA-256 {'ef' * 32}" in text
    first = f"started from the best weights of another checkpoint, SHA-256 {'cd' * 32}"
    assert first in text
    assert "    val_fraction   not used" in text
    assert "val_fraction" not in facts["not_recorded"]
    assert facts["not_recorded"] == []


@pytest.mark.parametrize(("number", "errors", "words"), [
    (1, "replace", "1 undecodable byte sequence replaced by U+FFFD"),
    (1200, "skip", "1,200 undecodable byte sequences skipped"),
])
def test_undecodable_bytes_of_the_text_are_counted(path, number, errors, words):
    run = a_checkpoint(errors=errors)
    run.undecodable = number
    facts, text = of(run, path)
    assert words in text
    assert facts["text"]["undecodable"] == number
    run.undecodable = 0
    assert "undecodable byte" not in of(run, path)[1]


def test_threads_and_processes_are_in_the_json(path):
    run = a_checkpoint()
    run.threads, run.processes = 2, 4
    progress = of(run, path)[0]["progress"]
    assert (progress["threads"], progress["processes"]) == (2, 4)


def test_names_and_symbols_cannot_control_a_terminal(path):
    run = a_checkpoint("\n\x1bab")
    run.corpus = "a\x1b[2J\nb"
    text = of(run, path)[1]
    assert "\x1b" not in text.partition("Sample")[0]
    assert "a\\x1b[2J\\nb" in text and "'\\n\\x1bab'" in text


def test_every_setting_is_shown_in_its_group(path):
    text = of(a_checkpoint(), path)[1]
    for field in FIELDS.values():
        assert f" {field.name:<15}" in text
        assert f"  {field.metadata['group']}\n" in text
    assert set(DERIVED) <= set(FIELDS)


def test_a_file_that_is_not_a_checkpoint_is_an_error_of_one_line(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"no checkpoint")
    assert "a.npz is not a charrnn checkpoint" in one_line(
        run_charrnn("info", "a.npz", cwd=tmp_path), 1)
    assert "no such checkpoint" in one_line(run_charrnn("info", "b.npz", cwd=tmp_path), 2)


def test_a_stopped_run_is_shown_with_its_progress(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    command = ["train", "a.txt", *TINY, "-q", "--max-minutes", "0.001"]
    assert run_charrnn(*command, cwd=tmp_path).returncode == 0
    facts = json.loads(shown(run_charrnn("info", "--json", cwd=tmp_path)))
    assert facts["settings"]["steps"] == facts["progress"]["steps"]
    assert "max_minutes" in facts["explicit"] and "steps" not in facts["explicit"]
