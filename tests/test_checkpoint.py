"""Checkpoints: a run comes back to the last bit, and nothing else passes for one."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import checkpoint, config
from charrnn.checkpoint import Checkpoint, Progress
from charrnn.errors import CharrnnError, CheckpointError, UsageError
from charrnn.parameters import Parameters
from charrnn.vocabulary import Vocabulary

SLOTS = {"adam": 2, "rmsprop": 1, "adagrad": 1, "sgd": 1}


def run(text="\nabé", lanes=3, seed=0, **settings):
    """A run in the middle, all its numbers different."""
    resolved = config.resolve({}, {"hidden_size": 2, "layers": 1, "optimizer": "sgd"} | settings)
    known = Vocabulary(np.array(sorted(map(ord, text)), np.uint32), resolved.level)
    if resolved.level == "byte":
        known = Vocabulary.of_bytes()
    arch = checkpoint.architecture(dataclasses.asdict(resolved), len(known))
    rng = np.random.default_rng(seed)

    def numbers(*shape):
        return rng.normal(size=shape).astype(arch.dtype)

    return Checkpoint(
        settings=dataclasses.asdict(resolved),
        changed=list(config.changed(resolved)),
        vocabulary=known,
        best=Parameters(arch, numbers(arch.size)),
        last=Parameters(arch, numbers(arch.size)),
        moments=numbers(SLOTS[resolved.optimizer], arch.size),
        state=numbers(lanes, arch.state_size),
        progress=Progress(step=7, steps=20, minutes=0.1, best_nats=1 / 3, best_step=6, stale=1,
                          losses=math.pi, norms=2 / 7, since=2, high=1),
        corpus="déjà vu.txt",
        origin={"corpus": "ab" * 32, "val": None, "init_from": "cd" * 32},
        threads=3,
        history=[[3, 1.1, None, 0.7, 2e-3], [6, 1 / 3, 0.3, 1e-300, 0.1 + 0.2]],
        samples=[[3, "bäa\n\x1b"], [6, ""]],
    )


def same(found, expected):
    for field in ("settings", "changed", "progress", "corpus", "origin", "threads", "history",
                  "samples"):
        assert getattr(found, field) == getattr(expected, field), field
    assert np.array_equal(found.vocabulary.codes, expected.vocabulary.codes)
    assert found.vocabulary.level == expected.vocabulary.level
    for a, b in (
        (found.best.flat, expected.best.flat), (found.last.flat, expected.last.flat),
        (found.moments, expected.moments), (found.state, expected.state),
    ):  # fmt: skip
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


@pytest.fixture
def written(path):
    checkpoint.save(path, run())
    return path.read_bytes()


def members_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return [(info.filename, file.read(info)) for info in file.infolist()]


def npy(array):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), (1, 0))
    return buffer.getvalue()


def refusal(path):
    with pytest.raises(CharrnnError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert caught.value.exit_code == 1
    return message.replace(str(path), "")


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
    saved = run(**settings)
    checkpoint.save(path, saved)
    same(checkpoint.load(path), saved)


@pytest.mark.parametrize("steps", [2**62, 2**62 + 1, 2**63 - 1])
def test_a_budget_that_may_be_asked_for_may_be_stored(path, steps):
    try:
        config.parse("steps", str(steps))
    except UsageError:
        return
    saved = run(steps=steps)
    saved.progress.steps = steps
    checkpoint.save(path, saved)
    same(checkpoint.load(path), saved)


@given(st.text(min_size=1, max_size=6), st.integers(1, 4))
def test_any_vocabulary_and_number_of_lanes_come_back(tmp_path_factory, text, lanes):
    path = tmp_path_factory.getbasetemp() / "any.npz"
    saved = run("".join(sorted(set(text))), lanes)
    checkpoint.save(path, saved)
    found = checkpoint.load(path)
    same(found, saved)
    assert "".join(map(chr, found.vocabulary.codes)) == "".join(sorted(set(text)))


def test_the_best_weights_are_independent_of_the_last(path):
    checkpoint.save(path, run())
    found = checkpoint.load(path)
    before = found.best.flat.copy()
    found.last.flat[:] = 0
    assert np.array_equal(found.best.flat, before)
    assert np.array_equal(found.best.W_hy.ravel(), before[-12:-4])  # then b_y of 4


def test_numpy_reads_it_without_pickles(path):
    saved = run()
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
    checkpoint.save(path, run())
    assert path.read_bytes() == written
    checkpoint.save(path, checkpoint.load(path))
    assert path.read_bytes() == written


def test_no_clock_time_and_no_name_of_the_machine_is_in_it(written):
    meta = json.loads(dict(members_of(written))["meta.npy"].partition(b"\n")[2])
    assert set(meta["versions"]) == {"charrnn", "numpy", "python"}
    assert set(meta) == {
        "format", "format_version", "settings", "changed", "vocabulary_size", "lanes", "progress",
        "corpus", "origin", "threads", "processes", "history", "samples", "versions",
    }  # fmt: skip


def test_its_digest_is_that_of_its_file(path, written):
    assert checkpoint.load(path).digest == written[-64:].decode()


def test_a_name_that_is_not_unicode_comes_back(path):
    saved = run()
    saved.corpus = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    checkpoint.save(path, saved)
    assert checkpoint.load(path).corpus == saved.corpus


def test_a_number_that_is_none_is_never_saved(path):
    saved = run()
    saved.history.append([9, math.nan, None, 1.0, 1.0])
    with pytest.raises(ValueError, match="JSON"):
        checkpoint.save(path, saved)
    assert not path.exists()


def test_the_history_of_a_long_run_is_short_and_still_tells_of_all_its_parts():
    saved = run()
    saved.history = []
    for step in range(1, 10_001):
        saved.remember([step, 1.0, None, 1.0, 1.0])
        assert len(saved.history) <= checkpoint.MAX_HISTORY
        assert saved.history[-1][0] == step
    steps = [row[0] for row in saved.history]
    assert steps == sorted(set(steps))
    assert np.histogram(steps, bins=10, range=(1, 10_000))[0].all()


def test_few_samples_are_kept_and_they_tell_of_all_of_a_run():
    saved = run()
    saved.samples = []
    for step in range(10, 1000, 10):
        saved.remember_sample(step, f"text {step}")
        assert len(saved.samples) <= checkpoint.MAX_SAMPLES
    steps = [step for step, _ in saved.samples]
    assert steps == sorted(steps) and steps[0] == 10 and steps[-1] == 990
    assert max(np.diff(steps)) < 300
    assert saved.samples[3][1] == f"text {steps[3]}"


def test_truncated_at_any_length_it_is_refused(path, written):
    for length in range(len(written)):
        path.write_bytes(written[:length])
        refusal(path)


def test_any_byte_flipped_it_is_refused(path, written):
    data = bytearray(written)
    for at in range(len(data)):
        mask = 1 << at % 8
        data[at] ^= mask
        path.write_bytes(data)
        refusal(path)
        data[at] ^= mask
    path.write_bytes(data)
    same(checkpoint.load(path), run())


def test_any_byte_changed_under_a_right_digest_it_is_refused_or_a_sound_run(path, written, reseal):
    data = bytearray(written)
    shapes = {name: array.shape for name, array in run().best.named.items()}
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
        assert config.Config(**found.settings)


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
    "one lane less": lambda m: replaced(
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


def test_the_forger_can_do_it_right(path, written, forge):
    forge(path, members_of(written))
    same(checkpoint.load(path), run())


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", FORGED)
def test_forged_under_a_right_digest_it_is_refused(path, written, forge, name):
    forge(path, FORGED[name](members_of(written)))
    refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(path, written, forge, method):
    forge(path, members_of(written), method)
    refusal(path)


def with_meta(written, change):
    """The members with other words in meta: what ``change`` makes of it, a dict or bytes."""
    members = members_of(written)
    meta = json.loads(members[0][1].partition(b"\n")[2])
    data = change(meta)
    if not isinstance(data, bytes):
        data = json.dumps(meta if data is None else data).encode()
    return [("meta.npy", npy(np.frombuffer(data, np.uint8))), *members[1:]]


def put(*keys_and_value):
    *keys, last, value = keys_and_value

    def change(meta):
        for key in keys:
            meta = meta[key]
        meta[last] = value

    return change


def without(*keys):
    *outer, last = keys

    def change(meta):
        for key in outer:
            meta = meta[key]
        del meta[last]

    return change


MISSING = [(key,) for key in (
    "format", "format_version", "settings", "changed", "vocabulary_size", "lanes", "progress",
    "corpus", "origin", "threads", "history",
)] + [("settings", "hidden_size"), ("settings", "steps"), ("progress", "step"),
      ("progress", "best_nats"), ("origin", "val")]  # fmt: skip

METAS = {
    "no mapping": lambda meta: [meta],
    "a word": lambda meta: "charrnn",
    "null": lambda meta: b"null",
    "nothing": lambda meta: b"",
    "no JSON": lambda meta: b"{'format': 1}",
    "no UTF-8": lambda meta: b'{"format": "\xff"}',
    "two values": lambda meta: b"{} {}",
    "brackets": lambda meta: b"[" * 100_000,
    "braces": lambda meta: b'{"a":' * 100_000,
    "digits": lambda meta: b'{"format": ' + b"9" * 5000 + b"}",
    "another format": put("format", "torchrnn"),
    "no format": put("format", None),
    "format in a list": put("format", ["charrnn"]),
    "an older version": put("format_version", 0),
    "version as text": put("format_version", "1"),
    "version with a point": put("format_version", 1.5),
    "no version": put("format_version", None),
    "settings in a list": put("settings", []),
    "no settings": put("settings", None),
    "unknown setting": put("settings", "flavour", 1),
    "no rate": put("settings", "learning_rate", None),
    "rate not a number": put("settings", "learning_rate", math.nan),
    "rate infinite": put("settings", "learning_rate", math.inf),
    "rate in a list": put("settings", "learning_rate", [0.1]),
    "no layer": put("settings", "layers", 0),
    "two layers": put("settings", "layers", 2),
    "many layers": put("settings", "layers", 65),
    "layers with a point": put("settings", "layers", 1.0),
    "layers true": put("settings", "layers", True),
    "huge": put("settings", "hidden_size", 10**9),
    "huger": put("settings", "hidden_size", 10**300),
    "hugest": put("settings", "hidden_size", 10**400),
    "size as text": put("settings", "hidden_size", "2"),
    "level a number": put("settings", "level", 1),
    "another size": put("settings", "hidden_size", 3),
    "another type": put("settings", "dtype", "float64"),
    "another optimiser": put("settings", "optimizer", "adam"),
    "no optimiser": put("settings", "optimizer", "lion"),
    "byte level": put("settings", "level", "byte"),
    "no encoding": put("settings", "encoding", "utf-9"),
    "vocabulary of none": put("vocabulary_size", 0),
    "vocabulary below none": put("vocabulary_size", -1),
    "vocabulary of many": put("vocabulary_size", 10**6),
    "vocabulary of more": put("vocabulary_size", 10**9),
    "vocabulary of digits": put("vocabulary_size", 10**400),
    "vocabulary with a point": put("vocabulary_size", 4.0),
    "vocabulary as text": put("vocabulary_size", "4"),
    "vocabulary true": put("vocabulary_size", True),
    "no lanes": put("lanes", 0),
    "other lanes": put("lanes", 4),
    "many lanes": put("lanes", 10**12),
    "lanes null": put("lanes", None),
    "step below none": put("progress", "step", -1),
    "step with a point": put("progress", "step", 1.5),
    "step of digits": put("progress", "step", 10**400),
    "step null": put("progress", "step", None),
    "losses not a number": put("progress", "losses", math.nan),
    "losses as text": put("progress", "losses", "1"),
    "losses null": put("progress", "losses", None),
    "losses of digits": put("progress", "losses", 10**400),
    "norms null": put("progress", "norms", None),
    "best infinite": put("progress", "best_nats", math.inf),
    "unknown progress": put("progress", "luck", 1),
    "progress in a list": put("progress", [1, 2]),
    "corpus a number": put("corpus", 5),
    "origin in a list": put("origin", ["corpus", "val", "init_from"]),
    "origin a number": put("origin", "corpus", 5),
    "origin a word": put("origin", "val", "corpus.txt"),
    "no corpus": put("origin", "corpus", None),
    "one origin more": put("origin", "test", None),
    "changed a number": put("changed", 5),
    "no threads": put("threads", 0),
    "many threads": put("threads", 1025),
    "threads as text": put("threads", "2"),
    "history a number": put("history", 5),
    "history of numbers": put("history", [1, 2]),
    "history of text": put("history", [["1", 1, 1, 1, 1]]),
    "history not a number": put("history", [[1, math.nan, 1, 1, 1]]),
    "history of truths": put("history", [[1, True, 1, 1, 1]]),
    "history of digits": put("history", [[1, 10**400, 1, 1, 1]]),
    "history without losses": put("history", [[1, None, 1, 1, 1]]),
    "history of more rows than are kept": put("history", [[1, 1, 1, 1, 1]] * 1001),
    "history of short rows": put("history", [[1, 2]]),
    "history of long rows": put("history", [[1, 1, 1, 1, 1, 1]]),
    "more than 16 MB": lambda meta: json.dumps(meta).encode().ljust((16 << 20) + 1),
}  # fmt: skip


def test_the_forger_can_change_words_of_meta(path, written, forge):
    forge(path, with_meta(written, put("corpus", "other.txt")))
    assert checkpoint.load(path).corpus == "other.txt"


@pytest.mark.parametrize("name", METAS)
def test_words_that_no_run_would_write_are_refused(path, written, forge, name):
    forge(path, with_meta(written, METAS[name]))
    begin = time.process_time()
    refusal(path)
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("keys", MISSING, ids=".".join)
def test_words_that_are_missing_are_missed(path, written, forge, keys):
    forge(path, with_meta(written, without(*keys)))
    refusal(path)


@pytest.mark.parametrize("version", [2, 10**6])
def test_a_newer_format_is_called_newer_than_this_program(path, written, forge, version):
    forge(path, with_meta(written, put("format_version", version)))
    assert f"format {version}, of another version of charrnn" in refusal(path)


def test_a_model_of_bytes_has_256_symbols(path, forge):
    saved = run(level="byte")
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
def test_the_file_of_another_program_is_called_what_it_is(path, data, words):
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=words):
        checkpoint.load(path)


def test_a_missing_file_is_a_usage_error(path):
    with pytest.raises(UsageError, match="no such checkpoint"):
        checkpoint.load(path)


def test_a_file_written_before_a_setting_existed_loads_and_means_what_it_did():
    # Two layers of 3 units after 30 steps over three lines of "hello"; never written again.
    found = checkpoint.load(Path(__file__).parent / "data" / "first.npz")
    assert "weight_decay" not in json.loads(
        np.load(Path(__file__).parent / "data" / "first.npz")["meta"].tobytes())["settings"]
    assert found.settings["weight_decay"] == 0
    assert found.settings.keys() == config.FIELDS.keys()
    assert found.progress.step == 30
    assert "".join(map(chr, found.vocabulary.codes)) == "\nehlo"


def test_a_file_of_format_1_loads_for_ever_and_goes_on(tmp_path):
    """It is never written again, whatever becomes of the format: see docs/checkpoint.md."""
    data = Path(__file__).parent / "data"
    golden = (data / "format1.npz").read_bytes()
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
    text = str(data / "format1.txt")
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
    assert b"continuing after step 60" in ran.stderr
    assert checkpoint.load(path).progress.step == 65
