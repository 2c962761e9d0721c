"""A loaded model: what it refuses, and that its results are what the commands print."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from commands import TEXT, TINY, one_line, run_charrnn

from charrnn.api import loaded as api
from charrnn.api.report import report
from charrnn.cli.main import cli
from charrnn.errors import CheckpointError, CorpusError, UsageError
from charrnn.inference.scoring import total
from charrnn.text import cache
from charrnn.text.split import CONTEXT, training_size

LINES = "musst du gehn\n\nsieben dunkle Jahre\nBrücken"
RARE = "".join(f"{TEXT[:30]}{chr(0x4E00 + i)}\n" for i in range(60))  # each of these once
VALIDATION = TEXT[66:400]


def train(folder, *args):
    result = run_charrnn("train", *args, *TINY, "--steps", "20", cwd=folder)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with texts, and models of them that were trained in several ways."""
    folder = tmp_path_factory.mktemp("home")
    for name, text in {"corpus": TEXT, "lines": LINES, "rare": RARE, "val": VALIDATION}.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    (folder / "shelf").mkdir()
    for name, size in {"1": 900, "2": 300, "3": 60}.items():
        (folder / "shelf" / name).write_text(TEXT[:size], encoding="utf-8")
    train(folder, "corpus.txt", "-o", "corpus.npz")
    train(folder, "corpus.txt", "-o", "val.npz", "--val", "val.txt")
    train(folder, "corpus.txt", "-o", "all.npz", "--val-fraction", "0")
    train(folder, "rare.txt", "-o", "rare.npz", "--min-count", "2")
    train(folder, "shelf", "-o", "shelf.npz", "--borders", "reset", "--val-fraction", "0.2")
    return folder


@pytest.fixture(autouse=True)
def _at_home(home, monkeypatch):
    monkeypatch.chdir(home)


@pytest.fixture
def model():
    return api.load(Path("corpus.npz"))


@pytest.fixture
def printed(capfdbinary):
    """A function that runs a command in this process and returns its standard output."""
    def printed(*args, model="corpus.npz"):
        capfdbinary.readouterr()
        cli.main([*map(str, args), "-m", model], standalone_mode=False)
        return capfdbinary.readouterr().out

    return printed


def score_of(scored):
    score = total(scored)
    return score.chars, score.nats_per_char, score.accuracy


def score_in(output):
    result = json.loads(output)
    return result["chars"], result["nats_per_char"], result["accuracy"]


# Loading.


def test_a_file_that_cannot_be_loaded_is_refused(home):
    (home / "cut.npz").write_bytes((home / "corpus.npz").read_bytes()[:-100])
    for name, error, message in (
        ("nothing.npz", UsageError, r"^nothing\.npz: no such checkpoint"),
        ("corpus.txt", CheckpointError, r"^corpus\.txt is not a charrnn checkpoint"),
        ("shelf", UsageError, "^shelf is a folder, not a checkpoint"),
        ("cut.npz", CheckpointError, r"^cut\.npz"),
    ):
        with pytest.raises(error, match=message) as caught:
            api.load(Path(name))
        if error is CheckpointError:  # a missing file or a folder makes the command look elsewhere
            line = one_line(run_charrnn("sample", "-m", name, cwd=home), caught.value.exit_code)
            assert line == f"charrnn: {caught.value}\n"


def test_a_loaded_model_has_the_best_weights_of_its_checkpoint(home, model):
    assert model.path == Path("corpus.npz")
    assert model.parameters is model.checkpoint.best
    assert model.settings["hidden_size"] == 8
    assert "".join(map(chr, model.vocabulary.codes)) == "".join(sorted(set(TEXT)))
    assert model.vocabulary.decode(model.start) == "\n"
    assert (model.decoding, model.resets_at_borders) == (("utf-8", "strict"), False)
    assert api.load(Path("shelf.npz")).resets_at_borders


# Texts.


def test_a_model_recognizes_its_training_text_by_the_contents(home, model):
    (home / "copy.txt").write_text(TEXT, encoding="utf-8")
    (home / "longer.txt").write_text(TEXT + "\n", encoding="utf-8")
    for name, expected in (("corpus.txt", True), ("copy.txt", True), ("longer.txt", False),
                           ("lines.txt", False)):
        assert model.trained_on(model.read([name])) is expected, name
        stream = model.stream([name])
        assert not model.trained_on(stream), "nothing of it has been read"
        ids = np.concatenate(list(stream))
        assert model.trained_on(stream) is expected, name
        np.testing.assert_array_equal(ids, model.read([name]).ids)
    assert not api.load(Path("rare.npz")).trained_on(model.read(["corpus.txt"]))


