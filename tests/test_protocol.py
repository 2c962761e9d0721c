"""docs/protocol.md: its numbers are the code's, and whoever follows it gets the same results."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import math
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import protocol_reference as reference
import pytest
from commands import run_charrnn

import charrnn
from charrnn import errors
from charrnn.config.settings import FIELDS, Config
from charrnn.nn.optimizers import OPTIMIZERS
from charrnn.system.launcher import LAUNCHERS
from charrnn.system.machine import BLAS_VARIABLES, MAX_THREADS
from charrnn.training import events

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
WORDS = " ".join(PAGE.split())  # whatever the line breaks
NUMBER = r"(\d[\d,]*(?:\.\d+)?(?:e-?\d+)?)"

# The name of a constant, which follows its number: in a sentence, or in a row of a table.
NAME = re.compile(r"`((?:\w+\.){2,}[A-Z]\w*(?:\.[A-Z_0-9]+)?)`")

# Numbers that have no name in the code: where the page has them. What they do is tested.
FORMULAS = {
    ("val share", "val most"): rf"or min\({NUMBER}, {NUMBER} / N\) if it is not set",
    ("val rounding", "val least"): rf"\(1 - f\) \+ {NUMBER}\) .* if N - N_train < {NUMBER}",
    ("offset share",): rf"O = min\(seq_length - 1, M // {NUMBER}\)",
    ("warm-up share",): rf"w = min\(`warmup`, S // {NUMBER}\)",
    ("dropout most", "dropout chars", "dropout digits"):
        rf"it is min\({NUMBER}, {NUMBER} / N_train\), rounded to {NUMBER} decimals",
    ("gated most", "gated factor"): rf"cells it is min\({NUMBER}, {NUMBER} E P / N_train\)",
    ("decay most", "decay least", "decay chars"):
        rf"`weight_decay` is not set, it is min\({NUMBER}, max\({NUMBER}, {NUMBER} / N_train\)\)",
    ("decay others",): rf"with adam and {NUMBER} with the other",
    ("steps", "epochs"): rf"by default min\({NUMBER}, {NUMBER} W, Q\)",
    ("units unit", "units factor", "units chars", "units power"):
        rf"it is {NUMBER} round\({NUMBER} \(N_train / {NUMBER}\)\^{NUMBER}\)",
    ("rate rnn", "rate gru", "rate lstm", "rate units"):
        rf"default {NUMBER} with rnn, {NUMBER} with gru and {NUMBER} with lstm, "
        rf"times min\(1, {NUMBER} / H\)",
    ("eval least", "eval share"): rf"`eval_every` is max\({NUMBER}, ceil\({NUMBER} N_val / \(T B\)",
    ("discount least", "discount few"):
        rf"at least {NUMBER} and at most 1, 2 and 3; .* all three are {NUMBER}\. The symbols",
    ("lzma preset",): rf"`lzma.FORMAT_RAW`, preset {NUMBER}\)",
    ("lzma least", "lzma most"): rf"at least 2\^{NUMBER} and at most 2\^{NUMBER} bytes",
    ("threads",): rf"charrnn's threads \(at most {NUMBER}\)",
}


def number(text):
    value = float(text.replace(",", ""))
    return int(value) if value == int(value) else value


@functools.cache
def constants():
    """Every number of the page by its name."""
    found = {match[1]: number(re.findall(NUMBER, WORDS[: match.start()])[-1])
             for match in NAME.finditer(WORDS)}
    for names, pattern in FORMULAS.items():
        (values,) = re.findall(pattern.replace(" .* ", " [^|]*? "), WORDS)
        values = (values,) if isinstance(values, str) else values
        found |= dict(zip(names, map(number, values), strict=True))
    return found


@functools.cache
def code_names():
    """The names of constants on the page."""
    return set(NAME.findall(WORDS))


def from_code(name):
    """What a dotted name stands for."""
    module, owner = f"charrnn.{name}".split("."), []
    while True:
        try:
            found = importlib.import_module(".".join(module))
            break
        except ModuleNotFoundError:
            owner.insert(0, module.pop())
    return functools.reduce(getattr, owner, found)


def table(*titles):
    """The cells of the rows of all tables whose heads begin with these titles."""
    head = re.escape(f"| {' | '.join(titles)} |")
    bodies = re.findall(rf"^{head}.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert bodies, titles
    return [[cell.strip() for cell in row.strip("|").split(" | ")]
            for body in bodies for row in body.splitlines()]


# What the page says of the code.


@pytest.mark.parametrize("name", sorted(code_names()))
def test_every_constant_of_the_page_is_that_of_the_code(name):
    assert constants()[name] == from_code(name)


def test_the_page_has_the_constants_that_matter():
    assert len(code_names()) >= 20
    assert {f"nn.rng.Purpose.{purpose.name}" for purpose in from_code("nn.rng.Purpose")} <= (
        code_names())


def test_the_page_has_the_default_of_every_setting():
    (text,) = re.findall(r"\*\*Default settings\.\*\* (.*?) Those that", WORDS)
    shown = dict(re.findall(r"`(\w+)` ([^ ,]+?)(?:,|\.? |\.$)", f"{text} "))
    assert shown == {key: f"{value:g}" if type(value) in (int, float) else str(value).lower()
                     for key, field in FIELDS.items() if (value := field.default) is not None}
    (rest,) = re.findall(r"are described below: (.*?)\. ", WORDS)
    assert set(re.findall(r"`(\w+)`", rest)) == set(FIELDS) - set(shown)


def test_the_formulas_of_shards_and_schedules_have_the_constants_of_the_code():
    C = constants()
    assert f"max(1, B // {C['text.batches.Batches.SEQUENCES_PER_SHARD']})" in WORDS
    assert f"η = η₀ {C['nn.optimizers.EXPONENTIAL_END']}^d" in WORDS
    assert C["threads"] == MAX_THREADS
    assert re.findall(r"^(\w+) +\w ← ", PAGE, re.MULTILINE) == [*OPTIMIZERS]


def test_the_page_names_every_environment_variable_that_is_read():
    named = {variable for row in table("variable", "effect")
             for variable in re.findall(r"`(\w+)`", row[0])}
    read = {*BLAS_VARIABLES, *(name for pair in LAUNCHERS for name in pair)}
    for path in Path(charrnn.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("get", "getenv")
                    and ast.unparse(node.func.value) in ("os", "os.environ", "environment")
                    and isinstance(node.args[0], ast.Constant)):
                read.add(node.args[0].value)
    assert named == read


def test_the_page_has_every_exit_code():
    codes = {int(code) for code, _ in table("exit code", "when")}
    classes = [found for found in vars(errors).values()
               if isinstance(found, type) and issubclass(found, errors.CharrnnError)]
    stops = {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    assert codes == {0, *(each.exit_code for each in classes)} | stops
    for code, when in table("exit code", "when"):
        if int(code) > 2:
            assert signal.Signals(int(code) - 128).name[3:] in when


def test_failures_and_usage_errors_exit_with_the_codes_of_the_page(tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"\xff" * 100)
    (tmp_path / "bad.npz").write_bytes(b"no checkpoint")
    whens = {int(code): when for code, when in table("exit code", "when")}
    for code, said, command in (
        (1, "cannot be decoded", ["train", "bad.txt"]),
        (1, "damaged checkpoint", ["sample", "-m", "bad.npz"]),
        (2, "a missing file", ["train", "missing.txt"]),
        (2, "an option", ["train", "bad.txt", "--no-such-option"]),
        (2, "no command", []),
    ):
        assert said in whens[code]
        assert run_charrnn(*command, cwd=tmp_path).returncode == code, command


def test_a_folder_is_read_in_the_order_of_the_page(tmp_path):
    from charrnn.text.files import COMPRESSED, OWN, files_of

    (names,) = re.findall(r"files that charrnn writes \((.*?)\)", WORDS)
    assert re.findall(r"`(.*?)`", names) == [*OWN]
    assert all(f"`{ending}`" in WORDS for ending in COMPRESSED)
    for name in ("b/2", "b/1", "b/c/4", "z", "a", ".hidden", "d/5", "m.npz", "m.ids"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = [str(Path(path).relative_to(tmp_path)) for path in files_of([str(tmp_path)])]
    assert found == ["a", "z", "b/1", "b/2", "b/c/4", "d/5"]


# Whoever follows the page gets the same numbers.


def test_the_reference_is_independent_of_the_code():
    source = Path(reference.__file__).read_text(encoding="utf-8")
    imported = {name for node in ast.walk(ast.parse(source))
                if isinstance(node, (ast.Import, ast.ImportFrom))
                for name in ([node.module] if isinstance(node, ast.ImportFrom)
                             else [alias.name for alias in node.names])}
    assert not [name for name in imported if name.startswith("charrnn")]


def words(count, seed):
    """A text with some structure, and some lines that are empty."""
    rng = np.random.default_rng(seed)
    known = ["the", "quick", "brown", "fox", "jümps", "over", "lazy", "dogs", "and", "so", "\n"]
    return " ".join(known[i] for i in rng.integers(0, len(known), count)) + "\n"


SETTINGS = {
    "val_fraction": None, "seed": 5, "cell": "rnn", "hidden_size": 6, "layers": 2, "seq_length": 8,
    "batch_size": 5, "steps": 40, "optimizer": "adam", "learning_rate": 0.02,
    "schedule": "cosine", "warmup": 3, "clip_norm": 1.0, "clip_value": 0.0,
    "weight_decay": 0.1, "dropout": 0.0, "borders": "ignore", "dtype": "float64", "threads": 1,
}


def run(*args, cwd):
    """The lines of JSON that a command prints."""
    result = run_charrnn(*args, cwd=cwd)
    assert result.returncode == 0, result.stderr.decode()
    return [json.loads(line) for line in result.stdout.splitlines()]


def trained(folder, *files, **settings):
    """The events of a run on the texts, which is saved in ``folder``/run.npz."""
    names = []
    for i, text in enumerate(files):
        names.append(f"{i}.txt")
        (folder / names[-1]).write_text(text, encoding="utf-8", newline="")
    options = [f"--{key.replace('_', '-')}={value}"
               for key, value in (SETTINGS | settings).items() if value is not None]
    return run("train", *names, "-o", "run.npz", "--json", *options, cwd=folder)


def loaded(folder):
    """The best weights of the checkpoint, by name; other arrays as well."""
    with np.load(folder / "run.npz") as file:
        return {name: file[name].astype(np.float64) for name in file.files if name != "meta"}


@pytest.mark.parametrize("changed", [
    {}, {"dropout": 0.25, "clip_norm": 0.3}, {"clip_value": 0.01, "clip_norm": 0.0},
    {"clip_value": 0.05, "clip_norm": 0.2},
    {"optimizer": "rmsprop", "schedule": "exponential", "learning_rate": 0.004},
    {"optimizer": "adagrad", "schedule": "constant", "weight_decay": 0.5},
    {"optimizer": "sgd", "layers": 1, "warmup": 100, "val_fraction": 0.0, "batch_size": 17},
    {"borders": "reset", "layers": 3, "threads": 2},
    {"cell": "gru", "dropout": 0.25}, {"cell": "gru", "borders": "reset", "layers": 3},
    {"cell": "lstm", "dropout": 0.25}, {"cell": "lstm", "borders": "reset", "layers": 3},
], ids=lambda changed: ",".join(map(str, changed.values())) or "adam")
def test_steps_that_follow_the_page_are_those_of_train(tmp_path, changed):
    files = [words(90, 1), words(60, 2), words(50, 3)]
    steps = [event for event in trained(tmp_path, *files, **changed) if event["event"] == "step"]
    borders = np.cumsum([len(text) for text in files])[:-1]
    settings = SETTINGS | changed
    settings["files"] = borders if settings["borders"] == "reset" else []
    rows, p = reference.train(constants(), "".join(files), settings)
    assert steps[-1]["epoch"] > 1.2, "there are windows of a second epoch"
    found = [(s["nats_per_char"], s["grad_norm"], s["learning_rate"]) for s in steps]
    np.testing.assert_allclose(found, rows, rtol=1e-8)
    flat = np.concatenate([value.ravel() for value in p.values()])
    np.testing.assert_allclose(loaded(tmp_path)["training.theta"], flat, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("chars", "settings"), [
    (5, {"val_fraction": 0.5, "batch_size": 3}), (10, {}), (19, {}), (39, {"seq_length": 40}),
    (30, {"val_fraction": 0.9}), (10_000, {"val_fraction": 0.50000005}), (1000, {}),
    (90_000, {"optimizer": "sgd"}), (12_000_000, {"seq_length": 64, "hidden_size": 2}),
    (1_200_000, {}), (90_000, {"cell": "lstm"}), (400_000, {"cell": "gru", "hidden_size": 300}),
], ids=lambda value: str(value))
def test_the_defaults_that_follow_from_a_text_are_those_of_the_page(tmp_path, chars, settings):
    (tmp_path / "a.txt").write_bytes((b"to be or not to be\n" * (chars // 19 + 1))[:chars])
    options = [f"--{key.replace('_', '-')}={value}" for key, value in settings.items()]
    (start,) = run("train", "a.txt", "--json", "--dry-run", *options, cwd=tmp_path)
    C, defaults = constants(), Config()
    N = reference.training_size(C, chars, settings.get("val_fraction"))
    _, T, B, n, W = reference.batches(C, N, settings.get("seq_length", defaults.seq_length),
                                      settings.get("batch_size", defaults.batch_size))
    named = "hidden_size" in settings and "cell" not in settings
    cell = "rnn" if named else settings.get("cell", "gru")
    units = min(256, C["units unit"] * max(1, round(
        C["units factor"] * (N / C["units chars"]) ** C["units power"])))
    H, g = settings.get("hidden_size", units), 1 if cell == "rnn" else C["training.defaults.GATED"]
    V, k = start["distinct"], {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    cost = 3 * k * H * H + 2 * k * H + 2 * H * V + V
    cost += C["training.defaults.WEIGHTS_PER_VALUE"] * (g * 2 * H + V)
    Q = int(float(f"{C['training.defaults.QUICK_LOOK'] / (T * B * cost):.2g}"))
    decay = min(C["decay most"], max(C["decay least"], C["decay chars"] / N))
    adam = settings.get("optimizer", "adam") == "adam"
    steps = max(1, min(C["steps"], C["epochs"] * W, Q))
    dropout = min(C["dropout most"], C["dropout chars"] / N)
    if cell != "rnn":
        dropout = min(C["gated most"], C["gated factor"] * steps / W * start["parameters"] / N)
    assert start | {
        "cell": cell, "layers": 2, "hidden_size": H, "weight_decay": round(decay, 2) * adam,
        "learning_rate": float(f"{C[f'rate {cell}'] * min(1, C['rate units'] / H):.2g}"),
        "train_chars": N, "val_chars": chars - N, "seq_length": T, "batch_size": B,
        "steps_per_epoch": W, "left_over": N - 1 - B * n,
        "steps": steps, "dropout": round(dropout, C["dropout digits"]),
    } == start


@pytest.mark.parametrize(("text", "T", "steps"), [(words(300, 1), 4, 200), (words(40, 1), 4, 60)])
def test_validations_are_as_frequent_as_documented(tmp_path, text, T, steps):
    found = trained(tmp_path, text, seq_length=T, batch_size=1, steps=steps, val_fraction=0.1,
                    hidden_size=2, layers=1)
    C, start = constants(), found[0]
    every = max(C["eval least"], math.ceil(C["eval share"] * start["val_chars"] / T))
    assert every < steps
    due = [*range(every, steps, every), steps]
    assert [event["step"] for event in found if event["event"] == "eval"] == due


def test_samples_and_checkpoints_come_at_the_documented_steps(tmp_path):
    found = trained(tmp_path, words(90, 1), val_fraction=0.0, steps=10, sample_every=10,
                    save_every=3, eval_every=4)
    saved = [event["step"] for event in found if event["event"] == "save"]
    assert saved == [3, 4, 6, 8, 9, 10]
    (text,) = [event["text"] for event in found if event["event"] == "sample"]
    codes, start = reference.vocabulary(words(90, 1))
    length = constants()["training.loop.SAMPLE_LENGTH"]
    drawn = reference.sample(constants(), loaded(tmp_path), 2, start, [], length, 5 + 10)
    assert text == "".join(chr(codes[symbol]) for symbol in drawn)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on two files, longer than several segments."""
    folder = tmp_path_factory.mktemp("run")
    trained(folder, words(900, 1), words(500, 2), val_fraction=0.4, steps=150)
    return folder


