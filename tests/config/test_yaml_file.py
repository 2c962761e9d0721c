"""YAML files of settings: plain ones are read, everything else is refused in one line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.config.parsing import parse, resolve
from charrnn.config.settings import FIELDS, Config
from charrnn.config.yaml_file import MAX_YAML, read_yaml
from charrnn.errors import UsageError

CONFIGS = Path(__file__).parent.parent.parent / "configs"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("config") / "run.yaml"


@pytest.fixture(scope="module")
def read(path):
    def read(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_yaml(str(path))

    return read


@pytest.fixture(scope="module")
def refusal(read, path):
    """The one line that refuses a file: within a second, naming the file."""

    def refusal(content):
        begin = time.process_time()
        with pytest.raises(UsageError) as caught:
            read(content)
        assert time.process_time() - begin < 1
        message = str(caught.value)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert caught.value.exit_code == 2
        return message

    return refusal


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("1E-3", 0.001), ("0.002", 0.002), (".5", 0.5), ("2", 2.0), ("+1.", 1.0)],
)
def test_numbers_are_read_as_people_write_them(read, text, value):
    rate = read(f"learning_rate: {text}")["learning_rate"]
    assert rate == value
    assert type(rate) is float


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "0", "0.0", "-0.0", "-1", "-2e-3",
                                  "1e-400", "1e999"])
def test_a_learning_rate_that_is_not_positive_and_finite_is_refused_by_name(refusal, text):
    assert "learning_rate" in refusal(f"learning_rate: {text}")


def test_a_file_of_settings_is_read(read):
    content = "# a comment\nhidden_size: 3\nschedule: constant\n'level': \"byte\"\nsteps: null\n"
    assert read(content) == {
        "hidden_size": 3, "schedule": "constant", "level": "byte", "steps": None
    }


@pytest.mark.parametrize("content", ["", "\n", "# nothing\n", "---\n", "{}"])
def test_a_file_without_settings_sets_nothing(read, content):
    assert read(content) == {}


def test_a_byte_order_mark_is_not_part_of_the_first_key(read):
    assert read(b"\xef\xbb\xbfsteps: 3\r\nlayers: 1\r\n") == {"steps": 3, "layers": 1}


REFUSED = {
    "unknown key": ("layers: 2\nflavor: 3", ["line 2", "flavor"]),
    "misspelled key": ("hiden_size: 3", ["line 1", "hiden_size", "did you mean hidden_size?"]),
    "a name of others": ("lr: 3", ["'lr' is not a setting; did you mean learning_rate?"]),
    "a name of char-rnn": ("rnn_size: 3", ["did you mean hidden_size?"]),
    "singular": ("epoch: 3", ["did you mean epochs?"]),
    "an option": ("out: a.npz", [
        "line 1: 'out' is not a setting: use the option -o of charrnn train"]),
    "an option of others": ("output: a", ["'output' is not a setting: use the option -o"]),
    "the text": ("corpus: a.txt", ["name the text after charrnn train"]),
    "the cell of others": ("cell_type: lstm", ["'cell_type' is not a setting: cell chooses"]),
    "the usual name of rnn": ("cell: vanilla", ["did you mean rnn?"]),
    "a kind of model": ("model: lstm", ["'model' is not a setting", "hidden_size and layers"]),
    "hyphens": ("learning-rate: 3", ["learning-rate", "did you mean learning_rate?"]),
    "misspelled choice": ("\noptimizer: adma", ["line 2", "optimizer", "did you mean adam?"]),
    "no choice": ("level: word", ["level", "char, byte"]),
    "true": ("threads: true", ["line 1", "threads", "'true'"]),
    "no": ("dropout: no", ["line 1", "dropout", "'no'"]),
    "2.0": ("layers: 2.0", ["line 1", "layers", "whole number"]),
    "word": ("steps: 3\n\nhidden_size: big", ["line 3", "hidden_size", "'big'"]),
    "double quotes": ('hidden_size: "3"', ["line 1", "hidden_size", "quotes"]),
    "single quotes": ("learning_rate: '1e-3'", ["line 1", "learning_rate", "quotes"]),
    "block": ("learning_rate: |\n  1e-3", ["line 1", "learning_rate"]),
    "quoted null": ('steps: ""', ["line 1", "steps"]),
    "null": ("batch_size: null", ["line 1", "batch_size"]),
    "tilde": ("clip_norm: ~", ["line 1", "clip_norm"]),
    "nothing": ("layers: 2\nencoding:", ["line 2", "encoding"]),
    "list": ("layers: 2\nsteps: [1, 2]", ["line 2", "steps", "list"]),
    "block list": ("steps:\n  - 1", ["line 2", "steps", "list"]),
    "mapping": ("steps: {a: 1}", ["line 1", "steps", "mapping"]),
    "top list": ("- steps: 1", ["line 1", "list"]),
    "top scalar": ("steps", ["line 1"]),
    "top number": ("3", ["line 1"]),
    "top null": ("~", ["line 1"]),
    "list as key": ("? [steps]\n: 1", ["line 1", "list"]),
    "mapping as key": ("? {steps: 1}\n: 1", ["line 1", "mapping"]),
    "two documents": ("steps: 1\n---\nsteps: 2", ["line 2", "second document"]),
    "two empty documents": ("---\n---\n", ["line 2", "second document"]),
    "duplicate": ("steps: 1\nlayers: 1\nsteps: 1", ["line 3", "steps", "twice"]),
    "duplicate in quotes": ("steps: 1\n'steps': 1", ["line 2", "steps", "twice"]),
    "python tag": ("steps: !!python/object/apply:os.system ['true']", ["line 1", "steps"]),
    "python name": ("steps: !!python/name:os.system", ["line 1"]),
    "tagged top": ("!!python/object:charrnn.config.settings.Config {steps: 1}", ["line 1", "tags"]),
    "int tag": ("steps: !!int 3", ["line 1", "tags"]),
    "bare tag": ("steps: ! 3", ["line 1", "tags"]),
    "tagged key": ("!!str steps: 3", ["line 1", "tags"]),
    "anchor": ("steps: &a 3", ["line 1", "anchors"]),
    "anchored key": ("&a steps: 3", ["line 1", "anchors"]),
    "anchored top": ("&a {steps: 3}", ["line 1", "anchors"]),
    "alias": ("steps: 1\nlayers: *a", ["line 2", "aliases"]),
    "aliased key": ("*a : 1", ["line 1", "aliases"]),
    "merge": ("<<: {steps: 1}", ["line 1", "<<"]),
    "merges": ("<<: [{<<: {steps: 1}}, {<<: {steps: 1}}]", ["line 1", "<<"]),
    "unclosed": ("steps: 3\nlayers: 'a", ["not YAML"]),
    "tab": ("steps:\n\t3", ["line 2", "not YAML"]),
    "control": ("steps: \x01", ["not YAML"]),
    "NUL": (b"steps: 3\0", ["not YAML"]),
    "brackets": ("[" * 20_000, ["line 1", "list"]),
    "brackets of a key": ("layers: 1\nsteps: " + "[" * 20_000, ["line 2", "steps", "list"]),
    "braces": ("{" * 20_000, ["line 1"]),
    "questions": ("? " * 20_000, ["line 1"]),
    "dashes": ("- " * 20_000, ["line 1", "list"]),
    "digits": ("seed: " + "9" * 400, ["line 1", "seed"]),
    "many digits": ("seed: " + "9" * 5000, ["line 1", "seed"]),
    "escape beyond Unicode": ('encoding: "\\U00110000"', []),
    "escape beyond 31 bits": ('encoding: "\\UFFFFFFFF"', []),
    "escaped key": ('"\\UFFFFFFFF": 1', []),
    "version of many digits": (f"%YAML 1.{'1' * 5000}\n---\nsteps: 1", []),
    "too long": ("steps: 3\n" + "#" * 100_000, ["100,000"]),
    "too long by one": ("steps: 3\n" + "#" * (100_000 - 8), ["100,000"]),
    "latin-1": (b"# caf\xe9\nsteps: 1", ["UTF-8", "byte 5"]),
    "far latin-1": (b"#" * 60_000 + b"\xff", ["UTF-8", "byte 60000"]),
    "latin-1 after a mark": (b"\xef\xbb\xbf# caf\xe9", ["UTF-8", "byte 8"]),
    "utf-16": ("steps: 1".encode("utf-16"), ["UTF-8", "byte 0"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_file_is_refused_within_a_second_with_file_line_and_key(refusal, name):
    content, words = REFUSED[name]
    message = refusal(content)
    for word in words:
        assert word in message


# What a file repeats, with what stands before and after it.
ENDLESS = [
    ("learning_rate: ", "1", "x"), ("learning_rate: 1", "_1", "x"), ("learning_rate: .", "1", "x"),
    ("learning_rate: 1e", "1", "x"), ("seed: ", "9", ""), ("seed: ", "1_", "x"),
    ("? ", "steps", "\n: 1"), ("? ", "hidden_size_", "\n: 1"), ("", "a: 1\n", ""),
    ("optimizer: ", "adam", ""), ("optimizer: ", "a", ""), ("deterministic: ", "tru", ""),
    ("encoding: ", "utf-", ""), ("encoding: ", "a.", ""), ("encoding: ", "\U0001f600", ""),
    ('encoding: "', "\\x1b", '"'), ('encoding: "', "\\ud800", '"'), ('encoding: "', "\n", '"'),
    ("encoding: |\n", " a\n", ""), ("encoding: >\n", "\n", " a"), ("encoding: '", "''", "'"),
    ('steps: "', "1", '"'), ("encoding: ", "a ", ""), ("encoding: ", "a\n ", ""),
    ("steps: ", "[", ""), ("", "[", ""), ("", "{a: ", ""), ("", "- ", ""), ("", "? ", ""),
    ("", "#\n", ""), ("", "\n", ""), ("", "---\n", ""), ("", "%X\n", "---\nsteps: 1"),
    ("%YAML 1.", "1", "\n---\nsteps: 1"), ("%TAG !", "a", "! x\n%TAG !b! x\n---\nsteps: 1"),
    ("steps: !", "a", "!b 1"), ("steps: !<", "%41", "> 1"), ("steps: &", "a", " 1"),
    ("steps: *", "a", ""),
]  # fmt: skip


@pytest.mark.parametrize(("before", "unit", "after"), ENDLESS, ids=ascii)
def test_any_file_is_accepted_or_refused_within_a_second_in_a_short_message(
    read, path, before, unit, after
):
    content = before + unit * ((MAX_YAML - len(before + after)) // len(unit)) + after
    begin = time.process_time()
    try:
        read(content)
    except UsageError as error:
        assert len(str(error)) < len(str(path)) + 300
    assert time.process_time() - begin < 1


def test_a_file_of_growing_indentation_is_refused_within_a_second(read, refusal):
    refusal("".join(" " * width + "a:\n" for width in range(430)))
    refusal("encoding: |\n" + "".join(" " * width + "\n" for width in range(430)) + "x")


def test_a_file_of_the_maximal_length_is_read(read):
    assert read("steps: 3\n" + "#" * (100_000 - 9)) == {"steps": 3}


def test_a_bomb_of_aliases_is_refused(refusal):
    lines = ["a0: &a0 x"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    refusal("\n".join(lines))
    refusal("steps: &a [*a, *a]")


def test_a_bomb_of_merges_is_refused(refusal):
    lines = ["steps: 1", "x0: &x0 {a: 1}"]
    lines += [f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}" for i in range(1, 8)]
    assert "line 2" in refusal("\n".join(lines))


@pytest.mark.parametrize("path", ["missing.yaml", "folder", "file/inside.yaml"])
def test_a_file_that_cannot_be_opened_is_named(tmp_path, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=path):
        read_yaml(str(tmp_path / path))


PIECES = [
    *FIELDS, ": ", ":", "\n", "\n  ", " ", "- ", "? ", "[", "]", "{", "}", ",", "#", "&a ", "*a",
    "<<: ", "!!int ", "!!python/name:os.system ", "! ", "---\n", "...\n", "%YAML 1.1\n",
    "%TAG ! tag:x,2000:\n", '"', "'", "|\n", ">-\n", "~", "null", "true", "1", "3", "-1", "1e-3",
    ".inf", "nan", "2.0", "adam", "utf-8", "byte", "\\U00110000", "\\x", "\t", "\r", "\0",
    "\ufeff", "\u2028", "\x85", "é", "\U0001f600",
]
LINE = st.tuples(
    st.sampled_from([*FIELDS, "lr", "'steps'"]), st.sampled_from([": ", ":", ":\n  ", ": &a "]),
    st.one_of(st.sampled_from(PIECES), st.integers().map(str), st.floats().map(repr), st.text()),
).map("".join)


@given(
    st.one_of(
        st.binary(), st.text().map(str.encode),
        st.lists(st.sampled_from(PIECES)).map("".join).map(str.encode),
        st.lists(LINE, max_size=4).map("\n".join).map(str.encode),
    )
)
@example(b'steps: "\\UFFFFFFFF')
@example(b"\xef\xbb\xbf")
def test_any_file_gives_settings_or_a_usage_error(read, path, content):
    try:
        values = read(content)
    except UsageError as error:
        assert str(error).startswith(str(path))
        return
    for key, value in values.items():
        assert value == (FIELDS[key].default if value is None else parse(key, str(value)))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_that_ships_loads(path):
    values = read_yaml(str(path))
    assert values
    assert resolve(values, {}) == Config(**values)


def test_the_config_of_defaults_has_every_default_and_no_other_value():
    values = read_yaml(str(CONFIGS / "default.yaml"))
    defaults = {key: field.default for key, field in FIELDS.items()}
    assert {**dict.fromkeys(FIELDS), **values} == defaults