def test_unknown_characters_are_refused_skipped_or_replaced(home, model):
    (home / "snow.txt").write_text("sieben ☃\n")
    for read in (model.read, lambda paths: list(model.stream(paths)),
                 lambda paths: list(model.lines(paths))):
        with pytest.raises(CorpusError, match=r"snow\.txt.*'☃' \(U\+2603\)"):
            read(["snow.txt"])
    text = model.read(["snow.txt"], skip_unknown=True)
    assert (model.vocabulary.decode(text.ids), text.unknown) == ("sieben \n", 1)
    assert [(line, len(ids), unknown) for line, ids, unknown
            in model.lines(["snow.txt"], skip_unknown=True)] == [("sieben ☃", 8, 1)]
    replacing = api.load(Path("rare.npz"))
    assert replacing.vocabulary.decode(replacing.read(["snow.txt"]).ids) == "sieben \ufffd\n"


def test_a_large_text_is_mapped_from_a_file_next_to_the_checkpoint(model, monkeypatch):
    in_memory = model.read(["corpus.txt"])
    assert in_memory.in_memory
    monkeypatch.setattr(cache, "LIMIT", 300)
    mapped = model.read(["corpus.txt"])
    assert not mapped.in_memory
    np.testing.assert_array_equal(mapped.ids, in_memory.ids)
    assert model.trained_on(mapped)


# Parts of texts.


def test_the_parts_of_the_corpus_add_up_to_the_whole(model):
    text = model.read(["corpus.txt"])
    whole, train, val = (model.part(text, name) for name in ("all", "train", "val"))
    np.testing.assert_array_equal(np.concatenate([train.ids, val.ids]), text.ids)
    assert len(train) == training_size(len(text), None) == 3564
    np.testing.assert_array_equal(whole.ids, text.ids)
    for part in (whole, train):
        np.testing.assert_array_equal(part.context, model.start)
    np.testing.assert_array_equal(val.context[-CONTEXT:], train.ids[-CONTEXT:])
    assert whole.resets is train.resets is val.resets is None
    np.testing.assert_array_equal(model.part(text).ids, whole.ids)


def test_only_the_corpus_has_parts(home, model):
    text = model.read(["lines.txt"])
    assert len(model.part(text, "all")) == len(LINES)
    for name in ("train", "val"):
        with pytest.raises(UsageError, match=r"lines\.txt is not the text that the model was "
                                             rf"trained on.*--split {name}") as caught:
            model.part(text, name)
        arguments = ("eval", "lines.txt", "--split", name, "-m", "corpus.npz")
        assert one_line(run_charrnn(*arguments, cwd=home), 2) == f"charrnn: {caught.value}\n"


def test_a_run_with_a_validation_file_trains_on_the_whole_corpus(home):
    model = api.load(Path("val.npz"))
    text = model.read(["corpus.txt"])
    for part in (model.part(text), model.part(text, "train")):
        np.testing.assert_array_equal(part.ids, text.ids)
    with pytest.raises(UsageError, match="on a separate file: score that file without --split"):
        model.part(text, "val")
    validation = model.read(["val.txt"])
    assert len(model.part(validation)) == len(VALIDATION)
    for name in ("train", "val"):
        with pytest.raises(UsageError, match=r"val\.txt is the validation text"):
            model.part(validation, name)


def test_the_validation_part_of_a_run_without_validation_is_empty():
    model = api.load(Path("all.npz"))
    text = model.read(["corpus.txt"])
    assert len(model.part(text, "train")) == len(text)
    assert len(model.part(text, "val")) == 0


def test_with_borders_every_part_has_its_document_starts():
    model = api.load(Path("shelf.npz"))
    text = model.read(["shelf"])
    train, val = model.part(text, "train"), model.part(text, "val")
    assert (list(text.begins), len(train)) == ([900, 1200], 1008)
    for part, positions in ((model.part(text), [900, 1200]), (train, [900, 1200]),
                            (val, [-108, 192])):
        assert part.resets.positions.tolist() == positions
        assert part.resets.symbol == model.vocabulary.start


# Scores.


@pytest.mark.parametrize("name", ["all", "train", "val"])
def test_the_score_of_a_part_is_the_score_of_eval(model, printed, name):
    part = model.part(model.read(["corpus.txt"]), name)
    expected = score_in(printed("eval", "corpus.txt", "--split", name, "--json"))
    assert expected[0] == len(part)
    for threads in (1, 2):
        assert score_of(model.score_blocks(part, threads)) == expected