@pytest.fixture(scope="module")
def files(folder):
    return [(folder / name).read_text(encoding="utf-8") for name in ("0.txt", "1.txt")]


@pytest.fixture(scope="module")
def model(folder, files):
    """Weights, start symbol, and a function from text to symbols."""
    codes, start = reference.vocabulary("".join(files))
    p = loaded(folder)
    assert p["vocabulary"].tolist() == codes
    return p, start, lambda text: [codes.index(ord(c)) for c in text]


def scores(found):
    """What ``eval --json`` has of the score of these symbols."""
    nats = sum(float(each) for each, _ in found) / len(found)
    return {"chars": len(found), "nats_per_char": pytest.approx(nats, rel=1e-9),
            "bits_per_char": pytest.approx(nats / math.log(2), rel=1e-9),
            "perplexity": pytest.approx(math.exp(nats), rel=1e-9),
            "accuracy": pytest.approx(sum(bool(hit) for _, hit in found) / len(found))}


def test_a_text_scored_by_the_page_has_the_score_of_eval(folder, files, model):
    p, start, encode = model
    ids = encode("".join(files))
    assert len(ids) > 4 * constants()["inference.scoring.SEGMENT"]
    expected = scores(reference.score(constants(), p, 2, start, [start], ids))
    (found,) = run("eval", "0.txt", "1.txt", "-m", "run.npz", "--json", cwd=folder)
    assert found == found | expected


