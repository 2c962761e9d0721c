"""The report: its numbers are right, and the page is whole, small and harmless."""

from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import step
from test_checkpoint import run

from charrnn import insight, page
from charrnn.lanes import Resets
from charrnn.parameters import Architecture, Parameters, initialise
from charrnn.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def params():
    made = initialise(Architecture(6, 5, 2, "tanh", "float64"), np.random.default_rng(5))
    made.W_hy *= 2
    return made


def symbols(length, seed=0):
    return np.random.default_rng(seed).integers(0, 6, length).astype(np.uint8)


@pytest.mark.parametrize("before", [1, 70])
def test_a_reading_is_what_the_equations_give_symbol_by_symbol(params, before):
    text, preceding = symbols(150), symbols(before, seed=1)
    reading = insight.look(params, text, preceding)
    h = params.zero_state(1)
    for symbol in preceding:
        z, h = step(params, np.array([symbol]), h)
    for t, symbol in enumerate(text):
        p = np.exp(z[0]) / np.exp(z[0]).sum()
        np.testing.assert_allclose(reading.p[t], p, rtol=1e-10)
        assert reading.bits[t] == pytest.approx(-math.log2(p[symbol]))
        assert reading.guess[t] == p.argmax()
        z, h = step(params, np.array([symbol]), h)
        np.testing.assert_allclose(reading.states[t], h[0], rtol=1e-10)
    order, chances = insight.likeliest(reading.p)
    assert order.shape == (150, insight.LIKELIEST)
    assert (np.diff(chances, axis=1) <= 0).all()
    np.testing.assert_array_equal(order[:, 0], reading.guess)


def test_a_document_inside_a_text_is_read_from_its_beginning(params):
    text = symbols(150)
    whole = insight.look(params, text, symbols(70, seed=1), Resets(np.array([80]), 3))
    alone = insight.look(params, text[80:], np.array([3]))
    np.testing.assert_allclose(whole.bits[80:], alone.bits, rtol=1e-10)
    np.testing.assert_allclose(whole.states[80:], alone.states, rtol=1e-10)


def test_gradients_reach_as_far_back_as_differences_do(params, monkeypatch):
    monkeypatch.setattr(insight, "REACH", 5)
    monkeypatch.setattr(insight, "PLACES", 1)
    ids = symbols(40).astype(np.intp)
    found = insight.reach(params, ids)
    end, epsilon = 2 * insight.REACH, 1e-6
    x = ids[end - 2 * insight.REACH : end + 1]
    norms = []
    for k in range(1, 6):
        h = params.zero_state(1)
        for symbol in x[: len(x) - 1 - k]:
            _, h = step(params, np.array([symbol]), h)

        def loss(h, k=k):
            for symbol in x[len(x) - 1 - k : -1]:
                z, h = step(params, np.array([symbol]), h)
            return np.log(np.exp(z[0]).sum()) - z[0, x[-1]]

        gradient = [(loss(h + epsilon * e) - loss(h - epsilon * e)) / (2 * epsilon)
                    for e in np.eye(10)[:, None]]
        norms.append([np.linalg.norm(gradient[:5]), np.linalg.norm(gradient[5:])])
    np.testing.assert_allclose(found, np.array(norms) / norms[0], rtol=1e-5)
    assert insight.reach(params, ids[:8]) == []