@pytest.mark.parametrize("name", ["corpus", "rare", "shelf"])
def test_the_score_of_a_stream_is_the_score_of_eval(printed, name):
    model, path = api.load(Path(f"{name}.npz")), "shelf" if name == "shelf" else f"{name}.txt"
    expected = score_in(printed("eval", path, "--json", model=f"{name}.npz"))
    assert score_of(model.score_stream(model.stream([path]))) == expected
    whole = model.part(model.read([path]))
    assert total(model.score_blocks(whole)).nats_per_char == pytest.approx(expected[1], rel=1e-6)
    assert score_of(model.score_text(model.read([path]))) == expected


def test_the_dynamic_score_equals_that_of_eval_and_does_not_change_the_weights(model, printed):
    before = model.parameters.flat.copy()
    part = model.part(model.read(["corpus.txt"]), "val")
    found = score_of(model.evaluate_dynamically(part))
    assert found == score_in(printed("eval", "corpus.txt", "--split", "val", "--dynamic", "--json"))
    assert found != score_of(model.score_blocks(part))
    np.testing.assert_array_equal(model.parameters.flat, before)


def test_the_scores_of_lines_are_the_rows_of_eval(model, printed):
    rows = [json.loads(row) for row in
            printed("eval", "lines.txt", "--per-line", "--json").splitlines()]
    lines = list(model.lines(["lines.txt"]))
    assert [line for line, _, _ in lines] == [row["text"] for row in rows] == LINES.split("\n")
    scores = model.score_lines([ids for _, ids, _ in lines])
    assert [(score.chars, score.nats_per_char) for score in scores] == [
        (row["chars"], row["nats_per_char"]) for row in rows]


def test_the_baselines_are_those_of_eval(model, printed):
    text = model.read(["corpus.txt"])
    train, val = model.part(text, "train"), model.part(text, "val")
    output = printed("eval", "corpus.txt", "--split", "val", "--baselines", "--json")
    found = dict(model.baselines(train.ids, val))
    assert found == json.loads(output)["baselines"]
    assert found["uniform"] == math.log(len(set(TEXT)))


# Primes and stop texts.


def test_unknown_characters_of_a_prime_can_be_skipped(model):
    assert model.vocabulary.decode(model.encode_prime("über")) == "über"
    assert len(model.encode_prime("")) == 0
    with pytest.raises(UsageError, match=r"^the prime: 2 characters .*'☃' \(U\+2603\)"):
        model.encode_prime("a☃b☃")
    assert model.vocabulary.decode(model.encode_prime("d☃u", skip_unknown=True)) == "du"
    with pytest.raises(UsageError, match=r"^the prime: character 2 is half of a surrogate pair"):
        model.encode_prime("a\udcff")
    replacing = api.load(Path("rare.npz"))
    assert replacing.vocabulary.decode(replacing.encode_prime("d☃u")) == "d\ufffdu"


@pytest.mark.parametrize("name", ["corpus.npz", "rare.npz"])
def test_a_stop_text_that_no_sample_can_contain_is_refused(home, name):
    model = api.load(Path(name))
    assert model.vocabulary.decode(model.encode_stop("ben\n")) == "ben\n"
    with pytest.raises(UsageError, match=r"^--stop would never stop a sample: .*☃") as caught:
        model.encode_stop("be☃")  # not even where the vocabulary would replace it
    assert "--unknown" not in str(caught.value), "a stop text has no such option"
    line = one_line(run_charrnn("sample", "--stop", "be☃", "-m", name, cwd=home), 2)
    assert line == f"charrnn: {caught.value}\n"


# Samples.


def test_the_prime_comes_first_and_again_before_each_further_sample(model):
    prime = [model.encode_prime(text) for text in ("sie", "", "ben")]
    pieces = list(model.sample(iter(prime), count=3, length=4, seed=1))
    for number in range(3):
        of_sample = [piece for piece in pieces if piece.number == number]
        assert [piece.is_prime for piece in of_sample] == (
            [True] * 3 + [False] * (len(of_sample) - 3))
        for piece, expected in zip(of_sample[:3], prime, strict=True):
            np.testing.assert_array_equal(piece.ids, expected)
        assert sum(len(piece.ids) for piece in of_sample[3:]) == 4
    assert [piece.number for piece in pieces] == sorted(piece.number for piece in pieces)


def test_without_a_prime_a_sample_follows_the_start_symbol(model):
    pieces = list(model.sample(length=20, seed=1))
    assert not any(piece.is_prime for piece in pieces)
    empty = list(model.sample([model.encode_prime("")], length=20, seed=1))
    assert [len(piece.ids) for piece in empty if piece.is_prime] == [0]
    np.testing.assert_array_equal(np.concatenate([piece.ids for piece in pieces]),
                                  np.concatenate([piece.ids for piece in empty]))


