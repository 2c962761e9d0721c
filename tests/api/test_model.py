"""The public model: its results are those of the commands, and of each other."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from commands import TEXT, TINY, run_charrnn

import charrnn
from charrnn.api import loaded
from charrnn.inference.scoring import SEGMENT, SEGMENTS_AT_ONCE
from charrnn.text.vocabulary import Vocabulary

LONG = TEXT * 12  # some blocks of segments
RARE = "".join(f"{TEXT[:30]}{chr(0x4E00 + i)}\n" for i in range(60))  # each of these once


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    for name, text in {"chars": TEXT, "rare": RARE}.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    for name, corpus, *options in (
        ("chars", "chars.txt", "--eval-every", 5), ("bytes", "chars.txt", "--level", "byte"),
        ("rare", "rare.txt", "--min-count", 2), ("reset", "chars.txt", "--borders", "reset"),
        ("all", "chars.txt", "--val-fraction", 0),
    ):
        result = run_charrnn("train", corpus, "-o", f"{name}.npz", *TINY, "--steps", 20, *options,
                             cwd=folder)
        assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(autouse=True)
def _at_home(home, monkeypatch):
    monkeypatch.chdir(home)


@pytest.fixture
def model():
    return charrnn.load("chars.npz")


@pytest.fixture
def of_bytes():
    return charrnn.load("bytes.npz")


def printed(home, *args):
    result = run_charrnn(*args, cwd=home)
    assert result.returncode == 0, result.stderr
    return result.stdout


# The names that charrnn offers.


def test_charrnn_offers_these_names_and_no_others():
    assert dir(charrnn) == sorted(charrnn.__all__)
    for name in charrnn.__all__:
        assert getattr(charrnn, name).__class__ is not None
    for error in ("UsageError", "CorpusError", "CheckpointError", "LockedError", "DivergedError"):
        assert issubclass(getattr(charrnn, error), charrnn.CharrnnError)
    with pytest.raises(AttributeError, match=r"^module 'charrnn' has no attribute 'lode'$"):
        charrnn.lode  # noqa: B018
    names: dict = {}
    exec("from charrnn import *", names)
    assert set(names) >= set(charrnn.__all__)


def test_a_type_checker_sees_what_charrnn_offers(tmp_path):
    mypy = pytest.importorskip("mypy.api")
    program = tmp_path / "program.py"
    program.write_text(
        "import charrnn\nmodel = charrnn.load('a')\nreveal_type(model)\n"
        "reveal_type(model.sample(count=2))\nreveal_type(model.sample(stream=True))\n"
        "reveal_type(model.score('a'))\nreveal_type(charrnn.train(['a'], steps=3))\n"
        "model.sample().upper()\nmodel.sample(count=2, stream=True)\nmodel.score(3)\n"
        "charrnn.trian\nflag: bool = True\nfor part in model.sample(stream=flag): print(part)\n"
        "charrnn.train(path for path in ['a'])\nlayers: int = model.settings['layers']\n"
    )
    output, _, _ = mypy.run([str(program), "--strict", "--cache-dir", str(tmp_path / "cache")])
    revealed = [line.split('"')[1] for line in output.splitlines() if "Revealed type" in line]
    assert [name.replace("builtins.", "").replace("typing.", "") for name in revealed] == [
        "charrnn.api.model.Model", "list[str | Any]", "Iterator[str | Any]",
        "charrnn.inference.scoring.Score", "charrnn.api.model.Model"], output
    wrong = [line for line in output.splitlines() if ": error:" in line]
    assert [line.split(":")[1] for line in wrong] == ["9", "10", "11"], output


# Loading.


@pytest.mark.parametrize("path", ["chars.npz", Path("chars.npz"), "chars", Path("chars")])
def test_a_path_is_a_str_or_a_path_and_may_lack_its_ending(path):
    assert charrnn.load(path).path == Path("chars.npz")


def test_the_folder_of_checkpoints_may_be_left_out_and_a_tilde_is_the_home(home, monkeypatch):
    (home / "checkpoints").mkdir()
    (home / "checkpoints/inside.npz").write_bytes((home / "chars.npz").read_bytes())
    assert charrnn.load("inside").path == Path("checkpoints/inside.npz")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    assert charrnn.load("~/chars").path == home / "chars.npz"


def test_a_file_that_is_not_a_checkpoint_is_refused(home):
    with pytest.raises(charrnn.UsageError, match=r"^nothing\.npz: no such checkpoint; charrnn\.t"):
        charrnn.load("nothing.npz")
    with pytest.raises(charrnn.UsageError, match=r"did you mean chars\.npz"):
        charrnn.load("char.npz")
    with pytest.raises(TypeError, match=r"^path must be a path, a str or a Path, not int"):
        charrnn.load(3)
    with pytest.raises(charrnn.CheckpointError, match=r"^chars\.txt is not a charrnn checkpoint"):
        charrnn.load("chars.txt")


def test_the_repr_of_a_model_describes_it(model, of_bytes):
    best = loaded.load(Path("chars.npz")).checkpoint.progress
    assert repr(model) == (
        f"<charrnn.Model 'chars.npz': 1 x 8 rnn units, "
        f"{sum(map(np.size, model.parameters.values())):,} parameters, "
        f"{len(set(TEXT))} characters; step 20 of 20, validation "
        f"{best.best_nats / math.log(2):.4f} bits/char at step {best.best_step}>")
    assert "256 bytes" in repr(of_bytes)
    assert repr(charrnn.load("all.npz")).endswith("step 20 of 20>")
    model._model.checkpoint.progress.best_step = 5
    assert repr(model).endswith(" bits/char at step 5>")
    model._model.vocabulary = Vocabulary(np.array([97]), "char")
    assert ", 1 character;" in repr(model)


def test_the_steps_and_the_best_score_are_those_of_the_run(model):
    best = min(model.history, key=lambda row: row.validation_nats_per_char)
    assert (model.step, model.best_step) == (20, best.step)
    assert model.best_bits_per_char == best.validation_bits_per_char
    without = charrnn.load("all.npz")
    assert (without.step, without.best_step, without.best_bits_per_char) == (20, 20, None)


def test_a_model_is_made_by_functions_alone():
    with pytest.raises(TypeError, match=r"charrnn\.load"):
        charrnn.Model("chars.npz")


def test_the_vocabulary_is_in_the_order_of_the_ids(model, of_bytes):
    assert model.vocabulary == "".join(sorted(set(TEXT)))
    assert of_bytes.vocabulary == bytes(range(256))


def test_the_parameters_are_those_of_the_file_and_cannot_be_changed(model):
    stored = np.load("chars.npz")
    assert list(model.parameters) == ["W_xh0", "W_hh0", "b_h0", "W_hy", "b_y"]
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(array, stored[name])
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    with pytest.raises(TypeError):
        model.parameters["b_y"] = 0
    assert model.score("sieben") == model.score("sieben")


def test_the_settings_are_those_of_the_run(model):
    assert (model.settings["hidden_size"], model.settings["level"]) == (8, "char")
    model.settings["level"] = "byte"
    assert model.settings["level"] == "char", "a copy was changed"


def test_the_history_has_a_row_for_each_validation(model):
    rows = json.loads(np.load("chars.npz")["meta"].tobytes())["history"]
    assert [row.step for row in model.history] == [5, 10, 15, 20]
    for row, (step, loss, nats, norm, rate) in zip(model.history, rows, strict=True):
        assert (row.step, row.training_nats_per_char, row.validation_nats_per_char,
                row.grad_norm, row.learning_rate) == (step, loss, nats, norm, rate)
        assert row.training_bits_per_char == loss / math.log(2)
        assert row.validation_bits_per_char == nats / math.log(2)
    without = charrnn.load("all.npz").history[-1]
    assert without.validation_bits_per_char is without.validation_nats_per_char is None


# Samples.


@pytest.mark.parametrize("name", ["chars", "bytes", "rare"])
@pytest.mark.parametrize(("options", "arguments"), [
    ({}, []),
    ({"length": 0}, ["--length", 0]),
    ({"length": np.int64(40), "temperature": 0.5, "top_k": 4, "top_p": 0.8},
     ["--length", 40, "--temperature", 0.5, "--top-k", 4, "--top-p", 0.8]),
    ({"temperature": 0, "length": 30}, ["--temperature", 0, "--length", 30]),
    ({"stop": "en"}, ["--stop", "en"]),
])
def test_a_sample_is_that_of_the_command(home, name, options, arguments):
    sample = charrnn.load(f"{name}.npz").sample("sieben", seed=7, **options)
    output = printed(home, "sample", "-m", f"{name}.npz", "--prime", "sieben", "--seed", 7,
                     *arguments)
    assert output == (sample if name == "bytes" else sample.encode())
    assert isinstance(sample, bytes if name == "bytes" else str)


def test_several_samples_are_those_of_the_command(home, model):
    samples = model.sample("s", 20, seed=3, count=40)
    output = printed(home, "sample", "-m", "chars.npz", "--prime", "s", "--seed", 3, "--length", 20,
                     "--count", 40).decode()
    assert len(samples) == 40
    assert output == "".join(text + "\n" * (not text.endswith("\n")) for text in samples)
    assert model.sample("s", 20, seed=3, count=1) == samples[:1]
    assert model.sample("s", 20, seed=3) == samples[0]


@pytest.mark.parametrize("prime", ["", "sieben"])
def test_a_stream_is_the_sample_part_by_part(model, of_bytes, prime):
    parts = list(model.sample(prime, 30, seed=5, stream=True))
    assert "".join(parts) == model.sample(prime, 30, seed=5)
    assert parts[: len(prime) > 0] == [prime] * (len(prime) > 0)
    assert [len(part) for part in parts[len(prime) > 0 :]] == [1] * 30
    parts = list(of_bytes.sample(prime, 30, seed=5, stream=True))
    assert b"".join(parts) == of_bytes.sample(prime, 30, seed=5)


def test_a_stream_is_drawn_as_it_is_read(model):
    stream = model.sample(length=10**9, stream=True)
    assert len("".join(next(stream) for _ in range(20))) == 20


def test_without_a_seed_every_sample_differs(model):
    assert model.sample(length=200) != model.sample(length=200)


@pytest.mark.parametrize("options", [
    {"length": -1}, {"temperature": -0.1}, {"temperature": math.nan}, {"temperature": math.inf},
    {"top_k": -1}, {"top_p": 0}, {"top_p": 1.1}, {"seed": -1}, {"seed": 2**63}, {"count": 0},
    {"count": 2, "stream": True}, {"unknown": "drop"}, {"stop": "☃"}, {"prime": "☃"},
])
@pytest.mark.parametrize("stream", [False, True])
def test_invalid_arguments_of_sample_are_refused_at_once(model, options, stream):
    with pytest.raises(charrnn.UsageError) as caught:
        model.sample(**{"stream": stream} | options)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize("options", [
    {"length": 2.5}, {"length": "3"}, {"count": 1.5}, {"seed": 1.5}, {"top_k": None},
    {"temperature": "1"}, {"temperature": np.ones(2)}, {"top_p": None}, {"stop": 0},
    {"stop": False}, {"stop": []}, {"prime": 3},
])
def test_an_argument_of_the_wrong_type_is_named(model, options):
    with pytest.raises(TypeError, match=f"^{next(iter(options))} must be "):
        model.sample(**options)


def test_numbers_are_values_of_python_and_numpy(model):
    expected = model.sample(length=30, seed=3, count=2, temperature=0.5)
    for kind in (float, np.float32, np.float64, np.int8, np.array):
        assert model.sample(length=kind(30), seed=kind(3), count=kind(2),
                            temperature=np.float32(0.5)) == expected
    assert model.sample(seed=3, stop="") == model.sample(seed=3)


def test_unknown_characters_of_a_prime_are_skipped_on_request(model):
    with pytest.raises(charrnn.UsageError, match=r'☃.*unknown="skip"'):
        model.sample("d☃u")
    assert model.sample("d☃u", 0, unknown="skip") == "du"
    assert charrnn.load("rare.npz").sample("d☃u", 0) == "d\ufffdu"


# Scores.


@pytest.mark.parametrize("name", ["chars", "bytes", "rare", "reset"])
@pytest.mark.parametrize("size", [1, 100, SEGMENT + 1, SEGMENT * SEGMENTS_AT_ONCE + 5000])
def test_the_score_is_that_of_eval_to_the_last_bit(home, name, size):
    text = LONG[:size]
    (home / "part.txt").write_bytes(text.encode())
    score = charrnn.load(f"{name}.npz").score(text)
    expected = json.loads(printed(home, "eval", "part.txt", "-m", f"{name}.npz", "--json"))
    assert (score.chars, score.nats_per_char, score.bits_per_char, score.perplexity,
            score.accuracy) == tuple(expected[key] for key in (
                "chars", "nats_per_char", "bits_per_char", "perplexity", "accuracy"))


def test_a_byte_level_model_reads_and_generates_bytes(model, of_bytes):
    assert of_bytes.score("Brücken") == of_bytes.score("Brücken".encode())
    assert of_bytes.score(b"\xff\x00").chars == 2
    np.testing.assert_array_equal(of_bytes.predict("ü"), of_bytes.predict("ü".encode()))
    assert of_bytes.sample(b"\xff", 0) == b"\xff"
    for use in (model.score, model.surprisal, model.predict, model.sample):
        with pytest.raises(TypeError, match="decode the bytes to a str"):
            use(b"sieben")
        with pytest.raises(TypeError, match=r"^(text|prime) must be a str, not int"):
            use(3)
    for each in (model, of_bytes):
        with pytest.raises(charrnn.CorpusError, match="character 2 is half of a surrogate pair"):
            each.score("s\ud800")


def test_an_empty_text_has_no_score(model):
    with pytest.raises(charrnn.CorpusError, match="the text is empty"):
        model.score("")
    assert model.surprisal("").shape == (0,)


def test_unknown_characters_are_refused_skipped_or_replaced(model):
    for use in (model.score, model.surprisal, model.predict):
        with pytest.raises(charrnn.CorpusError, match=r'☃.*unknown="skip"'):
            use("d☃u")
        with pytest.raises(charrnn.UsageError, match="unknown must be"):
            use("du", unknown="replace")
    assert model.score("d☃u", unknown="skip") == model.score("du")
    replacing = charrnn.load("rare.npz")
    assert replacing.score("d☃u") == replacing.score("d\ufffdu")


@pytest.mark.parametrize("size", [1, 100, SEGMENT * SEGMENTS_AT_ONCE + 5000])
def test_the_mean_surprisal_is_the_score(model, size):
    bits = model.surprisal(LONG[:size])
    assert (bits.shape, bits.dtype) == ((size,), np.float64)
    assert bits.mean() == pytest.approx(model.score(LONG[:size]).bits_per_char, rel=1e-12)


def test_predictions_agree_with_surprisals(model):
    text = "sieben"
    for i, bits in enumerate(model.surprisal(text)):
        p = model.predict(text[:i])
        assert (p.shape, p.dtype) == ((len(model.vocabulary),), np.float64)
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert -np.log2(p[model.vocabulary.index(text[i])]) == pytest.approx(bits, rel=1e-4)


def test_samples_are_drawn_from_the_predictions(model):
    p = model.predict("sie")
    drawn = "".join(text[-1] for text in model.sample("sie", 1, seed=1, count=20_000))
    counts = np.array([drawn.count(symbol) for symbol in model.vocabulary])
    deviation = (counts - 20_000 * p) / np.sqrt(20_000 * p * (1 - p))
    assert abs(deviation).max() < 5
    assert model.sample("sie", 1, temperature=0)[-1] == model.vocabulary[p.argmax()]


def test_a_model_whose_states_overflow_has_no_prediction(home):
    result = run_charrnn("train", "chars.txt", "-o", "relu.npz", *TINY, "--steps", 2,
                         "--activation", "relu", cwd=home)
    assert result.returncode == 0, result.stderr
    model = charrnn.load("relu.npz")
    model._model.parameters.W_hh[0][:] = 1e30
    model._model.parameters.W_xh[0][:] = 1e30
    for use in (model.predict, model.score, model.surprisal, model.sample):
        with pytest.raises(charrnn.DivergedError, match=r"overflow.*lower learning_rate"):
            use("sieben")


def test_several_threads_can_use_one_model(model):
    expected = model.score(TEXT), model.sample("s", 50, seed=1)
    found = []
    threads = [threading.Thread(target=lambda: found.append(
        (model.score(TEXT), model.sample("s", 50, seed=1)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [expected] * 4


def test_the_number_of_blas_threads_changes_no_bit(home):
    result = run_charrnn("train", "chars.txt", "-o", "wide.npz", *TINY, "--steps", 2,
                         "--hidden-size", 200, cwd=home)
    assert result.returncode == 0, result.stderr
    code = (
        "import charrnn; model = charrnn.load('wide.npz'); text = open('chars.txt').read()\n"
        "print(model.score(text).nats.hex(), [p.hex() for p in model.predict(text)],"
        "model.sample(seed=1).encode().hex())"
    )
    outputs = {subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True,
                              text=True, check=True, timeout=60,
                              env=os.environ | {"OPENBLAS_NUM_THREADS": threads}).stdout
               for threads in ("1", "2")}
    assert len(outputs) == 1


def test_scores_and_history_rows_can_be_pickled(model):
    for value in (model.score("sieben"), model.history):
        assert pickle.loads(pickle.dumps(value)) == value
