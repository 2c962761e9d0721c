"""Settings: what is read as a value, what is refused, and which word counts."""

from __future__ import annotations

import itertools
import math
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn import config, configfile
from charrnn.config import FIELDS, Config, parse, resolve
from charrnn.errors import UsageError

CONFIGS = Path(__file__).parent.parent / "configs"
NUMBERS = [key for key in FIELDS if str(FIELDS[key].type).startswith(("int", "float"))]
WHOLE = [key for key in NUMBERS if "int" in str(FIELDS[key].type)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("config") / "run.yaml"


@pytest.fixture(scope="module")
def read(path):
    def read(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return configfile.read_yaml(str(path))

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


def test_every_setting_of_the_design_is_there():
    named = """level encoding val_fraction hidden_size layers activation dropout dtype batch_size
        seq_length optimizer learning_rate schedule warmup clip_norm clip_value steps epochs
        max_minutes patience eval_every save_every sample_every seed threads
        weight_decay"""
    assert set(named.split()) <= set(FIELDS)


@pytest.mark.parametrize("key", FIELDS)
def test_every_default_passes_its_own_parse(key):
    default = FIELDS[key].default
    if default is None:
        assert "None" in str(FIELDS[key].type)
        return
    value = parse(key, str(default))
    assert value == default
    assert type(value) is type(default)


@pytest.mark.parametrize("key", FIELDS)
def test_every_setting_says_where_it_belongs_and_when_to_touch_it(key):
    assert FIELDS[key].metadata["group"]
    assert FIELDS[key].metadata["help"].endswith((".", "..."))


def test_what_may_change_in_a_run_is_budgets_and_what_shows_or_saves():
    assert {"steps", "epochs", "max_minutes", "patience"} <= config.MAY_CHANGE
    assert "eval_every" not in config.MAY_CHANGE
    assert set(FIELDS) >= config.MAY_CHANGE


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("1E-3", 0.001), ("0.002", 0.002), (".5", 0.5), ("2", 2.0), ("+1.", 1.0)],
)
def test_numbers_are_read_as_people_write_them(read, text, value):
    rate = read(f"learning_rate: {text}")["learning_rate"]
    assert rate == value
    assert type(rate) is float


def test_thousands_may_be_marked():
    assert parse("steps", "10_000") == 10000


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize(
    "text", ["", " ", "true", "no", "nan", ".nan", "inf", "-.inf", "0x10", "1:30", "1,5", "1 2",
             "1e", "e5", "_1", "1__", "--1", "1\n", "١", "null", "[1]"]
)
def test_what_is_no_number_is_refused(key, text):
    with pytest.raises(UsageError):
        parse(key, text)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("False", False)])
def test_yes_or_no_is_true_or_false(text, value):
    assert parse("deterministic", text) is value


@pytest.mark.parametrize("text", ["", "yes", "on", "1", "0", "tru", "null"])
def test_what_is_neither_true_nor_false_is_refused(text):
    with pytest.raises(UsageError, match="neither true nor false"):
        parse("deterministic", text)


@pytest.mark.parametrize("key", WHOLE)
@pytest.mark.parametrize("text", ["2.0", "1e3", "010"])
def test_a_whole_number_has_no_point_no_exponent_and_no_leading_zero(key, text):
    with pytest.raises(UsageError, match="whole number"):
        parse(key, text)


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_of_hundreds_of_digits_is_a_number_or_out_of_range(key, digits):
    try:
        value = parse(key, "9" * digits)
    except UsageError:
        return
    assert value == 10**digits - 1


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "0", "0.0", "-0.0", "-1", "-2e-3",
                                  "1e-400", "1e999"])
def test_a_learning_rate_is_positive_and_finite(refusal, text):
    with pytest.raises(UsageError):
        parse("learning_rate", text)
    assert "learning_rate" in refusal(f"learning_rate: {text}")


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("val_fraction", "0", "-0.1"), ("val_fraction", "0.999", "1"),
        ("hidden_size", "1", "0"), ("layers", "64", "65"), ("layers", "1", "0"),
        ("dropout", "0", "-0.5"), ("dropout", "0.99", "1.0"),
        ("batch_size", "1", "0"), ("seq_length", "1", "0"), ("warmup", "0", "-1"),
        ("clip_norm", "0", "-1"), ("clip_value", "0", "-1e-9"),
        ("weight_decay", "0", "-1e-9"),
        ("steps", "1", "0"), ("epochs", "0.5", "0"), ("max_minutes", "0.1", "0"),
        ("patience", "1", "0"), ("eval_every", "1", "0"), ("save_every", "1", "0"),
        ("sample_every", "0", "-1"), ("seed", "0", "-1"),
        ("seed", "9223372036854775807", "9223372036854775808"), ("threads", "0", "-1"),
    ],
)
def test_ranges_hold_at_their_ends(key, good, bad):
    assert parse(key, good) == float(good) or parse(key, good) == int(good)
    with pytest.raises(UsageError, match=f"{bad} is out of range"):
        parse(key, bad)


def test_an_option_is_spelled_with_hyphens():
    assert config.option("learning_rate") == "--learning-rate"


@pytest.mark.parametrize("name", ["utf-8", "latin-1", "cp1252", "utf-16"])
def test_encodings_of_text_are_known(name):
    assert parse("encoding", name) == name


@pytest.mark.parametrize("name", ["", "utf-9", "base64", "rot13", "zlib", "\0", "a" * 1000,
                                  "../utf_8", "aliases", "\ud800"])