def test_single_precision_changes_a_score_by_less_than_a_millionth(tmp_path):
    text, C = words(500, 1), constants()
    trained(tmp_path, text, dtype="float32")
    codes, start = reference.vocabulary(text)
    ids = [codes.index(ord(c)) for c in text]
    expected = scores(reference.score(C, loaded(tmp_path), 2, start, [start], ids))
    (found,) = run("eval", "0.txt", "-m", "run.npz", "--json", cwd=tmp_path)
    assert found["nats_per_char"] == pytest.approx(expected["nats_per_char"].expected, abs=1e-6)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_part_scored_by_the_page_has_the_score_of_eval(folder, files, model, split):
    p, start, encode = model
    ids, C = encode("".join(files)), constants()
    train = reference.training_size(C, len(ids), 0.4)
    part = ([start], ids[:train]) if split == "train" else ([start, *ids[:train]], ids[train:])
    expected = scores(reference.score(C, p, 2, start, *part))
    (found,) = run("eval", "0.txt", "1.txt", "-m", "run.npz", "--split", split, "--json",
                   cwd=folder)
    assert found == found | expected


def test_validation_during_training_is_the_score_of_the_page(tmp_path):
    files = [words(90, 1), words(300, 2), words(60, 3)]
    found = trained(tmp_path, *files, borders="reset", val_fraction=0.7, steps=3)
    (last,) = [event for event in found if event["event"] == "eval"]
    C = constants()
    codes, start = reference.vocabulary("".join(files))
    ids = [codes.index(ord(c)) for c in "".join(files)]
    train = reference.training_size(C, len(ids), 0.7)
    for name, order in (("unigram", 1), ("trigram", 3)):
        nats = reference.kneser_ney(C, ids[:train], [start, *ids[:train]], ids[train:],
                                    len(codes), order)
        assert last[name] == pytest.approx(nats, rel=1e-10)
    borders = {int(border) - train for border in np.cumsum([len(text) for text in files])[:-1]}
    assert min(borders) < 0 < max(borders), "one of them is in the context or before it"
    context, p = [start, *ids[:train]], loaded(tmp_path)
    found = reference.score(C, p, 2, start, context, ids[train:], borders)
    assert last["nats_per_char"] == pytest.approx(scores(found)["nats_per_char"].expected, rel=1e-9)
    everything = [reference.score(C, p, 2, start, [start], [codes.index(ord(c)) for c in text])
                  for text in files]
    (whole,) = run("eval", *(f"{i}.txt" for i in range(3)), "-m", "run.npz", "--json", cwd=tmp_path)
    assert whole == whole | scores([each for found in everything for each in found])


