"""Texts that are not UTF-8, or not all of them: how every command reads them."""

from __future__ import annotations

import json
import lzma
import unicodedata

import pytest
from commands import TINY, run_charrnn, shell

from charrnn.errors import UsageError

TEXT = "Der Käse fällt über Öfen.\n" * 60
OTHER = "Der Öfen fällt.\n" * 20
NOTE = "is read as UTF-8, but the model was trained on {} text; use --encoding to change that"


@pytest.fixture(scope="module", params=["latin-1", "utf-16"])
def home(request, tmp_path_factory):
    """Its encoding, and a folder with a text in it, a model of that, and the text in UTF-8."""
    folder, encoding = tmp_path_factory.mktemp("home"), request.param
    (folder / "own.txt").write_text(TEXT, encoding=encoding)
    (folder / "val.txt").write_text(OTHER, encoding=encoding)
    for name, text in {"same": TEXT, "other": OTHER}.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    for model, more in {"own": [], "val": ["--val", "val.txt"]}.items():
        result = run_charrnn("train", "own.txt", *TINY, "--steps", "20", "--encoding", encoding,
                             "-o", f"{model}.npz", *more, "--quiet", cwd=folder)
        assert (result.returncode, result.stderr) == (0, b"")
    (folder / "packed.txt.xz").write_bytes(lzma.compress((folder / "own.txt").read_bytes()))
    return folder, encoding


def score(*args, cwd, stdin=None, model="own.npz"):
    """The score of a text, and what is said beside it."""
    result = run_charrnn("eval", *args, "-m", model, "--json", cwd=cwd, stdin=stdin)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    return (found["nats_per_char"], found["chars"]), result.stderr.decode()


def test_a_model_can_read_the_text_that_it_generates(home):
    folder, encoding = home
    result = shell("charrnn sample -m own.npz --length 50 --seed 3 | charrnn eval - -m own.npz",
                   cwd=folder)
    assert result.returncode == 0, result.stderr
    assert b" 50 characters" in result.stdout
    assert f"note: standard input {NOTE.format(encoding)}" in result.stderr.decode()
    result = shell("charrnn sample -m own.npz --length 50 --seed 3 >o.txt; charrnn sample "
                   "-m own.npz --prime-file o.txt --length 5 --novelty o.txt", cwd=folder)
    assert result.returncode == 0, result.stderr


def test_the_text_of_the_run_is_read_as_it_was_in_training(home):
    folder, encoding = home
    expected, said = score("own.txt", cwd=folder)
    assert expected[1] == len(TEXT) and "trained on this text" in said
    assert "UTF-8" not in said
    assert score("packed.txt.xz", cwd=folder) == (expected, said)
    assert score("same.txt", cwd=folder)[0] == expected
    assert score("own.txt", "--encoding", encoding, cwd=folder) == (expected, said)
    assert score("own.txt", "--split", "val", cwd=folder)[0][1] == len(TEXT) // 10
    validation, said = score("val.txt", cwd=folder, model="val.npz")
    assert validation[1] == len(OTHER) and "UTF-8" not in said


def test_another_text_is_read_as_utf_8_with_a_note_unless_an_option_names_an_encoding(home):
    folder, encoding = home
    expected, said = score("other.txt", cwd=folder)
    assert expected[1] == len(OTHER)
    assert f"note: other.txt {NOTE.format(encoding)}\n" in said
    again, said = score("other.txt", "--encoding", "utf-8", cwd=folder)
    assert again == expected and "UTF-8" not in said
    data = (folder / "val.txt").read_bytes()
    assert score("-", "--encoding", encoding, cwd=folder, stdin=data)[0] == expected
    rows = run_charrnn("eval", "other.txt", "-m", "own.npz", "--per-line", cwd=folder)
    assert rows.stdout.decode().count("\tDer Öfen fällt.\n") == 20


@pytest.mark.parametrize("more", [[], ["--per-line"], ["--surprisal"], ["--dynamic"],
                                  ["--baselines", "--train-text", "own.txt"]])
