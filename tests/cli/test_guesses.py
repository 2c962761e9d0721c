"""Hints: what charrnn answers to commands, options and arguments that were guessed wrongly."""

from __future__ import annotations

import os
import shlex
import shutil

import click
import pytest
from commands import TINY, one_line, run_charrnn

from charrnn.cli.guesses import COMMANDS, OPTIONS, backslash_hint, names
from charrnn.cli.main import cli


def message(*args):
    """The message of click for a command line that it refuses."""
    with pytest.raises(click.UsageError) as caught:
        cli.main(list(args), standalone_mode=False)
    return caught.value.format_message()


@pytest.mark.parametrize(("typed", "meant"), [
    ("trian", "train"), ("Train", "train"), ("smaple", "sample"), ("evl", "eval"),
    ("generate", "sample"), ("evaluate", "eval"), ("score", "eval"), ("fit", "train"),
    ("raport", "report"),
])
def test_an_unknown_command_gets_the_one_that_was_meant(typed, meant):
    for args in ([typed], ["help", typed]):
        found = message(*args)
        assert found.startswith(f"No such command: {typed}; did you mean ")
        assert found.removesuffix("?").endswith(meant)


def test_a_text_or_a_checkpoint_without_a_command_gets_the_whole_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my text").write_text("a")
    (tmp_path / "trian").write_text("a file may have the name of a misspelt command")
    assert message("my text").endswith("did you mean charrnn train 'my text'?")
    assert message("trian").endswith("did you mean charrnn train trian?")
    assert message("corpus.txt").endswith("did you mean charrnn train corpus.txt?")
    assert message("a.npz").endswith("did you mean charrnn sample a.npz?")
    assert message("nothing-like-it") == "No such command: nothing-like-it"


@pytest.mark.parametrize(("args", "meant"), [
    (["train", "--lr"], "--learning-rate"), (["train", "-lr"], "--learning-rate"),
    (["train", "--epoch"], "--epochs"), (["train", "--hidden"], "--hidden-size"),
    (["train", "--rnn-size"], "--hidden-size"), (["train", "--rnn_size"], "--hidden-size"),
    (["train", "--num-layers"], "--layers"), (["train", "--batch"], "--batch-size"),
    (["train", "--output"], "--out"), (["train", "--learning_rate"], "--learning-rate"),
    (["train", "--batchsize"], "--batch-size"), (["sample", "-p"], "--prime or --top-p"),
    (["sample", "--model"], "--checkpoint"), (["sample", "--temp"], "--temperature"),
    (["sample", "-temperature"], "--temperature"), (["sample", "--len"], "--length"),
    (["sample", "--n"], "--length or --count"), (["sample", "-n"], "--length or --count"),
    (["sample", "--num-samples"], "--count"), (["sample", "--prompt"], "--prime"),
    (["sample", "--topk"], "--top-k"), (["sample", "--start"], "--prime"),
    (["eval", "--lines"], "--per-line"), (["eval", "--baseline"], "--baselines"),
    (["eval", "--silent"], "--quiet"), (["report", "--output"], "--out"),
    (["train", "--save"], "--out"), (["train", "--output-dir"], "--out"),
    (["--vesion"], "--version"), (["--hlep"], "--help"), (["eval", "--hlep"], "--help"),
])
def test_an_unknown_option_gets_the_one_that_was_meant(args, meant):
    for typed in (args[-1], f"{args[-1]}=3"):
        found = message(*args[:-1], typed, "a.txt")
        assert found == f"No such option: {args[-1]}; did you mean {meant}?"


def test_an_option_in_the_wrong_place_gets_the_right_one(home):
    assert message("--quiet", "eval", "a").endswith("after the command: charrnn eval --quiet")
    assert message("--length", "9", "sample").endswith("charrnn sample --length")
    for name in ("--output", "-o"):
        assert "add > FILE" in message("sample", name, "a.txt")


def test_an_option_of_the_group_after_the_command_gets_its_place():
    for command in ("train", "eval"):
        expected = f"it belongs before the command: charrnn --debug {command}"
        assert message(command, "a.txt", "--debug").endswith(expected)
    for name in ("-q", "--quiet"):
        expected = f"it belongs after the command: charrnn eval {name}"
        assert message(name, "eval", "a.txt").endswith(expected)


def test_a_word_that_is_not_similar_gets_no_hint():
    for name in ("--verbose", "--temp"):
        assert message("train", name, "a.txt") == f"No such option: {name}"


def test_other_names_of_the_kind_of_model_lead_to_cell():
    for name in ("--model", "--arch", "--rnn-type", "--lstm", "--rnn"):
        found = message("train", "a.txt", name, "lstm")
        assert "--cell chooses rnn, gru or lstm" in found and "--hidden-size" in found
        assert ("-o names the checkpoint" in found) == (name == "--model")


def test_options_that_are_not_needed_get_the_reason():
    for name in ("--device", "--gpu"):
        for command in ("train", "sample"):
            assert message(command, name, "a.txt").endswith("; charrnn always runs on the CPU")
    for name in ("--resume", "--continue"):
        assert message("train", "a.txt", name).endswith("repeat the command that started it")
    assert message("version") == "No such command: version; did you mean charrnn --version?"