def test_a_line_scored_by_the_page_has_the_score_of_eval(folder, files, model):
    p, start, encode = model
    found = run("eval", "1.txt", "-m", "run.npz", "--per-line", "--json", cwd=folder)
    lines = files[1].splitlines(keepends=True)
    assert len(found) == len(lines)
    for row, line in zip(found, lines, strict=True):
        expected = scores(reference.surprisals(p, 2, start, [start], encode(line)))
        assert row == row | {key: expected[key] for key in expected.keys() & row.keys()}
        assert row["text"] == line[:-1]


def test_dynamic_evaluation_by_the_page_has_the_score_of_eval(folder, files, model):
    p, start, encode = model
    ids, C = encode("".join(files)), constants()
    train = reference.training_size(C, len(ids), 0.4)
    expected = reference.dynamic(C, p, 2, [start, *ids[:train]], ids[train:])
    (found,) = run("eval", "0.txt", "1.txt", "-m", "run.npz", "--split", "val", "--dynamic",
                   "--json", cwd=folder)
    assert found["nats_per_char"] == pytest.approx(expected, rel=1e-8)


def test_the_baselines_of_the_page_are_those_of_eval(folder, files, model):
    _, start, encode = model
    text, C = "".join(files), constants()
    train = reference.training_size(C, len(text), 0.4)
    ids, V = encode(text), len(set(text))
    expected = {"uniform": math.log(V), "lzma": reference.lzma_nats(C, text[:train], text[train:])}
    for order in range(1, C["analysis.baselines.ORDER"] + 1):
        expected[f"{order}-gram"] = reference.kneser_ney(
            C, ids[:train], [start, *ids[:train]], ids[train:], V, order)
    (found,) = run("eval", "0.txt", "1.txt", "-m", "run.npz", "--split", "val", "--baselines",
                   "--json", cwd=folder)
    assert found["baselines"] == pytest.approx(expected, rel=1e-10)