def test_what_is_no_encoding_of_text_is_refused(name):
    with pytest.raises(UsageError):
        parse("encoding", name)


def test_a_file_of_settings_is_read(read):
    content = "# a comment\nhidden_size: 3\nschedule: constant\n'level': \"byte\"\nsteps: null\n"
    assert read(content) == {
        "hidden_size": 3, "schedule": "constant", "level": "byte", "steps": None
    }


@pytest.mark.parametrize("content", ["", "\n", "# nothing\n", "---\n", "{}"])
def test_a_file_without_settings_is_none(read, content):
    assert read(content) == {}


def test_a_byte_order_mark_is_no_part_of_the_first_key(read):
    assert read(b"\xef\xbb\xbfsteps: 3\r\nlayers: 1\r\n") == {"steps": 3, "layers": 1}


REFUSED = {
    "unknown key": ("layers: 2\nflavour: 3", ["line 2", "flavour"]),
    "misspelled key": ("hiden_size: 3", ["line 1", "hiden_size", "did you mean hidden_size?"]),
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
    "null": ("hidden_size: null", ["line 1", "hidden_size"]),
    "tilde": ("learning_rate: ~", ["line 1", "learning_rate"]),
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
    "tagged top": ("!!python/object:charrnn.config.Config {steps: 1}", ["line 1", "tags"]),
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
def test_refused_within_a_second_with_file_line_and_key(refusal, name):
    content, words = REFUSED[name]
    message = refusal(content)
    for word in words:
        assert word in message


def test_as_long_as_allowed_is_allowed(read):
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
def test_what_cannot_be_opened_is_named(tmp_path, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=path):
        configfile.read_yaml(str(tmp_path / path))


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
def test_whatever_is_in_a_file_only_settings_or_a_usage_error_come_out(read, path, content):
    try:
        values = read(content)
    except UsageError as error:
        assert str(error).startswith(str(path))
        return
    for key, value in values.items():
        assert value == (FIELDS[key].default if value is None else parse(key, str(value)))


@given(st.sampled_from(sorted(FIELDS)), st.one_of(
    st.text(), st.integers().map(str), st.floats().map(repr),
    st.text("0123456789_.eE+-", max_size=8),
))
def test_a_parsed_value_is_in_range_and_survives_printing(key, text):
    try:
        value = parse(key, text)
    except UsageError:
        return
    limits = FIELDS[key].metadata
    if isinstance(value, str):
        assert value == text
        assert not limits["choices"] or value in limits["choices"]
    else:
        assert math.isfinite(value)
        assert limits["low"] <= value <= limits["high"]
        assert limits["above"] < value < limits["below"]
        assert parse(key, str(value)) == value


def test_option_beats_file_beats_default():
    settings = resolve({"layers": 3, "seed": 4}, {"seed": 5, "warmup": 6})
    assert settings == Config(layers=3, seed=5, warmup=6)
    assert resolve({}, {}) == Config()


@pytest.mark.parametrize("pair", list(itertools.combinations(config.BUDGETS, 2)))
def test_two_budgets_on_one_level_conflict(pair):
    both = dict.fromkeys(pair, 2)
    for file, options, spelled in ((both, {}, str), ({}, both, config.option)):
        with pytest.raises(UsageError) as caught:
            resolve(file, options)
        for key in pair:
            assert f" {spelled(key)} " in f" {caught.value} "


@pytest.mark.parametrize(("below", "above"), list(itertools.permutations(config.BUDGETS, 2)))
def test_a_budget_on_a_higher_level_replaces_the_one_below(below, above):
    settings = resolve({below: 2, "patience": 3}, {above: 5})
    assert settings == Config(patience=3, **{above: 5})


def test_other_options_leave_the_budget_of_the_file():
    assert resolve({"epochs": 2.0}, {"patience": 3}) == Config(epochs=2.0, patience=3)


def test_an_unset_budget_conflicts_with_nothing():
    assert resolve({"steps": None, "epochs": 2.0}, {}) == Config(epochs=2.0)
    assert resolve({"epochs": 2.0}, {"steps": None}) == Config(epochs=2.0)


def test_what_was_changed_is_what_differs_from_the_defaults():
    assert config.changed(Config()) == {}
    assert config.changed(Config(layers=5, level="char", steps=7)) == {"layers": 5, "steps": 7}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_that_ships_loads(path):
    values = configfile.read_yaml(str(path))
    assert values
    assert resolve(values, {}) == Config(**values)


def test_the_config_of_defaults_has_every_default_and_no_other_value():
    values = configfile.read_yaml(str(CONFIGS / "default.yaml"))
    defaults = {key: field.default for key, field in FIELDS.items()}
    assert {**dict.fromkeys(FIELDS), **values} == defaults


def test_weight_decay_is_for_adam_unless_it_is_set():
    assert config.resolve({}, {}).decay == 0.1
    assert config.resolve({}, {"optimizer": "sgd"}).decay == 0
    assert config.resolve({}, {"optimizer": "sgd", "weight_decay": 0.2}).decay == 0.2
    assert config.resolve({}, {"weight_decay": 0.0}).decay == 0


def test_a_decay_that_leaves_nothing_of_a_weight_is_refused_with_the_numbers():
    config.resolve({}, {"learning_rate": 0.5, "weight_decay": 1.5})
    with pytest.raises(UsageError, match=r"learning_rate 0\.5 times weight_decay 2 is 1 or more"):
        config.resolve({}, {"learning_rate": 0.5, "weight_decay": 2.0})
