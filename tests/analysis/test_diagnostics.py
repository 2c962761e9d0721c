"""Diagnostics: predictions, units and gradients, against the equations and exact counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reference import step

from charrnn.analysis import diagnostics
from charrnn.nn.parameters import Architecture, initialize
from charrnn.text.split import DocumentStarts, Split


@pytest.fixture(scope="module")
def params():
    made = initialize(Architecture(6, 5, 2, "tanh", "float64"), np.random.default_rng(5))
    made.W_hy *= 2
    return made


def symbols(length, seed=0):
    return np.random.default_rng(seed).integers(0, 6, length).astype(np.uint8)


@pytest.mark.parametrize("before", [1, 70])
def test_a_trace_follows_the_equations_symbol_by_symbol(params, before):
    part = Split(symbols(150), symbols(before, seed=1))
    trace = diagnostics.trace(params, part)
    state = params.zero_state(1)
    for symbol in part.context:
        z, state = step(params, np.array([symbol]), state)
    for t, symbol in enumerate(part.ids):
        p = np.exp(z[0]) / np.exp(z[0]).sum()
        order = np.argsort(-p, kind="stable")[: diagnostics.MOST_LIKELY]
        np.testing.assert_array_equal(trace.most_likely[t], order)
        np.testing.assert_allclose(trace.probabilities[t], p[order], rtol=1e-10)
        assert trace.bits[t] == pytest.approx(-math.log2(p[symbol]))
        assert trace.prediction[t] == p.argmax()
        z, state = step(params, np.array([symbol]), state)
        np.testing.assert_allclose(trace.states[t], state[0], rtol=1e-10)
    assert trace.most_likely.shape == trace.probabilities.shape == (150, diagnostics.MOST_LIKELY)


@pytest.mark.parametrize("rows", [64, 100, 149])
@pytest.mark.parametrize("before", [1, 63, 64, 65, 128])
def test_a_trace_does_not_depend_on_how_many_logits_are_in_memory_at_once(
    params, monkeypatch, before, rows
):
    part = Split(symbols(300), symbols(before, seed=1))
    whole = diagnostics.trace(params, part)
    monkeypatch.setattr(diagnostics, "AT_ONCE", 6 * rows)
    monkeypatch.setattr(diagnostics, "PASSAGE", 130)
    parts = diagnostics.trace(params, part)
    for name in ("bits", "prediction", "states"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)
    np.testing.assert_array_equal(parts.most_likely, whole.most_likely[:130])
    np.testing.assert_allclose(parts.probabilities, whole.probabilities[:130], rtol=1e-12)


def test_with_a_large_vocabulary_fewer_symbols_are_analyzed_but_at_least_the_passage(
    params, monkeypatch
):
    assert [diagnostics.looked_at(V) for V in (1, 4096, 8192, 10**6)] == [
        12_000, 12_000, 6_000, 1_000]
    monkeypatch.setattr(diagnostics, "LARGE", 3)
    monkeypatch.setattr(diagnostics, "LOOKED_AT", 100)
    monkeypatch.setattr(diagnostics, "PASSAGE", 40)
    trace = diagnostics.trace(params, Split(symbols(200), symbols(1)))
    assert (len(trace.bits), len(trace.states), len(trace.most_likely)) == (50, 50, 40)


def test_the_most_likely_symbols_are_those_of_a_stable_sort_also_with_ties():
    p = np.random.default_rng(3).integers(0, 4, (200, 9)) / 4
    order, theirs = diagnostics.most_likely(p)
    np.testing.assert_array_equal(order, np.argsort(-p, axis=1, kind="stable")[:, :5])
    np.testing.assert_array_equal(theirs, np.take_along_axis(p, order, axis=1))
    assert diagnostics.most_likely(p[:, :3])[0].shape == (200, 3)


def test_a_document_inside_a_text_is_read_from_the_zero_state(params):
    ids, resets = symbols(150), DocumentStarts(np.array([80]), 3)
    whole = diagnostics.trace(params, Split(ids, symbols(70, seed=1), resets))
    alone = diagnostics.trace(params, Split(ids[80:], np.array([3])))
    np.testing.assert_allclose(whole.bits[80:], alone.bits, rtol=1e-10)
    np.testing.assert_allclose(whole.states[80:], alone.states, rtol=1e-10)


def test_features_describe_what_a_reader_sees():
    text = 'Ab (c)\n  "Hi", 7\n'
    seen = diagnostics.features(text)
    columns = [1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert seen["position in the line"].tolist() == columns
    assert seen["indentation"].tolist() == [0] * 7 + [1] + [2] * 8 + [0]
    assert "".join("x" if q else "." for q in seen["inside quotes"]) == ".........xxx....."
    assert "".join("x" if q else "." for q in seen["inside brackets"]) == "...xx............"
    assert "".join("x" if q else "." for q in seen["end of a word"]) == ".x..x......x....."
    assert "".join("x" if q else "." for q in seen["capital letter"]) == "x.........x......"
    assert "digit" in seen and "digit" not in diagnostics.features("no figures")
    assert diagnostics.features("") == {}


def test_the_most_correlated_unit_of_a_feature_is_found_with_its_correlation():
    rng = np.random.default_rng(0)
    column = rng.normal(size=500).astype(np.float32)
    states = rng.normal(size=(500, 8))
    states[:, 3] = -2 * column + rng.normal(0, 0.1, 500)
    states[:, 5] = 1.0  # a unit that never changes
    (name, unit, r), = diagnostics.correlated_units(states, {"it": column})
    assert (name, unit) == ("it", 3)
    assert r == pytest.approx(np.corrcoef(states[:, 3], column)[0, 1])


def test_packing_rounds_states_to_the_nearest_of_16_levels():
    states = np.random.default_rng(0).uniform(-1, 1, (7, 3))
    packed, scale = diagnostics.packed(states)
    raw = np.frombuffer(packed, np.uint8).reshape(3, 4)
    levels = np.stack([raw >> 4, raw & 15], axis=2).reshape(3, 8)[:, :7]
    np.testing.assert_allclose((levels / 7.5 - 1) * scale, states.T, atol=scale / 15 + 1e-9)


def test_confusions_hardest_symbols_and_worst_positions_are_exact():
    trace = diagnostics.Trace(
        ids=np.array([0, 0, 1, 2, 0]), bits=np.array([1.0, 2.0, 8.0, 0.5, 3.0]),
        most_likely=np.zeros((0, 3)), probabilities=np.zeros((0, 3)),
        prediction=np.array([1, 1, 1, 0, 0]), states=np.zeros((5, 1)), cells=None,
        gates=np.zeros((0, 1, 2, 1)),
    )
    assert diagnostics.confusions(trace) == [(0, 1, 2), (2, 0, 1)]
    assert diagnostics.hardest(trace) == [(1, 8.0, 1), (0, 2.0, 3), (2, 0.5, 1)]
    assert diagnostics.worst(trace, apart=2) == [2, 4, 0]
    assert diagnostics.worst(trace, top=1) == [2]


def test_saturation_is_computed_for_each_layer():
    states = np.array([[0.0, 0.99, 0.5, 0.5], [1.0, -0.99, 0.5, -0.5]])
    one, two = diagnostics.saturation(states, 2)
    assert (one["share"], two["share"]) == (0.75, 0.0)
    assert one["histogram"][0] == 0.25 and one["histogram"][-1] == 0.75
    assert two["histogram"][10] == 1.0


NAIVE_GATES = {"gru": {"reset": 0, "update": 1}, "lstm": {"input": 0, "forget": 1, "output": 3}}


@pytest.mark.parametrize("kind", NAIVE_GATES)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gates_are_counted_as_open_and_closed_symbol_by_symbol(kind, layers):
    arch = Architecture(6, 4, layers, dtype="float64", cell_type=kind)
    params = initialize(arch, np.random.default_rng(2))
    params.flat[:] *= 3
    ids, context = symbols(150), symbols(70, seed=1)
    starts = DocumentStarts(np.array([80]), 3)
    found = diagnostics.trace(params, Split(ids, context, starts))
    parts = arch.cell.n_states
    states = np.zeros((parts, layers, 4))
    counts = np.zeros((len(NAIVE_GATES[kind]), layers, 2, 4))
    text = np.concatenate([context, ids])
    for t, symbol in enumerate(text):
        at = t - len(context)
        if at == 79:  # the document that follows is read from the zero state and its symbol 3
            states[:], symbol = 0, 3
        below = np.eye(6)[symbol]
        for layer in range(layers):
            a = np.split(below @ params.W_xh[layer] + params.b_h[layer], arch.cell.n_blocks)
            product = np.split(states[0, layer] @ params.W_hh[layer], arch.cell.n_blocks)
            if at >= 0:
                for gate, block in enumerate(NAIVE_GATES[kind].values()):
                    value = 1 / (1 + np.exp(-a[block] - product[block]))
                    counts[gate, layer, 0] += value > 0.9
                    counts[gate, layer, 1] += value < 0.1
            one = [part[None] for part in states[:, layer]]
            arch.cell.stepper(one, np.array(a)[:, None], np.array(product)[:, None])()
            below = states[0, layer]
        if at >= 0:
            np.testing.assert_allclose(found.states[at], states[0].ravel(), rtol=1e-9)
            if kind == "lstm":
                np.testing.assert_allclose(found.cells[at], np.tanh(states[1].ravel()), rtol=1e-9)
    np.testing.assert_allclose(found.gates, counts / 150)
    assert found.gates.any(axis=(0, 3)).all(), "both kinds occur in every layer"
    assert (found.cells is None) == (kind == "gru")


def test_the_vanilla_cell_has_no_gates(params):
    assert diagnostics.trace(params, Split(symbols(20), symbols(1))).gates.size == 0
