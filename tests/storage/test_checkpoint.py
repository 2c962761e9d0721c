"""Checkpoints: a run comes back to the last bit, and nothing else passes for one."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from examples import a_checkpoint, same
from forging import members_of, npy, put, refusal, with_meta
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config.parsing import parse
from charrnn.config.settings import FIELDS, Config
from charrnn.errors import CharrnnError, CheckpointError, UsageError
from charrnn.storage import checkpoint
from charrnn.storage.metadata import MAX_HISTORY, MAX_SAMPLES

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


@pytest.fixture
def written(path):
    checkpoint.save(path, a_checkpoint())
    return path.read_bytes()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "adam", "layers": 3, "dtype": "float64"},
        {"optimizer": "rmsprop", "activation": "relu", "learning_rate": 0.1 + 0.2},
        {"optimizer": "adagrad", "level": "byte", "epochs": 1e-7, "seed": 2**63 - 1},
        {"max_minutes": 1e8, "encoding": "latin-1", "eval_every": 5, "clip_norm": 5e-324},
    ],
)
def test_a_run_comes_back_to_the_last_bit(path, settings):
    saved = a_checkpoint(**settings)
    checkpoint.save(path, saved)
    same(checkpoint.load(path), saved)


@pytest.mark.parametrize("steps", [2**62, 2**62 + 1, 2**63 - 1])
def test_every_allowed_budget_can_be_stored(path, steps):
    try:
        parse("steps", str(steps))
    except UsageError:
        return
    saved = a_checkpoint(steps=steps)
    saved.progress.steps = steps
    checkpoint.save(path, saved)
    same(checkpoint.load(path), saved)


@given(st.text(min_size=1, max_size=6), st.integers(1, 4))
def test_any_vocabulary_and_number_of_sequences_come_back(tmp_path_factory, text, B):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    saved = a_checkpoint("".join(sorted(set(text))), B)
    checkpoint.save(path, saved)
    found = checkpoint.load(path)
    same(found, saved)
    assert "".join(map(chr, found.vocabulary.codes)) == "".join(sorted(set(text)))


def test_the_best_weights_are_independent_of_the_last(path):
    checkpoint.save(path, a_checkpoint())
    found = checkpoint.load(path)
    before = found.best.flat.copy()
    found.last.flat[:] = 0
    assert np.array_equal(found.best.flat, before)
    assert np.array_equal(found.best.W_hy.ravel(), before[-12:-4])  # then b_y of 4


def test_numpy_reads_it_without_pickles(path):
    saved = a_checkpoint()
    checkpoint.save(path, saved)
    with np.load(path, allow_pickle=False) as found:
        assert json.loads(found["meta"].tobytes())["settings"] == saved.settings
        assert found["vocabulary"].tolist() == [10, 97, 98, 0xE9]
        for name, array in saved.best.named.items():
            assert np.array_equal(found[name], array)
        assert np.array_equal(found["training.theta"], saved.last.flat)
        assert np.array_equal(found["training.moments"], saved.moments)
        assert np.array_equal(found["training.state"], saved.state)
        assert len(found.files) == 2 + len(saved.best.named) + 3


def test_saving_twice_gives_the_same_bytes(path, written):
    checkpoint.save(path, a_checkpoint())
    assert path.read_bytes() == written
    checkpoint.save(path, checkpoint.load(path))
    assert path.read_bytes() == written


def test_its_digest_is_that_of_its_file(path, written):
    assert checkpoint.load(path).digest == written[-64:].decode()


def test_the_history_of_a_long_run_is_short_and_spans_the_run():
    saved = a_checkpoint()
    saved.history = []
    for step in range(1, 10_001):
        saved.remember([step, 1.0, None, 1.0, 1.0])
        assert len(saved.history) <= MAX_HISTORY
        assert saved.history[-1][0] == step
    steps = [row[0] for row in saved.history]
    assert steps == sorted(set(steps))
    assert np.histogram(steps, bins=10, range=(1, 10_000))[0].all()


def test_few_samples_are_kept_and_span_the_run():
    saved = a_checkpoint()
    saved.samples = []
    for step in range(10, 1000, 10):
        saved.remember_sample(step, f"text {step}")
        assert len(saved.samples) <= MAX_SAMPLES
    steps = [step for step, _ in saved.samples]
    assert steps == sorted(steps) and steps[0] == 10 and steps[-1] == 990
    assert max(np.diff(steps)) < 300
    assert saved.samples[3][1] == f"text {steps[3]}"


def test_a_file_truncated_at_any_length_is_refused(path, written):
    for length in range(len(written)):
        path.write_bytes(written[:length])
        refusal(path)


def test_a_file_with_any_changed_byte_is_refused(path, written):
    data = bytearray(written)
    for at in range(len(data)):
        mask = 1 << at % 8
        data[at] ^= mask
        path.write_bytes(data)
        refusal(path)
        data[at] ^= mask
    path.write_bytes(data)
    same(checkpoint.load(path), a_checkpoint())


def test_any_changed_byte_with_a_valid_digest_is_refused_or_a_valid_run(path, written, reseal):
    data = bytearray(written)
    shapes = {name: array.shape for name, array in a_checkpoint().best.named.items()}
    for at in range(len(data) - 64):
        before = data[at]
        data[at] ^= (1, 0x80, 0x10)[at % 3]
        path.write_bytes(reseal(bytes(data)))
        data[at] = before
        try:
            found = checkpoint.load(path)
        except CharrnnError:
            continue
        assert {name: array.shape for name, array in found.best.named.items()} == shapes
        for array in (found.best.flat, found.last.flat, found.moments, found.state):
            assert np.isfinite(array).all()
        assert Config(**found.settings)


def replaced(members, name, data):
    assert name in dict(members)
    return [(n, data if n == name else d) for n, d in members]


FORGED = {
    "nothing": lambda m: [],
    "one more": lambda m: [*m, ("extra.npy", npy(1))],
    "a second state": lambda m: [*m, m[-1]],
    "no state": lambda m: m[:-1],
    "only meta": lambda m: m[:1],
    "no meta": lambda m: m[1:],
    "another order": lambda m: [*m[:1], *m[:0:-1]],
    "a path": lambda m: [*m[:-1], ("../training.state.npy", m[-1][1])],
    "wider weights": lambda m: replaced(m, "W_hy.npy", npy(np.zeros((2, 4)))),
    "transposed weights": lambda m: replaced(m, "W_hy.npy", npy(np.zeros((4, 2), np.float32))),
    "whole weights": lambda m: replaced(m, "W_hy.npy", npy(np.zeros((2, 4), np.int32))),
    "pickled weights": lambda m: replaced(m, "W_hy.npy", npy(np.array([[None] * 4] * 2))),
    "NaN weights": lambda m: replaced(m, "W_hh0.npy", npy(np.full((2, 2), np.nan, np.float32))),
    "infinite weights": lambda m: replaced(m, "b_y.npy", npy(np.full(4, np.inf, np.float32))),
    "NaN last": lambda m: replaced(
        m, "training.theta.npy", m[-3][1][:-4] + np.float32(np.nan).tobytes()),
    "NaN moment": lambda m: replaced(
        m, "training.moments.npy", m[-2][1][:-4] + np.float32(np.nan).tobytes()),
    "NaN state": lambda m: replaced(
        m, "training.state.npy", m[-1][1][:-4] + np.float32(-np.inf).tobytes()),
    "one sequence less": lambda m: replaced(
        m, "training.state.npy", npy(np.zeros((2, 2), np.float32))),
    "moments of adam": lambda m: replaced(
        m, "training.moments.npy", npy(np.zeros((2, 26), np.float32))),
    "vocabulary out of order": lambda m: replaced(
        m, "vocabulary.npy", npy(np.array([10, 98, 97, 233], np.uint32))),
    "a symbol twice": lambda m: replaced(
        m, "vocabulary.npy", npy(np.array([10, 97, 97, 233], np.uint32))),
    "beyond Unicode": lambda m: replaced(
        m, "vocabulary.npy", npy(np.array([10, 97, 98, 0x110000], np.uint32))),
    "half a surrogate pair": lambda m: replaced(
        m, "vocabulary.npy", npy(np.array([10, 97, 98, 0xD800], np.uint32))),
    "one symbol less": lambda m: replaced(
        m, "vocabulary.npy", npy(np.array([10, 97, 98], np.uint32))),
    "symbols as text": lambda m: replaced(m, "vocabulary.npy", npy(np.array(list("\nabé")))),
    "meta of another kind": lambda m: replaced(m, "meta.npy", npy(np.zeros(600, np.int8))),
    "meta as text": lambda m: replaced(m, "meta.npy", b"{}"),
}  # fmt: skip


def test_the_tests_can_forge_a_valid_file(path, written, forge):
    forge(path, members_of(written))
    same(checkpoint.load(path), a_checkpoint())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_with_a_valid_digest_is_refused(path, written, forge, name):
    forge(path, FORGED[name](members_of(written)))
    refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(path, written, forge, method):
    forge(path, members_of(written), method)
    refusal(path)


def test_a_byte_level_model_has_256_symbols(path, forge):
    saved = a_checkpoint(level="byte")
    checkpoint.save(path, saved)
    codes = np.arange(256, dtype=np.uint32)
    codes[-1] = 300
    forge(path, replaced(members_of(path.read_bytes()), "vocabulary.npy", npy(codes)))
    refusal(path)


@pytest.mark.parametrize("size", [10**7, 10**9])
def test_sizes_that_are_not_in_the_file_take_no_memory(path, written, forge, size):
    forge(path, with_meta(written, put("settings", "hidden_size", size)))
    tracemalloc.start()
    refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(3000), "HDF5"),
        ((2).to_bytes(8, "little") + b"{}" + bytes(3000), "safetensors"),
        (b"PK\x03\x04" + bytes(26) + b"archive/data.pkl" + bytes(3000), "PyTorch"),
        (b"\x80\x04\x95" + bytes(3000), "not a charrnn checkpoint"),
    ],
)
def test_the_file_of_another_program_is_recognized(path, data, words):
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=words):
        checkpoint.load(path)


def test_a_missing_file_is_a_usage_error(path):
    with pytest.raises(UsageError, match="no such checkpoint"):
        checkpoint.load(path)


def test_a_file_written_before_a_setting_existed_loads_and_means_what_it_did():
    # Two layers of 3 units after 30 steps over three lines of "hello"; never written again.
    found = checkpoint.load(DATA / "first.npz")
    assert "weight_decay" not in json.loads(
        np.load(DATA / "first.npz")["meta"].tobytes())["settings"]
    assert found.settings["weight_decay"] == 0
    assert (found.settings["errors"], found.undecodable) == ("strict", 0)
    assert found.settings.keys() == FIELDS.keys()
    assert found.progress.step == 30
    assert "".join(map(chr, found.vocabulary.codes)) == "\nehlo"


def test_a_file_of_format_1_always_loads_and_resumes(tmp_path):
    """It is never written again, whatever becomes of the format: see docs/checkpoint.md."""
    golden = (DATA / "format1.npz").read_bytes()
    assert hashlib.sha256(golden).hexdigest() == (
        "1a128cfbe23e406da7209f2d888316545f039029713cb951f1c6f14d673f6552"
    )
    path = tmp_path / "format1.npz"
    path.write_bytes(golden)
    found = checkpoint.load(path)
    assert found.settings["hidden_size"] == 4
    assert found.progress.step == found.progress.steps == 60
    assert "".join(map(chr, found.vocabulary.codes)).endswith("ö—€𝄞")
    command = [sys.executable, "-m", "charrnn"]
    text = str(DATA / "format1.txt")
    ran = subprocess.run([*command, "eval", text, "-m", path, "--split", "val", "--json"],
                         capture_output=True, check=True)
    assert json.loads(ran.stdout)["nats_per_char"] == pytest.approx(2.480769, abs=1e-5)
    ran = subprocess.run([*command, "sample", "-m", path, "--temperature", "0", "--length", "9"],
                         capture_output=True, check=True)
    assert ran.stdout.decode() == "é  r\n\n\na "
    ran = subprocess.run(
        [*command, "train", text, "-o", path, "--steps", "65", "--hidden-size", "4",
         "--layers", "2", "--batch-size", "3", "--seq-length", "16", "--dropout", "0.1"],
        capture_output=True, check=True,
    )
    assert b"resumed after step 60" in ran.stderr
    assert checkpoint.load(path).progress.step == 65
