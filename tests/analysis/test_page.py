"""The report page: it is complete and small, and no text can act as HTML or as a script."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from examples import a_checkpoint

from charrnn.analysis import page
from charrnn.nn.parameters import Architecture, Parameters, initialize
from charrnn.text.split import Split
from charrnn.text.vocabulary import Vocabulary


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html,
                                re.DOTALL)[1])


@pytest.mark.parametrize("settings", [{}, {"level": "byte"}, {"activation": "relu"}])
def test_the_page_is_complete_and_no_text_in_it_ends_a_script(tmp_path, settings):
    text = "\n<>/scriptabé" if not settings.get("level") else "\nabé"
    checkpoint = a_checkpoint(text, **settings)
    checkpoint.samples = [[3, "</script><script>alert(1)</script>"]]
    checkpoint.corpus = "it's <b>.txt"
    ids = np.random.default_rng(0).integers(0, len(checkpoint.vocabulary), 300).astype(np.uint8)
    part = Split(ids, np.array([0]))
    html = page.page(checkpoint, Path("my run.npz"), part, "A text.", [("uniform", 2.0)])
    assert html.count("<script") == html.count("</script>") == 2
    data = data_of(html)
    assert data["samples"] == checkpoint.samples
    assert len(data["text"]) == len(data["bits"]) == len(data["top"]) == 300
    assert data["command"].startswith("charrnn train 'it'\"'\"'s <b>.txt' --")
    assert "--hidden-size 2" in data["command"]
    assert len(base64.b64decode(data["units"]["packed"])) == 150 * data["units"]["count"]
    for key in ("history", "confusions", "hardest", "worst", "saturation", "reach", "facts"):
        assert key in data


def test_the_command_is_one_that_charrnn_accepts_and_the_computed_settings_are_listed():
    run = a_checkpoint(deterministic=True, clip_norm=0.1 + 0.2, optimizer="adam", steps=9)
    data = page.about(run, Path("a.npz"))
    assert data["command"].endswith(" --steps 9 --deterministic")
    assert " --clip-norm 0.30000000000000004 " in data["command"]
    assert ("deterministic", "true") in data["changed"]
    facts = dict(data["facts"])
    assert (facts["dropout"], facts["weight decay"]) == ("0.3", "0")
    assert facts["steps between validations"] == "3"
    run.settings["dropout"], run.explicit_recorded = None, False
    assert "dropout" not in dict(page.about(run, Path("a.npz"))["facts"])


def test_bidirectional_controls_are_escaped_and_a_name_stays_on_one_line(tmp_path):
    checkpoint = a_checkpoint("\n\rab\x1b\x9b\u202e\u200c", encoding="latin-1")
    checkpoint.settings["encoding"] = "latin\n1"
    checkpoint.samples = [[3, "a\x9b\u202e\u200c\r\n"]]
    checkpoint.corpus = "a\n\x1b\u202e"
    ids = np.random.default_rng(0).integers(0, len(checkpoint.vocabulary), 300).astype(np.uint8)
    html = page.page(checkpoint, Path("b\n\x9b.npz"), Split(ids, np.array([0])), "A text.", [])
    assert not re.search("[\x7f-\x9f\u202a-\u202e]", html)
    data = data_of(html)
    assert data["name"] == "b\\n\\x9b"
    assert dict(data["facts"])["text"] == "a\\n\\x1b\\u202e"
    assert "'a\\n\\x1b\\u202e'" in data["command"] and "\n" not in data["command"]
    assert data["samples"] == [[3, "a\\x9b\\u202e\u200c\r\n"]]
    assert data["symbols"] == ["\n", "\r", "\x1b", "a", "b", "\\x9b", "\u200c", "\\u202e"]
    assert set(data["text"]) == set(data["symbols"])
    assert not re.search("[\x1b\x9b\u202e]", "".join(row[0] + row[2] for row in data["worst"]))


def test_the_page_loads_no_other_files():
    template = page.TEMPLATE.read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\"' ]+", template) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"\b(src|href)=|@import|url\(|fetch\(|XMLHttp", template)


def test_with_default_settings_the_page_is_smaller_than_a_megabyte():
    arch = Architecture(65, 256, 2)
    checkpoint = a_checkpoint()
    checkpoint.best = initialize(arch, np.random.default_rng(0))
    checkpoint.vocabulary = Vocabulary(np.arange(32, 97), "char")
    checkpoint.history = [[i, 1.234567, 1.234567, 0.123456, 1e-3] for i in range(1, 1000)]
    ids = np.random.default_rng(0).integers(0, 65, 3000).astype(np.uint8)
    html = page.page(checkpoint, Path("a.npz"), Split(ids, np.array([0])), "A text.", [])
    assert len(html.encode()) < 1_000_000
    assert data_of(html)["units"]["count"] == 512


def test_the_most_correlated_units_of_a_large_network_can_be_selected(monkeypatch):
    monkeypatch.setattr(page, "UNITS", 4)
    checkpoint = a_checkpoint("\nabcdef gh", hidden_size=6, layers=2)
    checkpoint.best = Parameters(checkpoint.best.arch, np.random.default_rng(1).normal(
        size=checkpoint.best.arch.size).astype(np.float32))
    ids = np.random.default_rng(0).integers(0, 10, 400).astype(np.uint8)
    units = page.analyzed(checkpoint, Split(ids, np.array([0])))["units"]
    assert units["count"] == 4
    assert all(0 <= unit < 4 for _, unit, _ in units["correlated"][:4])


def test_of_a_large_lstm_as_many_cell_states_as_states_can_be_selected(monkeypatch):
    monkeypatch.setattr(page, "UNITS", 4)
    checkpoint = a_checkpoint("\nabcdef gh", cell="lstm", hidden_size=6, layers=2)
    ids = np.random.default_rng(0).integers(0, 10, 400).astype(np.uint8)
    units = page.analyzed(checkpoint, Split(ids, np.array([0])))["units"]
    assert [part for part, *_ in units["which"]] == [0] * 4 + [1] * 4


@pytest.mark.parametrize(("cell", "names", "parts"), [
    ("rnn", [], 1), ("gru", ["reset", "update"], 1), ("lstm", ["input", "forget", "output"], 2),
])
def test_gates_and_the_cell_state_are_on_the_page(cell, names, parts):
    checkpoint = a_checkpoint("\nabcdef gh", cell=cell, hidden_size=6, layers=2)
    ids = np.random.default_rng(0).integers(0, 10, 400).astype(np.uint8)
    data = data_of(page.page(checkpoint, Path("a.npz"), Split(ids, np.array([0])), "A text.", []))
    assert [gate["name"] for gate in data["gates"]] == names
    for gate in data["gates"]:
        assert np.shape(gate["open"]) == np.shape(gate["closed"]) == (2, 6)
    units = data["units"]
    assert units["which"] == [[part, layer, unit] for part in range(parts) for layer in range(2)
                              for unit in range(6)]
    assert len(base64.b64decode(units["packed"])) == 200 * units["count"]