def test_a_text_in_neither_encoding_is_refused_with_both_names(home, more):
    folder, encoding = home
    (folder / "more.txt").write_text(TEXT + "ä", encoding=encoding)
    result = run_charrnn("eval", "more.txt", "-m", "own.npz", *more, cwd=folder)
    assert (result.returncode, result.stdout) == (1, b"")
    line = result.stderr.decode()
    assert line.count("\n") == 1
    assert f"--encoding {encoding}" in line
    if encoding == "utf-16":
        assert line.startswith("charrnn: more.txt is UTF-16 text, by its byte order mark: ")
    else:
        assert line.startswith("charrnn: more.txt: byte ")
        assert line.endswith("; the model was trained on latin-1 text\n")


def test_further_texts_are_recognized_as_well(home):
    folder, _ = home
    compare = ["--baselines", "--train-text"]
    expected, said = score("other.txt", *compare, "same.txt", cwd=folder)
    assert said.count("UTF-8") == 2
    for more in ([], ["--encoding", "utf-8"]):
        found, said = score("other.txt", *more, *compare, "own.txt", cwd=folder)
        assert found == expected
        assert said.count("UTF-8") == (not more)
    sample = ["sample", "-m", "own.npz", "--prime-file", "other.txt", "--length", "60", "--seed",
              "1", "--novelty"]
    one = run_charrnn(*sample, "own.txt", "--encoding", "utf-8", cwd=folder)
    other = run_charrnn(*sample, "same.txt", "--encoding", "utf-8", cwd=folder)
    assert one.returncode == 0 and one.stdout == other.stdout
    assert one.stderr.decode() == other.stderr.decode().replace("same.txt", "own.txt")


def test_a_report_reads_a_text_as_eval_does(home):
    folder, encoding = home
    pages = []
    for text, more, notes in (("own.txt", [], 0), ("same.txt", ["--encoding", "utf-8"], 0),
                              ("same.txt", [], 1), ("val.txt", ["--encoding", encoding], 0),
                              ("other.txt", [], 1)):
        result = run_charrnn("report", text, "-m", "own.npz", *more, cwd=folder)
        assert result.returncode == 0, result.stderr
        assert result.stderr.count(b"UTF-8") == notes
        pages.append((folder / "report.html").read_text(encoding="utf-8"))
    assert pages[1] == pages[2]
    assert pages[3].replace("val.txt", "other.txt") == pages[4]


def test_an_encoding_without_a_text_is_refused(home):
    folder, _ = home
    for command in (["sample"], ["report"]):
        result = run_charrnn(*command, "-m", "own.npz", "--encoding", "utf-8", cwd=folder)
        assert result.returncode == UsageError.exit_code
        assert b"--encoding and --errors apply only to " in result.stderr
    result = run_charrnn("eval", "own.txt", "--encoding", "klingon", cwd=folder)
    assert result.returncode == 2 and b"'klingon' is not a text encoding" in result.stderr


def test_a_byte_level_model_reads_bytes_in_any_encoding(home):
    folder, encoding = home
    result = run_charrnn("train", "own.txt", *TINY, "--steps", "5", "--encoding", encoding,
                         "--level", "byte", "-o", "byte.npz", cwd=folder)
    assert result.returncode == 0, result.stderr
    expected, said = score("other.txt", cwd=folder, model="byte.npz")
    assert expected[1] == len(OTHER.encode()) and "UTF-8" not in said
    assert score("other.txt", "--encoding", "utf-16", cwd=folder, model="byte.npz")[0] == expected


def test_a_pipe_is_not_read_to_recognize_it(home):
    folder, encoding = home
    result = shell(f"charrnn eval <(cat val.txt) -m own.npz --encoding {encoding}", cwd=folder)
    assert result.returncode == 0, result.stderr
    result = shell("charrnn eval <(cat other.txt) -m own.npz --json", cwd=folder)
    assert json.loads(result.stdout)["chars"] == len(OTHER)


DAMAGED = TEXT.encode() + b"\xff \xe2\x82\n" + OTHER.encode()  # two sequences


