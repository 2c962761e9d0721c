"""The progress bar of a run that is started from Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ENVIRONMENT, TEXT, on_a_terminal, rows

import charrnn
from charrnn.api import bar, training
from charrnn.text.wrapping import columns

SETTINGS = {"hidden_size": 8, "layers": 1, "batch_size": 4, "seq_length": 16, "steps": 20,
            "threads": 1}
# Modules that make Python believe it runs in a notebook without widgets.
NOTEBOOK = (
    "import sys, types; shell = types.SimpleNamespace(config={'IPKernelApp': {}})\n"
    "sys.modules['IPython'] = types.SimpleNamespace(get_ipython=lambda: shell)\n"
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def train(capfd, **options):
    capfd.readouterr()
    charrnn.train("corpus.txt", **SETTINGS | options)
    return capfd.readouterr()


def test_the_bar_shows_the_steps_and_both_losses_in_bits(capfd):
    shown = train(capfd, eval_every=5)
    assert shown.out == ""
    last = shown.err.rstrip("\n").split("\r")[-1]
    assert last.startswith("corpus: 100%")
    assert "20/20" in last
    numbers = re.search(r"validation (\d\.\d{4}) bits/char, training (\d\.\d{3})", last)
    row = charrnn.load("checkpoints/corpus.npz").history[-1]
    assert abs(float(numbers[2]) - row.training_bits_per_char) < 1
    assert float(numbers[1]) == pytest.approx(row.validation_bits_per_char, abs=1e-4)


def test_without_progress_nothing_is_shown(capfd):
    assert train(capfd, progress=False) == ("", "")


def test_notes_are_lines_above_the_bar_that_name_arguments(capfd):
    shown = train(capfd, val_fraction=0, batch_size=4000).err
    notes = [line for line in re.split("[\r\n]", shown) if line.startswith("note: ")]
    assert any("batch_size" in note for note in notes)
    assert len(notes) == 2, shown


def test_the_bar_of_a_resumed_run_starts_at_its_step(capfd):
    train(capfd, progress=False, schedule="constant")
    shown = train(capfd, steps=30, schedule="constant").err
    first = next(line for line in shown.split("\r") if "/30" in line)
    assert "20/30" in first


def test_a_run_that_stops_early_is_reported(capfd):
    shown = train(capfd, steps=10**6, eval_every=5, patience=1, learning_rate=3, warmup=0).err
    (step,) = re.findall(r"^stopped early after step (\d+) of 1,000,000: patience ran out",
                         shown.replace("\r", "\n"), re.MULTILINE)
    assert f"100% {step}/{step}" in " ".join(re.sub("[|█]", " ", shown).split()), "red otherwise"


def test_a_finished_run_is_reported_in_the_same_words_as_by_the_command(capfd):
    train(capfd, progress=False)
    assert train(capfd).err == "already trained: 20 steps are done\n"
    assert train(capfd, steps=10).err == "already trained: 20 steps are done; the budget is 10\n"


@pytest.mark.parametrize(("every", "least"), [(None, 1), (10, 2), (0, 0)])
def test_samples_are_shown_at_validations_or_as_often_as_requested(capfd, every, least):
    shown = train(capfd, sample_every=every).err.replace("\r", "\n")
    lines = len(re.findall(r"^  \| ", shown, re.MULTILINE))
    assert lines >= least if least else lines == 0


def test_the_bar_is_made_when_an_interrupt_is_kept_for_the_run(monkeypatch):
    deferred = []

    class Watched(training.Interrupts):
        def __init__(self):
            super().__init__()
            monkeypatch.setattr(bar, "new_bar", lambda *args: deferred.append(self.deferred)
                                or new_bar(*args))

    new_bar = bar.new_bar
    monkeypatch.setattr(training, "Interrupts", Watched)
    charrnn.train("corpus.txt", **SETTINGS)
    assert deferred == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of its own")
@pytest.mark.parametrize(("size", "losses"), [
    (120, r"validation \d\.\d{4} bits/char, training \d\.\d{3}"),
    (80, r"validation \d\.\d{4} bits/char, training \d\.\d{3}"),
    (50, r"validation \d\.\d{4} bits/char"), (30, ""),
])
def test_on_a_terminal_the_bar_fits_and_the_validation_is_the_last_to_go(home, size, losses):
    program = ("import charrnn; charrnn.train('corpus.txt', hidden_size=8, layers=1, "
               "batch_size=9999, eval_every=20, steps=40, sample_every=40)")
    shown = on_a_terminal(["-c", program], home, size, command=[sys.executable, "-W", "error"])
    # The words of a sample may be of any length.
    assert all(columns(row) < size for row in rows(shown) if len(row.split()) > 2)
    assert re.search(r"\n  \| ", shown)
    bars = [row for row in rows(shown) if re.match(r" *\d+%", row)]
    assert all(row.rstrip().endswith(" left") for row in bars)
    assert re.fullmatch(rf"100%.*{losses}.* left *", bars[-1]), bars[-1]
    assert "is reduced from 9999 to" in " ".join(shown.split()), "no word is broken"


def test_the_bar_is_closed_after_an_error(capfd):
    with pytest.raises(charrnn.DivergedError):
        train(capfd, optimizer="sgd", activation="relu", learning_rate=50, clip_norm=0, warmup=0,
              schedule="constant", steps=300)
    assert capfd.readouterr().err.endswith("\n")


@pytest.mark.parametrize("program", [
    NOTEBOOK, "import sys; sys.stderr = None\n",
], ids=["notebook", "no standard error"])
def test_without_widgets_or_stderr_there_is_no_warning(home, program):
    program += ("import charrnn; charrnn.train('corpus.txt', hidden_size=8, steps=3)\n"
                "print('done')")
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=home, timeout=60,
                            capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert result.stdout == "done\n"
    assert ("3/3" in result.stderr) is ("IPython" in program), result.stderr
    assert "Warning" not in result.stderr