def test_the_dictionary_of_lzma_has_the_size_of_the_page(monkeypatch):
    from charrnn.analysis import baselines

    chosen = []
    monkeypatch.setattr(baselines.lzma, "compress", lambda data, format, filters: (
        chosen.append(filters[0]["dict_size"]) or b""))
    sizes = [0, 1, 2**20, 2**20 + 1, 2**24 - 1, 2**26, 2**26 + 1, 2**40]
    for size in sizes:
        baselines._compressed_size(range(size))  # of which only the length matters here
    assert chosen == [reference.dictionary(constants(), size) for size in sizes]


def test_a_text_with_too_few_counts_has_the_discounts_of_the_page(folder, model):
    _, start, encode = model
    (folder / "few.txt").write_text("the fox\n")
    ids, C = encode("the fox\n"), constants()
    train = encode("the dogs")
    (folder / "train.txt").write_text("the dogs")
    (found,) = run("eval", "few.txt", "-m", "run.npz", "--baselines", "--train-text", "train.txt",
                   "--json", cwd=folder)
    for order in (1, 2, 5):
        expected = reference.kneser_ney(C, train, [start], ids, len(model[0]["b_y"]), order)
        assert found["baselines"][f"{order}-gram"] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("how", [
    {}, {"temperature": 0}, {"temperature": 0.7}, {"top_k": 3}, {"top_p": 0.6},
    {"temperature": 1.5, "top_k": 6, "top_p": 0.8},
], ids=str)
def test_a_sample_by_the_page_is_that_of_sample(folder, model, how):
    p, start, encode = model
    options = [f"--{key.replace('_', '-')}={value}" for key, value in how.items()]
    result = run_charrnn("sample", "-m", "run.npz", "--prime", "the q", "--length", 120, "--seed",
                         9, "--count", 2, *options, cwd=folder)
    expected = ""
    for i in range(2):
        drawn = reference.sample(constants(), p, 2, start, encode("the q"), 120, 9, i, **how)
        text = "the q" + "".join(chr(int(p["vocabulary"][symbol])) for symbol in drawn)
        expected += text + "\n" * (not text.endswith("\n"))
    assert result.stdout.decode() == expected


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_gated_model_is_scored_updated_and_sampled_as_on_the_page(tmp_path, cell):
    text, C = words(700, 1), constants()
    trained(tmp_path, text, cell=cell, val_fraction=0.4, steps=100)
    p, (codes, start) = loaded(tmp_path), reference.vocabulary(text)
    ids = [codes.index(ord(c)) for c in text]
    train = reference.training_size(C, len(ids), 0.4)
    context = [start, *ids[:train]]
    command = ["eval", "0.txt", "-m", "run.npz", "--split", "val", "--json"]
    (found,) = run(*command, cwd=tmp_path)
    assert found == found | scores(reference.score(C, p, 2, start, context, ids[train:]))
    (found,) = run(*command, "--dynamic", cwd=tmp_path)
    expected = reference.dynamic(C, p, 2, context, ids[train:])
    assert found["nats_per_char"] == pytest.approx(expected, rel=1e-8)
    prime = [codes.index(ord(c)) for c in "the q"]
    drawn = reference.sample(C, p, 2, start, prime, 120, 9)
    options = ["--prime", "the q", "--length", 120, "--seed", 9]
    result = run_charrnn("sample", "-m", "run.npz", *options, cwd=tmp_path)
    assert result.stdout.decode() == "the q" + "".join(chr(codes[symbol]) for symbol in drawn)