def test_the_prime_is_passed_on_as_it_is_read(model):
    asked = []

    def prime():
        for text in ("sie", "ben"):
            asked.append(text)
            yield model.encode_prime(text)

    pieces = model.sample(prime(), length=3, seed=1)
    assert asked == []
    for number in (1, 2):
        assert next(pieces).is_prime
        assert len(asked) == number, "nobody waits for the rest of it"
    assert not next(pieces).is_prime


def test_a_prime_in_chunks_gives_the_same_sample(model):
    text = TEXT[:200]
    whole = [model.encode_prime(text)]
    cut = [model.encode_prime(part) for part in (text[:1], text[1:130], "", text[130:])]
    first, second = (np.concatenate([piece.ids for piece in model.sample(each, length=30, seed=2)])
                     for each in (whole, cut))
    np.testing.assert_array_equal(first, second)


def test_an_unreadable_prime_is_refused_after_its_readable_part(home, model):
    (home / "prime").mkdir()
    (home / "prime" / "1").write_text("sieben")
    (home / "prime" / "2").write_text("a☃")
    pieces = model.sample(model.stream(["prime"]), length=3, seed=1)
    assert model.vocabulary.decode(next(pieces).ids) == "sieben"
    with pytest.raises(CorpusError, match=r"^prime/2: .*'☃'"):
        list(pieces)


@pytest.mark.parametrize(("options", "arguments"), [
    ({}, []),
    ({"length": 0}, ["--length", 0]),
    ({"temperature": 0.5, "top_k": 4, "top_p": 0.8},
     ["--temperature", 0.5, "--top-k", 4, "--top-p", 0.8]),
    ({"count": 3, "length": 40}, ["--count", 3, "--length", 40]),
    ({"count": 40, "length": 9, "threads": 2}, ["--count", 40, "--length", 9]),
])
@pytest.mark.parametrize("stop", [None, "n", "en"])
def test_samples_are_those_of_the_command(model, printed, options, arguments, stop):
    prime = [model.encode_prime("sieben")]
    more, given = {}, []
    if stop is not None:
        more, given = {"stop": model.encode_stop(stop)}, ["--stop", stop]
    texts = [""] * options.get("count", 1)
    for piece in model.sample(prime, seed=7, **options, **more):
        texts[piece.number] += model.vocabulary.decode(piece.ids)
    output = printed("sample", "--prime", "sieben", "--seed", 7, *arguments, *given).decode()
    # Where there are several, each has a line of its own.
    several = "count" in options
    assert output == "".join(
        text + "\n" * (several and not text.endswith("\n")) for text in texts)


# The report.


@pytest.mark.parametrize("name", ["corpus", "val", "all", "rare", "shelf"])
@pytest.mark.parametrize("on_corpus", [False, True])
def test_the_report_is_the_page_of_the_command(printed, name, on_corpus, tmp_path):
    corpus = {"rare": "rare.txt", "shelf": "shelf"}.get(name, "corpus.txt")
    paths, out = [corpus] * on_corpus, tmp_path / "page.html"
    page = report(api.load(Path(f"{name}.npz")), paths)
    assert printed("report", *paths, "-o", out, model=f"{name}.npz") == b""
    assert page == out.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "paths", "source", "compared"), [
    ("corpus.npz", [], "The model generated this text itself; ", False),
    ("corpus.npz", ["corpus.txt"], "The beginning of the validation part of corpus.txt.", True),
    ("corpus.npz", ["lines.txt"], '"The beginning of lines.txt."', False),
    ("val.npz", ["corpus.txt"], "corpus.txt; the model was trained on all of it.", False),
    ("val.npz", ["val.txt"], "val.txt, the validation text, which was used to", False),
    ("all.npz", ["corpus.txt"], "the model was trained on all of it.", False),
])
def test_the_report_describes_its_text(name, paths, source, compared):
    page = report(api.load(Path(name)), paths)
    assert page.startswith("<!doctype html>")
    assert source in page
    assert ('["7-gram",' in page) is compared
    assert '["8-gram",' not in page, "of the n-grams every second"


def test_a_report_on_an_empty_text_is_refused(home, model):
    (home / "nothing.txt").write_text("")
    with pytest.raises(CorpusError, match=r"nothing\.txt: there is nothing to score"):
        report(model, ["nothing.txt"])
    with pytest.raises(UsageError, match=r"missing\.txt: no such file"):
        report(model, ["missing.txt"])
    (home / "flurry.txt").write_text("☃ sieben")
    with pytest.raises(CorpusError, match="☃"):
        report(model, ["flurry.txt"])
    assert '"The beginning of flurry.txt."' in report(model, ["flurry.txt"], skip_unknown=True)
