"""The progress of a run: the lines it prints, and what fits on a terminal."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import pytest
from commands import COMMAND, ENVIRONMENT, TEXT, TINY, on_a_terminal, rows

from charrnn.cli import progress
from charrnn.cli.progress import (
    TrainingDisplay,
    is_selected,
    shell_word,
    start_lines,
    validation_text,
)
from charrnn.text.wrapping import columns
from charrnn.training.events import End, Eval, Save, Start, Step

LN2 = 0.6931471805599453
START = Start(
    0, 6000, 0.0, 0.0, corpus="play.txt", chars=1_115_394, distinct=65, level="char",
    train_chars=1_003_854, val_chars=111_540, left_over=100, cell="rnn", layers=1,
    hidden_size=192, learning_rate=0.004, dropout=0.02, weight_decay=0.1,
    eval_every=273, batch_size=64, seq_length=32, steps_per_epoch=490, parameters=216_961,
    memory_bytes=30_000_000, processes=1, threads=2, continued=False, path="play.npz",
    settings={"steps": 4000, "learning_rate": 0.004, "seed": 2024, "deterministic": True,
              "val_fraction": 0.089011}, notes=["a note"],
)
EVAL = Eval(400, 6000, 2.05, 10.0, 2.1755 * LN2, 2.0312 * LN2, 2.1755 * LN2, True,
            unigram=4.0 * LN2, trigram=2.7505 * LN2)
END = End(6000, 6000, 12.0, 99.0, "done", 2.1755 * LN2, 5460, "play.npz")


def test_a_run_introduces_itself():
    assert start_lines(START) == [
        "play.txt: 1,115,394 characters, 65 distinct; 1,003,854 training, 111,540 validation",
        "model: 216,961 parameters (rnn, 1 x 192 units), about 30 MB of memory",
        "training: 6,000 steps (12.2 epochs) of 64 x 32 characters, learning rate 0.004, dropout "
        "0.02, weight decay 0.1; validation every 273 steps",
        "settings: steps 4,000, learning_rate 0.004, seed 2024, deterministic true, "
        "val_fraction 0.089011",
        "note: a note",
    ]


def test_one_thing_is_singular_and_absent_things_are_not_mentioned():
    start = dataclasses.replace(START, chars=1, level="byte", steps=1, steps_per_epoch=1,
                                val_chars=0, settings={}, notes=[])
    text, _, training = start_lines(start)
    assert text.startswith("play.txt: 1 byte, ")
    omits = start_lines(dataclasses.replace(START, train_chars=50, left_over=1))[0]
    assert omits.endswith(" (each epoch omits 1 training character)")
    assert training == ("training: 1 step (1 epoch) of 64 x 32 bytes, learning rate 0.004, "
                        "dropout 0.02, weight decay 0.1")
    timed = start_lines(dataclasses.replace(START, steps=0, processes=2))[2]
    assert timed.startswith("training: as many steps as the time allows of 64 x 32")
    assert timed.endswith("; 2 processes of 2 threads")


BEST = "validation 2.1755 bits/char (1.5079 nats/char), training 2.0312 bits/char, "


@pytest.mark.parametrize(("changes", "before", "expected"), [
    ({}, None, BEST + "new best; 0.575 bits/char better than 3-grams"),
    ({}, 2.2 * LN2, BEST + "new best; change -0.0245 bits/char; "
                           "0.575 bits/char better than 3-grams"),
    ({"improved": False, "best_nats_per_char": 2.17 * LN2}, 2.17 * LN2,
     BEST + "best 2.1700 bits/char; change +0.0055 bits/char; "
            "0.575 bits/char better than 3-grams"),
    ({"trigram": 2.0 * LN2}, None, BEST + "new best; 0.175 bits/char worse than 3-grams"),
    ({"trigram": 1.0 * LN2, "unigram": 2.0 * LN2}, None,
     BEST + "new best; 1.175 bits/char worse than 3-grams"),
    ({}, 2.17549 * LN2, BEST + "new best; change 0.0000 bits/char; "
                               "0.575 bits/char better than 3-grams"),
    ({"nats_per_char": None, "improved": False}, 2.2 * LN2,
     "validation overflowed (lower --learning-rate), training 2.0312 bits/char, "
     "best 2.1755 bits/char"),
])
def test_a_validation_has_labels_and_units(changes, before, expected):
    assert validation_text(dataclasses.replace(EVAL, **changes), before) == expected


def test_the_last_lines_have_the_best_score_and_the_next_command(capsys):
    TrainingDisplay(quiet=False).show(dataclasses.replace(END, path="my play.npz"))
    assert capsys.readouterr().err.splitlines() == [
        "done: 6,000 steps; best validation 2.1755 bits/char (1.5079 nats/char) at step 5,460",
        "checkpoint: my play.npz",
        "generate text: charrnn sample -m 'my play.npz'",
    ]


NO_BEST = dataclasses.replace(END, best_nats_per_char=None, best_step=0)


@pytest.mark.parametrize(("start", "events", "result"), [
    ({}, [dataclasses.replace(EVAL, nats_per_char=None)],
     "done: 6,000 steps; no validation score was finite, so the last weights are kept: "
     "lower --learning-rate"),
    ({"validations": [None]}, [],
     "done: 6,000 steps; no validation score was finite, so the last weights are kept: "
     "lower --learning-rate"),
    ({}, [], "done: 6,000 steps; not validated yet"),
    ({"val_chars": 0, "validations": [None]},
     [Step(6000, 6000, 9.0, 9.0, 9.0, 1.0, 0.1, 9.0, 2.0 * LN2)],
     "done: 6,000 steps; training 2.0000 bits/char (1.3863 nats/char)"),
    ({"val_chars": 0, "validations": [None]}, [], "done: 6,000 steps"),
])
def test_without_a_score_the_end_shows_why_or_the_training_loss(start, events, result, capsys):
    display = TrainingDisplay(quiet=False)
    for event in (dataclasses.replace(START, **start), *events, NO_BEST):
        display.show(event)
    assert result in capsys.readouterr().err.splitlines()


def test_after_a_resume_the_change_and_the_curve_include_the_stored_validations(capsys):
    display = TrainingDisplay(quiet=False)
    display.show(dataclasses.replace(START, validations=[3 * LN2, None, 2.2 * LN2]))
    display.show(EVAL)
    line = capsys.readouterr().err.splitlines()[-1]
    assert "change -0.0245 bits/char" in line and line.endswith("; validations █▁▁")


def test_a_model_of_bytes_is_scored_in_bits_per_byte(capsys):
    display = TrainingDisplay(quiet=False)
    step = Step(6000, 6000, 9.0, 9.0, 9.0, 1.0, 0.1, 9.0, 2.0 * LN2)
    display.last_line = -99.0
    for event in (dataclasses.replace(START, level="byte", validations=[2.2 * LN2]), step,
                  dataclasses.replace(EVAL, improved=False), END):
        display.show(event)
    shown = capsys.readouterr().err
    assert shown.count("bits/byte") == 7 and shown.count("nats/byte") == 2
    assert "/char" not in shown


@pytest.mark.parametrize(("changes", "expected"), [
    ({"steps": 490_000_000}, "training: 490,000,000 steps (1,000,000 epochs) of"),
    ({"steps": 49}, "training: 49 steps (0.1 epochs) of"),
    ({"steps": 273}, "validation at the end"), ({"steps": 274}, "validation every 273 steps"),
    ({"steps": 0}, "validation every 273 steps"),
])
def test_the_length_of_a_run_and_its_validations_are_plain_numbers(changes, expected):
    assert expected in start_lines(dataclasses.replace(START, **changes))[2]


def test_the_epoch_of_a_validation_has_a_thousands_separator(capsys):
    TrainingDisplay(quiet=False).show(dataclasses.replace(EVAL, epoch=12345.678))
    assert "(epoch 12,345.68)" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "word"), [
    ("a.npz", "a.npz"), ("it's.npz", "'it'\"'\"'s.npz'"), ("a\nb", "$'a\\012b'"),
])
def test_a_file_name_is_quoted_for_a_shell(name, word):
    assert shell_word(name) == word


def test_steps_are_selected_by_their_number_and_other_events_always():
    steps = [Step(number, 9, 0.0, 0.0, 1.0, 1.0, 0.1, 1.0, 1.0) for number in range(1, 10)]
    selected = {every: [step.step for step in steps if is_selected(step, every)]
                for every in (0, 1, 4)}
    assert selected == {0: [], 1: [*range(1, 10)], 4: [4, 8]}
    others = [START, EVAL, END, Save(1, 9, 0.0, 0.0, "play.npz")]
    assert all(is_selected(event, every) for event in others for every in (0, 1, 4))


@pytest.mark.parametrize("terminal", [False, True])
def test_the_bar_and_the_lines_share_one_estimate_of_the_time_left(terminal, monkeypatch, capsys):
    class Bar:
        def __getattr__(self, name):
            return lambda *args: None

    bar, now = Bar(), [0.0]
    monkeypatch.setattr(progress, "stderr_is_terminal", lambda: terminal)
    monkeypatch.setattr(progress, "live_bar", lambda *args: bar)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    display = TrainingDisplay(quiet=False)
    display.show(START)
    now[0] = 6.0  # the second of validation still to come is not known of yet
    display.show(Step(5727, 6000, 0.0, 9.0, 3.0 * LN2, 1.0, 0.1, 2048.0, 2.0 * LN2))
    display.show(dataclasses.replace(EVAL, step=5733, steps=6000, elapsed_seconds=10.0))
    display.show(Step(5734, 6000, 0.0, 11.0, 3.0 * LN2, 1.0, 0.1, 2048.0, 2.0 * LN2))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step")]
    left = [line.rpartition("; ")[2].rpartition(", ")[2] for line in lines]
    if terminal:
        assert (len(lines), bar.seconds_left) == (1, 266 + 1)
        assert bar.details == ["training 2.000 bits/char", "2,048 chars/s"]
        assert " left" not in lines[0]
    else:
        assert left == ["4 min 33 s left", "4 min 28 s left"]
        assert lines[0].startswith("step 5,727/6,000: training 2.000 bits/char, 2,048 chars/s, ")


NAME = "ein langer Name 模型.npz"
RUN = ["train", "a.txt", *TINY, "-o", NAME]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="terminals of its own")


@POSIX
@pytest.mark.parametrize("size", [0, 120, 80, 50, 30])
def test_a_terminal_shows_a_live_bar_above_which_the_lines_stay(tmp_path, size):
    (tmp_path / "a.txt").write_text(TEXT)
    assert "% " not in on_a_terminal([*RUN, "--steps", "40", "--dry-run"], tmp_path, size)
    shown = on_a_terminal([*RUN, "--steps", "40", "--eval-every", "20", "--sample-every", "0"],
                          tmp_path, size)  # the words of a sample may be of any length
    bars = [row for row in rows(shown) if re.match(r" *\d+%", row)]
    assert bars and all(row.rstrip().endswith(" left") for row in bars)
    assert ("chars/s" in shown) == (size in (0, 80, 120))
    unwrapped = " ".join(shown.split())
    assert unwrapped.count("validation ") == 5, "two of the start, two of the run, one of the end"
    for message in ("dropout 0.3, weight decay 0.3; validation every 20 steps",
                    "(epoch 0.71): validation ", ", new best; change -", "done: 40 steps; best"):
        assert message in unwrapped, "no word is broken"
    assert f"charrnn sample -m '{NAME}'\r\n" in shown, "it can be copied"
    too_long = [row for row in rows(shown) if columns(row) >= (size or 80)]
    assert all(row.strip() == f"charrnn sample -m '{NAME}'" for row in too_long)
    assert len(too_long) == (size == 30)


@POSIX
@pytest.mark.parametrize(("width", "later"), [(120, 50), (50, 120)])
def test_the_bar_and_the_lines_follow_the_size_of_the_window(tmp_path, width, later):
    (tmp_path / "a.txt").write_text(TEXT)
    shown = on_a_terminal([*RUN, "--steps", "6000", "--eval-every", "3000"], tmp_path, width, later)
    end = shown[shown.index("step 6,000/6,000 (epoch") :]
    assert later // 2 < max(map(columns, rows(end))) < later


@POSIX
def test_an_error_is_wrapped_on_a_terminal_and_otherwise_one_line(tmp_path):
    args = ["eval", "a.txt", "-m", "a folder/that does not exist/model.npz"]
    ran = subprocess.run([*COMMAND, *args], cwd=tmp_path, capture_output=True, env=ENVIRONMENT)
    message = ran.stderr.decode()
    assert message.count("\n") == 1
    shown = on_a_terminal(args, tmp_path, 40, code=ran.returncode)
    assert shown.count("\n") > 1 and max(map(columns, rows(shown))) < 40
    assert shown.split() == message.split()


@POSIX
def test_events_on_the_terminal_of_the_bar_have_lines_of_their_own(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    args = ["train", "a.txt", *TINY, "--steps", "40", "--json", "--json-every", "5"]
    shown = on_a_terminal(args, tmp_path, 100, both=True)
    assert "% " in shown
    events = [row for row in shown.split("\n") if '{"event"' in row]
    assert len(events) > 8
    for row in events:
        before, _, event = row.rstrip("\r").rpartition("\r")
        assert event.startswith('{"event"') and event.endswith("}"), row
        assert not before.split("\r")[-1].strip(), "the bar is cleared"