def test_equal_logits_are_ranked_as_documented():
    from charrnn.inference.sampling import choose

    rng = np.random.default_rng(0)
    for _ in range(300):
        z, u = rng.integers(0, 3, 7).astype(np.float64), rng.random()
        how = (float(rng.choice([0.0, 0.5, 1.0, 2.0])), int(rng.integers(0, 8)),
               float(rng.choice([0.31, 0.53, 0.87, 1.0])))  # no sum of probabilities
        assert choose(z[None], np.array([u]), *how)[0] == reference.draw(z, u, *how)


def test_a_sample_ends_where_documented(folder):
    def sample(*more):
        return run_charrnn("sample", "-m", "run.npz", "--prime", "the q", "--length", 200, "--seed",
                           9, *more, cwd=folder).stdout.decode()

    text = sample()
    first = text.index(" a", len("the q"))
    assert sample("--stop", " a") == text[:first]


# JSON, key by key.

TYPES = {
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
    "object": lambda value: type(value) is dict,
    "array of strings": lambda value: type(value) is list and all(type(x) is str for x in value),
    "array of integers": lambda value: type(value) is list and all(type(x) is int for x in value),
    "array of objects": lambda value: type(value) is list and all(type(x) is dict for x in value),
}


def documented(*heads, titles):
    """The keys and types of what has one of these ``heads`` in the first column."""
    return {key.strip("`"): kinds for head, key, kinds, _ in table(*titles) if head in heads}