@pytest.fixture(scope="module", params=["replace", "skip"])
def damaged(request, tmp_path_factory):
    """How errors are handled, and a folder with a damaged text and a model of it."""
    folder, errors = tmp_path_factory.mktemp("damaged"), request.param
    (folder / "own.txt").write_bytes(DAMAGED)
    (folder / "more.txt").write_bytes(b"\xff" + OTHER.encode())
    (folder / "val.txt").write_bytes(OTHER.encode() + b"\xff")
    (folder / "other.txt").write_text(OTHER, encoding="utf-8")
    result = run_charrnn("train", "own.txt", *TINY, "--steps", "20", "--errors", errors,
                         "-o", "own.npz", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert f"note: {note(2, errors)}\n" in result.stderr.decode()
    return folder, errors


def note(number, errors):
    were = "was" if number == 1 else "were"
    what = "replaced by U+FFFD" if errors == "replace" else "skipped"
    return f"{number} undecodable byte sequence{'s' * (number != 1)} {were} {what}"


def length(data, errors):
    return len(data.decode("utf-8", "replace" if errors == "replace" else "ignore"))


def test_undecodable_bytes_are_refused_with_the_remedy(damaged):
    folder, _ = damaged
    for command in (["train", "own.txt", "-o", "new.npz"], ["eval", "more.txt", "-m", "own.npz"],
                    ["eval", "more.txt", "-m", "own.npz", "--per-line"],
                    ["report", "more.txt", "-m", "own.npz"],
                    ["eval", "-", "-m", "own.npz"],
                    ["sample", "-m", "own.npz", "--novelty", "more.txt"]):
        result = run_charrnn(*command, cwd=folder, stdin=DAMAGED)
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr.count(b"\n") == 1 and b"--errors replace" in result.stderr


def test_the_text_of_the_run_is_decoded_as_in_training(damaged):
    folder, errors = damaged
    for more in ([], ["--split", "val"], ["--dynamic"]):
        result = run_charrnn("eval", "own.txt", "-m", "own.npz", *more, "--json", cwd=folder)
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        assert found["undecodable"] == 2
        if not more:
            assert found["chars"] == length(DAMAGED, errors)
        where = " in the whole text" if "val" in more else ""
        assert f"note: {note(2, errors)}{where}\n" in result.stderr.decode()


@pytest.mark.parametrize("more", [[], ["--per-line"], ["--surprisal"], ["--dynamic"],
                                  ["--baselines", "--train-text", "own.txt"]])
def test_undecodable_bytes_of_another_text_are_replaced_on_request(damaged, more):
    folder, errors = damaged
    result = run_charrnn("eval", "more.txt", "-m", "own.npz", "--errors", errors, *more, cwd=folder)
    assert result.returncode == 0, result.stderr
    said = result.stderr.decode()
    assert said.count(f"note: {note(1, errors)}\n") == 1
    assert said.count(f"note: own.txt: {note(2, errors)}\n") == ("--train-text" in more)
    if more == ["--surprisal"]:
        expected = length((folder / "more.txt").read_bytes(), errors)
        assert result.stdout.count(b"\n") == expected


def test_errors_applies_to_stdin_primes_reports_and_novelty(damaged):
    folder, errors = damaged
    ask = ["-m", "own.npz", "--errors", errors]
    result = run_charrnn("eval", "-", *ask, "--json", cwd=folder, stdin=DAMAGED)
    assert json.loads(result.stdout)["undecodable"] == 2
    result = run_charrnn("sample", "--prime-file", "more.txt", "--novelty", "own.txt", *ask,
                         "--length", "5", cwd=folder)
    assert result.returncode == 0, result.stderr
    said = result.stderr.decode()
    assert f"note: {note(1, errors)}\n" in said and f"note: own.txt: {note(2, errors)}\n" in said
    assert ("\ufffd" in result.stdout.decode()) == (errors == "replace")
    result = run_charrnn("report", "more.txt", *ask, cwd=folder)
    assert result.returncode == 0, result.stderr
    assert f"note: {note(1, errors)}\n" in result.stderr.decode()
    result = run_charrnn("report", "own.txt", "-m", "own.npz", cwd=folder)
    assert f"note: {note(2, errors)}\n" in result.stderr.decode()


def test_a_validation_text_and_a_first_checkpoint_follow_the_run(damaged):
    folder, errors = damaged
    result = run_charrnn("train", "more.txt", "--val", "val.txt", "--init-from", "own.npz",
                         "--errors", errors, "--batch-size", "4", "--seq-length", "16", "--steps",
                         "3", "-o", "next.npz", cwd=folder)
    assert result.returncode == 0, result.stderr
    said = result.stderr.decode()
    assert f"note: {note(1, errors)}\n" in said and f"note: val.txt: {note(1, errors)}\n" in said


def test_u_fffd_outside_the_vocabulary_is_an_unknown_character(home):
    folder, _ = home
    (folder / "bad.txt").write_bytes(OTHER.encode() + b"\xff\n")
    ask = ["bad.txt", "-m", "own.npz", "--encoding", "utf-8", "--errors"]
    result = run_charrnn("eval", *ask, "replace", cwd=folder)
    assert result.returncode == 1 and "'\ufffd' (U+FFFD), is not among" in result.stderr.decode()
    expected = score("other.txt", "--encoding", "utf-8", cwd=folder)[0][1] + 1  # a newline
    result = run_charrnn("eval", *ask, "skip", "--json", cwd=folder)
    assert json.loads(result.stdout)["chars"] == expected


def test_errors_is_refused_at_byte_level(damaged):
    folder, errors = damaged
    result = run_charrnn("train", "own.txt", "--level", "byte", "--errors", errors, cwd=folder)
    assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
    assert b"has no effect at byte level, where nothing is decoded" in result.stderr
    for command in (["sample"], ["report"]):
        result = run_charrnn(*command, "-m", "own.npz", "--errors", errors, cwd=folder)
        assert result.returncode == 2 and b"--encoding and --errors apply only to " in result.stderr


def test_a_model_of_bytes_decodes_nothing(home):
    folder, _ = home
    model = ["-m", "bytes.npz"]
    trained = run_charrnn("train", "own.txt", "--level", "byte", "--hidden-size", "8", "--steps",
                          "2", "-o", "bytes.npz", cwd=folder)
    assert trained.returncode == 0, trained
    for command in (["eval", "own.txt"], ["report", "own.txt"], ["sample", "--novelty", "own.txt"]):
        result = run_charrnn(*command, *model, "--errors", "skip", cwd=folder)
        assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
        assert b"--errors skip cannot be used with this model: it reads bytes" in result.stderr
        result = run_charrnn(*command, *model, "--encoding", "latin-1", "--errors", "strict",
                             cwd=folder)
        assert result.returncode == 0
        assert b"note: --encoding has no effect: the model reads bytes" in result.stderr


def test_a_prime_in_another_normal_form_is_named(home):
    folder, _ = home
    for option in ("--prime", "--stop"):
        result = run_charrnn("sample", "-m", "own.npz", option, "a\u0308", cwd=folder)
        assert (result.returncode, result.stderr.count(b"\n")) == (2, 1)
        assert b"is in NFD" in result.stderr and b"uconv -x any-nfc" in result.stderr
    (folder / "nfd.txt").write_text(unicodedata.normalize("NFD", OTHER), encoding="utf-8")
    for more in ([], ["--per-line"]):
        result = run_charrnn("eval", "nfd.txt", "-m", "own.npz", "--encoding", "utf-8", *more,
                             cwd=folder)
        assert result.returncode == 1 and b"is in NFD" in result.stderr


def test_a_log_in_the_folder_of_texts_is_not_read_by_the_next_run(tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text(OTHER, encoding="utf-8")
    train = "charrnn train texts --hidden-size 8 --steps 5 -o a.npz"
    result = shell(f"{train} 2>texts/run.log && {train} --json --overwrite >texts/run.jsonl",
                   cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    result = shell("charrnn train texts --hidden-size 8 --steps 5 -o a.npz", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    said = result.stderr.decode()
    assert "note: not read, because written by charrnn: texts/run.jsonl, texts/run.log\n" in said
    assert "already trained" in said