def test_features_are_what_a_person_sees():
    text = 'Ab (c)\n  "Hi", 7\n'
    seen = insight.features(text)
    assert seen["place in the line"].tolist() == [1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert seen["indentation"].tolist() == [0] * 7 + [1] + [2] * 8 + [0]
    assert "".join("x" if q else "." for q in seen["inside quotes"]) == ".........xxx....."
    assert "".join("x" if q else "." for q in seen["inside brackets"]) == "...xx............"
    assert "".join("x" if q else "." for q in seen["end of a word"]) == ".x..x......x....."
    assert "".join("x" if q else "." for q in seen["capital"]) == "x.........x......"
    assert "digit" in seen and "digit" not in insight.features("no figures")
    assert insight.features("") == {}


def test_the_most_telling_unit_of_a_feature_is_found_with_its_correlation():
    rng = np.random.default_rng(0)
    column = rng.normal(size=500).astype(np.float32)
    states = rng.normal(size=(500, 8))
    states[:, 3] = -2 * column + rng.normal(0, 0.1, 500)
    states[:, 5] = 1.0  # a unit that never changes
    (name, unit, r), = insight.telling_units(states, {"it": column})
    assert (name, unit) == ("it", 3)
    assert r == pytest.approx(np.corrcoef(states[:, 3], column)[0, 1])


def test_activations_survive_packing_to_half_a_level():
    states = np.random.default_rng(0).uniform(-1, 1, (7, 3))
    packed, scale = insight.packed(states)
    raw = np.frombuffer(packed, np.uint8).reshape(3, 4)
    levels = np.stack([raw >> 4, raw & 15], axis=2).reshape(3, 8)[:, :7]
    np.testing.assert_allclose((levels / 7.5 - 1) * scale, states.T, atol=scale / 15 + 1e-9)


def test_confusions_costs_and_worst_places_are_counted():
    reading = insight.Reading(
        ids=np.array([0, 0, 1, 2, 0]), bits=np.array([1.0, 2.0, 8.0, 0.5, 3.0]),
        p=np.zeros((0, 3)), guess=np.array([1, 1, 1, 0, 0]), states=np.zeros((5, 1)),
    )
    assert insight.confusions(reading) == [(0, 1, 2), (2, 0, 1)]
    assert insight.hardest(reading) == [(1, 8.0, 1), (0, 2.0, 3), (2, 0.5, 1)]
    assert insight.worst(reading, apart=2) == [2, 4, 0]
    assert insight.worst(reading, top=1) == [2]


def test_saturation_is_told_for_each_layer():
    states = np.array([[0.0, 0.99, 0.5, 0.5], [1.0, -0.99, 0.5, -0.5]])
    one, two = insight.saturation(states, 2)
    assert (one["share"], two["share"]) == (0.75, 0.0)
    assert one["histogram"][0] == 0.25 and one["histogram"][-1] == 0.75
    assert two["histogram"][10] == 1.0


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html,
                                re.DOTALL)[1])


@pytest.mark.parametrize("settings", [{}, {"level": "byte"}, {"activation": "relu"}])
def test_the_page_is_whole_and_closes_no_script_of_its_own(tmp_path, settings):
    made = run("\n<>/scriptabé" if not settings.get("level") else "\nabé", **settings)
    made.samples = [[3, "</script><script>alert(1)</script>"]]
    made.corpus = "it's <b>.txt"
    ids = np.random.default_rng(0).integers(0, len(made.vocabulary), 300).astype(np.uint8)
    html = page.page(made, Path("my run.npz"), ids, np.array([0]), "A text.", [("uniform", 2.0)])
    assert html.count("<script") == html.count("</script>") == 2
    data = data_of(html)
    assert data["samples"] == made.samples
    assert len(data["text"]) == len(data["bits"]) == len(data["top"]) == 300
    assert data["command"].startswith("charrnn train 'it'\"'\"'s <b>.txt' --")
    assert "--hidden-size 2" in data["command"]
    assert len(base64.b64decode(data["units"]["packed"])) == 150 * data["units"]["count"]
    for key in ("history", "confusions", "hardest", "worst", "saturation", "reach", "facts"):
        assert key in data


def test_nothing_is_fetched_from_anywhere():
    template = page.TEMPLATE.read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\"' ]+", template) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"\b(src|href)=|@import|url\(|fetch\(|XMLHttp", template)


def test_with_default_settings_it_is_less_than_a_megabyte():
    arch = Architecture(65, 256, 2)
    made = run()
    made.best = initialise(arch, np.random.default_rng(0))
    made.vocabulary = Vocabulary(np.arange(32, 97), "char")
    made.history = [[i, 1.234567, 1.234567, 0.123456, 1e-3] for i in range(1, 1000)]
    ids = np.random.default_rng(0).integers(0, 65, 3000).astype(np.uint8)
    html = page.page(made, Path("a.npz"), ids, np.array([0]), "A text.", [])
    assert len(html.encode()) < 1_000_000
    assert data_of(html)["units"]["count"] == 512


def test_of_a_large_network_the_most_telling_units_can_be_picked(monkeypatch):
    monkeypatch.setattr(page, "UNITS", 4)
    made = run("\nabcdef gh", hidden_size=6, layers=2)
    made.best = Parameters(made.best.arch, np.random.default_rng(1).normal(
        size=made.best.arch.size).astype(np.float32))
    ids = np.random.default_rng(0).integers(0, 10, 400).astype(np.uint8)
    units = page.seen(made, ids, np.array([0]))["units"]
    assert units["count"] == 4
    assert all(0 <= unit < 4 for _, unit, _ in units["telling"][:4])
