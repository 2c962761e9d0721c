"""The JSON of a checkpoint: it says what it should, and is not believed where it does not."""

from __future__ import annotations

import json
import math
import time

import pytest
from examples import a_checkpoint
from forging import members_of, put, refusal, with_meta, without

from charrnn.config.parsing import MAX_INTEGER
from charrnn.config.settings import FIELDS, ONCE_NULL
from charrnn.errors import CheckpointError
from charrnn.storage import checkpoint
from charrnn.storage.metadata import MAX_HISTORY, MAX_META, MAX_SAMPLES
from charrnn.training.loop import SAMPLE_LENGTH


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


@pytest.fixture
def written(path):
    checkpoint.save(path, a_checkpoint())
    return path.read_bytes()


def test_no_clock_time_and_no_name_of_the_machine_is_in_it(written):
    meta = json.loads(dict(members_of(written))["meta.npy"].partition(b"\n")[2])
    assert set(meta["versions"]) == {"charrnn", "numpy", "python"}
    assert set(meta) == {
        "format", "format_version", "settings", "changed", "explicit", "vocabulary_size", "lanes",
        "progress", "corpus", "origin", "threads", "processes", "history", "samples", "undecodable",
        "versions",
    }  # fmt: skip


def test_a_name_that_is_not_unicode_comes_back(path):
    saved = a_checkpoint()
    saved.corpus = b"caf\xe9.txt".decode("utf-8", "surrogateescape")
    checkpoint.save(path, saved)
    assert checkpoint.load(path).corpus == saved.corpus


def test_the_largest_json_of_a_run_is_a_seventh_of_the_limit(path):
    saved = a_checkpoint(borders="reset", encoding="utf-8", seed=MAX_INTEGER, steps=MAX_INTEGER)
    longest, widest = -1.2345678901234567e-300, "\U0001f600"
    saved.history = [[MAX_INTEGER, *[longest] * 4]] * MAX_HISTORY
    saved.samples = [[MAX_INTEGER, widest * SAMPLE_LENGTH]] * MAX_SAMPLES
    saved.corpus = "\udcff" * 255 + " and 1000000 more"
    saved.origin = dict.fromkeys(saved.origin, "ab" * 32)
    saved.documents = "ab" * 32
    saved.settings |= {key: longest for key in FIELDS if "float" in str(FIELDS[key].type)}
    saved.explicit = list(FIELDS)
    checkpoint.save(path, saved)
    assert len(members_of(path.read_bytes())[0][1]) < MAX_META / 7


def test_a_name_and_samples_as_long_as_allowed_come_back(path, written, forge):
    text = "\U0001f600" * 9000 + "a" * 1000
    forge(path, with_meta(written, put("samples", [[i, text] for i in range(8)])))
    assert [row[1] for row in checkpoint.load(path).samples] == [text] * 8
    forge(path, with_meta(written, put("corpus", "a" * 4096)))
    assert checkpoint.load(path).corpus == "a" * 4096


def test_an_earlier_spelling_of_an_encoding_loads_as_the_one_name_it_has(path, written, forge):
    for spelling, name in {"utf8": "utf-8", "ISO-8859-1": "latin-1", "latin-1": "latin-1"}.items():
        forge(path, with_meta(written, put("settings", "encoding", spelling)))
        assert checkpoint.load(path).settings["encoding"] == name


def test_a_file_from_before_undecodable_bytes_were_counted_has_none(path, written, forge):
    assert checkpoint.load(path).undecodable == 5
    forge(path, with_meta(written, without("undecodable")))
    assert checkpoint.load(path).undecodable == 0


def test_a_file_from_before_the_setting_errors_was_strict(path, forge):
    checkpoint.save(path, a_checkpoint(errors="strict"))
    forge(path, with_meta(path.read_bytes(), without("settings", "errors")))
    assert checkpoint.load(path).settings["errors"] == "strict"


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_gated_cell_with_relu_is_refused(path, written, forge, cell):
    def change(meta):
        meta["settings"] |= {"cell": cell, "activation": "relu"}

    forge(path, with_meta(written, change))
    with pytest.raises(CheckpointError, match=f"cell {cell} has no activation relu"):
        checkpoint.load(path)


@pytest.mark.parametrize("key", ["flavor", "errors2", "x" * 10**5])
def test_a_file_with_an_unknown_setting_is_by_a_newer_version(path, written, forge, key):
    forge(path, with_meta(written, put("settings", key, 1)))
    message = refusal(path)
    assert f"was written by a newer version of charrnn (it has the setting '{key[:20]}" in message
    assert len(message) < 300