def test_an_unknown_choice_gets_the_nearest():
    for args, meant in ((["eval", "--split", "valid"], "val"),
                        (["eval", "--unknown", "skp"], "skip"),
                        (["train", "--errors", "ignore"], "skip"),
                        (["report", "--unknown", "ignore"], "skip")):
        assert message(*args, "a.txt").endswith(f"; did you mean {meant}?")
    assert message("eval", "a.txt", "--split", "x" * 999).endswith("is not one of all, train, val")


def test_an_option_without_its_value_names_the_command(home):
    line = one_line(run_charrnn("sample", "--prime", cwd=home), 2)
    assert line == ("charrnn sample: Option '--prime' requires an argument "
                    "(see charrnn sample --help)\n")


def test_a_missing_text_gets_the_name_of_standard_input():
    assert message("eval", "-q").endswith(": name a text, or - for standard input")
    assert message("train", "-q").endswith(
        ": name a text, or - for standard input, or try --example")


def test_only_names_without_their_endings_are_compared(home):
    (home / "b.txt").write_text("b")
    line = one_line(run_charrnn("eval", "a.txt", cwd=home), 2)
    assert "a.txt: no such file" in line and "did you mean" not in line


def test_every_synonym_leads_to_something_that_exists():
    known = {name.removeprefix("--") for command in cli.commands.values()
             for name in names(command)}
    for meant in OPTIONS.values():
        assert set(meant.split()) <= known, meant
    for typed, meant in COMMANDS.items():
        assert typed not in cli.commands
        assert meant in {*cli.commands, *names(cli)}


@pytest.mark.parametrize("args", [["report"], ["eval"], ["train"], ["train", "--val"]])
def test_a_checkpoint_given_as_a_text_gets_the_right_command(home, tmp_path, args):
    path = tmp_path / "my model.npz"
    shutil.copy(home / "checkpoints/corpus.npz", path)
    if args[-1] == "--val":
        args = ["train", str(home / "corpus.txt"), "--val"]
    line = one_line(run_charrnn(*args, path.name, cwd=tmp_path), 2)
    assert f"{path.name} is a checkpoint, not a text: " in line
    option = "--init-from" if "train" in args else "-m"
    assert f"{option} {shlex.quote(path.name)}" in line
    assert os.listdir(tmp_path) == [path.name]


def test_a_checkpoint_given_as_a_text_may_lack_the_folder_of_checkpoints(home):
    line = one_line(run_charrnn("eval", "corpus.npz", cwd=home), 2)
    assert "checkpoints/corpus.npz is a checkpoint, not a text: charrnn eval -m ch" in line


@pytest.mark.parametrize("args", [["train"], ["eval"], ["report"], ["train", "corpus.txt", "--val"],
                                  ["sample", "--novelty"], ["sample", "--prime-file"],
                                  ["eval", "corpus.txt", "--baselines", "--train-text"]])
def test_a_text_that_does_not_exist_gets_a_similar_file(home, args):
    for typed in ("corpus", "copus.txt", "corpus.text"):
        line = one_line(run_charrnn(*args, typed, cwd=home), 2)
        assert f"{typed}: no such file; did you mean corpus.txt?" in line
    line = one_line(run_charrnn(*args, home / "corpus", cwd=home), 2)
    assert f"did you mean {home}/corpus.txt?" in line
    missing = run_charrnn(*args, "missing", cwd=home)
    assert missing.returncode == 2
    assert b"missing" in missing.stderr and b"did you mean" not in missing.stderr


def test_an_npz_file_that_is_not_a_checkpoint_is_a_text(home, tmp_path):
    (tmp_path / "a.npz").write_text("sieben\n")
    model = ["-m", home / "checkpoints/corpus.npz"]
    assert run_charrnn("eval", "a.npz", *model, cwd=tmp_path).returncode == 0
    shutil.copy(home / "checkpoints/corpus.npz", tmp_path / "b.npz")
    result = run_charrnn("train", "b.npz", "--level", "byte", *TINY, "--steps", "1", "-o", "c.npz",
                         cwd=tmp_path)
    assert result.returncode == 0, "a model of bytes may be trained on any file"


def test_a_prime_given_as_a_checkpoint_gets_the_option(home):
    advice = "; to start from a text: charrnn sample --prime 'Once upon'"
    assert f"Once upon: no such checkpoint{advice}" in one_line(
        run_charrnn("sample", "Once upon", cwd=home), 2)
    more = "; to start from a text: charrnn sample --prime corpsu; did you mean checkpoints/corpus"
    assert f"corpsu: no such checkpoint{more}.npz?" in one_line(
        run_charrnn("sample", "corpsu", cwd=home), 2)
    assert f"not 2: Once upon{advice}" in one_line(
        run_charrnn("sample", "Once", "upon", cwd=home), 2)


def test_the_hint_on_backslashes_names_what_was_typed():
    assert backslash_hint("--prime", "a\nb\t") == ""
    assert backslash_hint("--prime", "a\\x") == ""
    assert "followed by n; for a newline, write --stop $'...\\n...'" in backslash_hint(
        "--stop", "\\n")
    assert "followed by t; for a tab" in backslash_hint("--stop", "\\t")
