"""Several checkpoints as one model: ``eval -m A -m B`` and ``sample -m A -m B``."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from commands import TEXT, TINY, one_line, run_charrnn

import charrnn


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a text and models of it with different cells, and models of other texts."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "a.txt").write_text(TEXT, encoding="utf-8")
    (folder / "b.txt").write_text(TEXT[: len(TEXT) // 2], encoding="utf-8")  # the same characters
    (folder / "c.txt").write_text("other characters " * 50, encoding="utf-8")
    for text, out, *options in (("a.txt", "one"), ("a.txt", "two", "--cell", "gru"),
                                ("b.txt", "half"), ("c.txt", "other"),
                                ("a.txt", "third", "--val-fraction", "0.3"),
                                ("a.txt", "borders", "--borders", "reset"),
                                ("a.txt", "bytes", "--level", "byte"),
                                ("a.txt", "bytes2", "--level", "byte", "--seed", "2")):
        result = run_charrnn("train", text, "-o", f"{out}.npz", *TINY, "--steps", "30", *options,
                             cwd=folder)
        assert result.returncode == 0, result.stderr
    return folder


BOTH = ("-m", "one.npz", "-m", "two.npz")


def mean(models, text, *names):
    """-log2 of the mean of the probabilities that each model gives to each character."""
    bits = [charrnn.load(models / f"{name}.npz").surprisal(text) for name in names]
    return -np.log2(np.mean([2.0**-each for each in bits], axis=0))


def test_the_score_is_that_of_the_mean_of_the_probabilities_and_says_so(models):
    result = run_charrnn("eval", "b.txt", *BOTH, cwd=models)
    assert result.stdout.endswith(b", mean of the probabilities of 2 models\n")
    for name in (b"one.npz, step 30", b"two.npz, step 30"):
        assert name in result.stderr
    found = json.loads(run_charrnn("eval", "b.txt", *BOTH, "--json", cwd=models).stdout)
    assert found["checkpoints"] == ["one.npz", "two.npz"] and "checkpoint" not in found
    text = (models / "b.txt").read_text(encoding="utf-8")
    assert found["bits_per_char"] == pytest.approx(mean(models, text, "one", "two").mean(),
                                                   rel=1e-5)


def test_the_same_model_twice_has_its_own_score(models):
    one = json.loads(run_charrnn("eval", "b.txt", "-m", "one", "--json", cwd=models).stdout)
    two = json.loads(run_charrnn("eval", "b.txt", "-m", "one", "-m", "one", "--json",
                                 cwd=models).stdout)
    assert two["nats_per_char"] == pytest.approx(one["nats_per_char"], rel=1e-6)


@pytest.mark.parametrize("options", [["--split", "val"], ["--per-line"], ["--surprisal"],
                                     ["--split", "val", "--baselines"]])
def test_every_kind_of_score_takes_several_models(models, options):
    result = run_charrnn("eval", "a.txt", *BOTH, *options, cwd=models)
    alone = run_charrnn("eval", "a.txt", "-m", "one.npz", *options, cwd=models)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(b"\n") == alone.stdout.count(b"\n")
    assert result.stdout != alone.stdout
    if "--baselines" in options:
        assert b"2 models" in result.stdout


def test_the_validation_part_must_be_the_same(models):
    for other in ("half", "third"):
        line = one_line(run_charrnn("eval", "a.txt", "--split", "val", "-m", "one.npz", "-m",
                                    f"{other}.npz", cwd=models), 2)
        assert f"one.npz and {other}.npz were trained on different texts or parts" in line
    result = run_charrnn("eval", "a.txt", "-m", "one.npz", "-m", "half.npz", cwd=models)
    assert result.returncode == 0
    assert result.stderr.count(b"the model was trained on") == 1, "one of them was"


def test_models_that_cannot_be_averaged_are_refused(models):
    for command in (["eval", "a.txt"], ["sample"]):
        for other, reason in (("other", "(9 characters) have different vocabularies"),
                              ("bytes", "(256 bytes) have different vocabularies"),
                              ("borders", "were trained with different --borders")):
            line = one_line(run_charrnn(*command, "-m", "one.npz", "-m", f"{other}.npz",
                                        cwd=models), 2)
            assert reason in line
    line = one_line(run_charrnn("eval", "a.txt", *BOTH, "--dynamic", cwd=models), 2)
    assert "--dynamic trains one model: give -m once" in line


@pytest.mark.parametrize("names", [("one", "two"), ("bytes", "bytes2")])
def test_samples_come_from_all_models_and_are_reproducible(models, names):
    options = [part for name in names for part in ("-m", f"{name}.npz")]
    args = ["sample", *options, "--seed", "3", "--length", "60", "--prime", "si"]
    result = run_charrnn(*args, cwd=models)
    assert result.stderr == ", ".join(f"{name}.npz" for name in names).encode() + b", seed 3\n"
    model = charrnn.load(*(models / f"{name}.npz" for name in names))
    sample = model.sample("si", 60, seed=3)
    assert result.stdout == (sample if isinstance(sample, bytes) else sample.encode())
    assert result.stdout != run_charrnn("sample", *options[:2], *args[-6:], cwd=models).stdout
    facts = json.loads(run_charrnn(*args, "--count", "1", "--json", cwd=models).stdout)
    assert facts["checkpoints"] == [f"{name}.npz" for name in names]


def test_a_model_in_python_averages_what_it_predicts(models):
    files = [models / "one.npz", models / "two.npz"]
    model, members = charrnn.load(*files), [charrnn.load(file) for file in files]
    assert [member.path for member in model.members] == files
    assert members[0].members == [members[0]] and model.path == files[0]
    np.testing.assert_allclose(model.predict("sieb"),
                               np.mean([each.predict("sieb") for each in members], axis=0),
                               rtol=1e-5)
    text = TEXT[:500]
    np.testing.assert_allclose(model.surprisal(text), mean(models, text, "one", "two"), rtol=1e-3,
                               atol=1e-5)
    assert model.score(text).nats == pytest.approx(model.surprisal(text).sum() * math.log(2))
    assert "mean of 2 models, the first " in repr(model)
    with pytest.raises(charrnn.UsageError, match="the average of several models"):
        charrnn.train(models / "a.txt", out=models / "new.npz", init_from=model)


def test_other_commands_take_one_checkpoint(models):
    for command in (["report"], ["info"]):
        line = one_line(run_charrnn(*command, *BOTH, cwd=models), 2)
        assert line == "charrnn: name one checkpoint, not 2: one.npz two.npz\n"