CONTRADICTIONS = {
    "errors strict": (put("settings", "errors", "strict"), "5 undecodable byte sequences, but"),
    "dropout": (put("settings", "dropout", None), "dropout has no value"),
    "weight_decay": (put("settings", "weight_decay", None), "weight_decay has no value"),
    "steps": (put("settings", "steps", None), "steps has no value"),
    "eval_every": (put("settings", "eval_every", None), "eval_every has no value"),
    "val_fraction": (put("settings", "val_fraction", None), "val_fraction has no value"),
    "val": (put("origin", "val", "ab" * 32), "both a validation file and a val_fraction"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_values_that_exclude_each_other_are_refused(path, written, forge, name):
    change, reason = CONTRADICTIONS[name]
    forge(path, with_meta(written, change))
    assert reason in refusal(path)


def test_older_files_may_lack_the_values_of_defaults_or_have_one_of_no_effect(
    path, written, forge
):
    for key in ONCE_NULL:
        def change(meta, key=key):
            del meta["explicit"]
            meta["settings"][key] = None
        forge(path, with_meta(written, change))
        assert checkpoint.load(path).settings[key] is None

    def beside_a_file(meta):
        meta["origin"]["val"] = "ab" * 32
        meta["explicit"].append("val_fraction")
    forge(path, with_meta(written, beside_a_file))
    assert checkpoint.load(path).settings["val_fraction"] == 0.1


def test_nan_and_infinity_are_never_saved(path):
    saved = a_checkpoint()
    saved.history.append([9, math.nan, None, 1.0, 1.0])
    with pytest.raises(ValueError, match="JSON"):
        checkpoint.save(path, saved)
    assert not path.exists()


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
    "unknown setting": put("settings", "flavor", 1),
    "no rate": put("settings", "learning_rate", None),
    "rate not a number": put("settings", "learning_rate", math.nan),
    "rate infinite": put("settings", "learning_rate", math.inf),
    "rate in a list": put("settings", "learning_rate", [0.1]),
    "no layer": put("settings", "layers", 0),
    "two layers": put("settings", "layers", 2),
    "many layers": put("settings", "layers", 65),
    "layers with a point": put("settings", "layers", 1.0),
    "seed with an exponent": put("settings", "seed", 1e16),
    "layers true": put("settings", "layers", True),
    "huge": put("settings", "hidden_size", 10**9),
    "huger": put("settings", "hidden_size", 10**300),
    "hugest": put("settings", "hidden_size", 10**400),
    "size as text": put("settings", "hidden_size", "2"),
    "level a number": put("settings", "level", 1),
    "another size": put("settings", "hidden_size", 3),
    "another type": put("settings", "dtype", "float64"),
    "another optimizer": put("settings", "optimizer", "adam"),
    "no optimizer": put("settings", "optimizer", "lion"),
    "byte level": put("settings", "level", "byte"),
    "undecodable below 0": put("undecodable", -1),
    "undecodable with a point": put("undecodable", 1.0),
    "undecodable null": put("undecodable", None),
    "no way to handle errors": put("settings", "errors", "ignore"),
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
    "explicit a number": put("explicit", 5),
    "explicit null": put("explicit", None),
    "more explicit than there are": put("explicit", ["steps"] * (len(FIELDS) + 1)),
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
    "history of mappings": put("history", [{str(i): i for i in range(5)}]),
    "history in a mapping": put("history", {}),
    "samples in a mapping": put("samples", {}),
    "samples of words": put("samples", ["ab"]),
    "more samples than are kept": put("samples", [[1, "a"]] * 9),
    "a sample as long as a book": put("samples", [[1, "a" * 10_001]]),
    "a name as long as a page": put("corpus", "a" * 4097),
    "changed a word": put("changed", "steps"),
    "changed in a mapping": put("changed", {"steps": 1}),
    "changed numbers": put("changed", [1]),
    "more changed than there are": put("changed", ["steps"] * (len(FIELDS) + 1)),
    "origin one digit short": put("origin", "corpus", "a" * 63),
    "origin a text in a list": put("origin", "corpus", ["a" * 64]),
    "encoding as long as a line": put("settings", "encoding", "utf-8" + " " * 100),
    "rate in a mapping": put("settings", "learning_rate", {"0.1": 0.1}),
    "documents a word": put("documents", "two"),
    "documents null": put("documents", None),
    "documents a list": put("documents", [0, 3]),
    "more than 1 MB": lambda meta: json.dumps(meta).encode().ljust((1 << 20) + 1),
}  # fmt: skip


def test_the_tests_can_forge_metadata(path, written, forge):
    forge(path, with_meta(written, put("corpus", "other.txt")))
    assert checkpoint.load(path).corpus == "other.txt"


@pytest.mark.parametrize("name", METAS)
def test_values_that_no_run_would_write_are_refused(path, written, forge, name):
    forge(path, with_meta(written, METAS[name]))
    begin = time.process_time()
    refusal(path)
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("keys", MISSING, ids=".".join)
def test_missing_keys_are_refused(path, written, forge, keys):
    forge(path, with_meta(written, without(*keys)))
    refusal(path)


@pytest.mark.parametrize("version", [2, 10**6])
def test_another_format_is_refused_with_both_versions(path, written, forge, version):
    forge(path, with_meta(written, put("format_version", version)))
    assert f"format {version}, but this version of charrnn" in refusal(path)