def check(value, keys, optional=()):
    assert set(value) | set(optional) == set(keys) | set(optional), value
    for key, each in value.items():
        assert any(TYPES[kind](each) for kind in keys[key].split(" or ")), (key, each)


def event_keys(name):
    return documented("every event", f"`{name}`", titles=("event", "key", "type", "what it is"))


def test_every_event_has_the_keys_and_types_of_the_page(tmp_path):
    found = trained(tmp_path, words(200, 1), eval_every=2, steps=6, sample_every=3, save_every=1)
    found += trained(tmp_path, words(200, 1), eval_every=2, steps=6, sample_every=3, save_every=1)
    (tmp_path / "none").mkdir()
    found += trained(tmp_path / "none", words(200, 1), val_fraction=0.0, steps=2)
    names = {each.__name__.lower() for each in events.Event.__subclasses__()}
    assert {event["event"] for event in found} == names
    assert {head.strip("`") for head, *_ in table("event", "key", "type", "what it is")} == (
        names | {"every event"})
    for event in found:
        check(event, event_keys(event["event"]))


def test_the_page_has_every_field_of_every_event():
    for each in events.Event.__subclasses__():
        keys = event_keys(each.__name__.lower())
        assert set(each.__dataclass_fields__) - set(events.NOT_IN_JSON) <= set(keys), each


def test_the_results_of_eval_have_the_keys_and_types_of_the_page(folder):
    titles = ("command", "key", "type", "what it is")
    for command, head in (
        (["--split", "val", "--baselines"], "whole text"), ([], "whole text"),
        (["--dynamic"], "whole text"), (["--per-line"], "line"),
    ):
        keys = documented("both", head, titles=titles)
        compare = "--baselines" in command
        result = run("eval", "0.txt", "1.txt", "-m", "run.npz", "--json", *command, cwd=folder)
        for each in result:
            check(each, keys, optional=() if compare else ("baselines", "baselines_bits_per_char"))
    (folder / "empty.txt").write_text("\n\na", newline="")
    for row in run("eval", "empty.txt", "-m", "run.npz", "--json", "--per-line", cwd=folder):
        check(row, documented("both", "line", titles=titles))


def test_samples_have_the_keys_and_types_of_the_page(folder, tmp_path):
    titles = ("sample", "key", "type", "what it is")
    rows = run("sample", "-m", "run.npz", "--count", 3, "--json", "--stop", "fox", cwd=folder)
    assert [row["number"] for row in rows] == [1, 2, 3]
    for row in rows:
        check(row, documented("every sample", titles=titles))
    keys = documented("every sample", "`--novelty`", titles=titles)
    (row,) = run("sample", "-m", "run.npz", "--json", "--novelty", "0.txt", cwd=folder)
    check(row, keys)
    (meaning,) = [row[3] for row in table(*titles) if row[1] == "`novelty`"]
    assert set(row["novelty"]) == set(re.findall(r"`(\w+)`", meaning))
    (tmp_path / "a").write_bytes(bytes(range(256)))
    run("train", "a", "--level", "byte", "--steps", 1, "-o", "a.npz", "--json", cwd=tmp_path)
    (tmp_path / "prime").write_bytes(b"\xff")
    (row,) = run("sample", "-m", "a.npz", "--json", "--prime-file", "prime", cwd=tmp_path)
    check(row, documented("every sample", "bytes", titles=titles))


@pytest.mark.parametrize("name", ["run.npz", "format1.npz"])
def test_info_has_the_keys_and_types_of_the_page(folder, name):
    titles = ("part", "key", "type", "what it is")
    if name != "run.npz":
        shutil.copy(ROOT / "tests/data" / name, folder / name)
    (facts,) = run("info", name, "--json", cwd=folder)
    check(facts, documented("info", titles=titles))
    for part in ("model", "text", "vocabulary", "progress"):
        check(facts[part], documented(f"`{part}`", titles=titles))
    assert facts["history"]
    for row in facts["history"]:
        check(row, documented("`history`", titles=titles))
    assert (facts["explicit"] is None) == (name != "run.npz")


def test_the_glossary_has_each_letter_once_and_each_term_once():
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \*\*(.*?)\*\*(?: \((.*?)\))? \| (.*) \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n| **") and 20 <= len(rows) <= 35
    letters = [letter for _, group, _ in rows for letter in group.split(", ") if letter]
    assert sorted(letters) == ["B", "H", "L", "T", "V"]
    terms = [term for names, _, _ in rows for term in names.split(", ")]
    assert len(set(terms)) == len(terms)
    assert all(meaning.endswith(".") for _, _, meaning in rows)
