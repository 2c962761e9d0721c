"""Scores: what they are by definition, and what they must not depend on."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from conftest import step

from charrnn import evaluation
from charrnn.errors import DivergedError
from charrnn.evaluation import Score, score, score_lines, surprisals
from charrnn.lanes import Resets
from charrnn.model import Tape, forward
from charrnn.parameters import Architecture, Parameters, initialise

V = 5


@pytest.fixture(scope="module")
def params():
    arch = Architecture(V, 6, 2, "tanh", "float64")
    made = initialise(arch, np.random.default_rng(3))
    for W_hh in made.W_hh:
        W_hh *= 0.5  # a state that forgets, as trained ones do
    return made


def text(length, seed=0):
    return np.random.default_rng(seed).integers(0, V, length).astype(np.uint8)


def sequential(params, before, ids):
    """-ln p of each symbol, one step at a time from the zero state."""
    h, nats = params.zero_state(1), []
    for symbol in before[:-1]:
        _, h = step(params, np.array([symbol]), h)
    for previous, symbol in zip([before[-1], *ids[:-1]], ids, strict=True):
        z, h = step(params, np.array([previous]), h)
        nats.append(np.log(np.exp(z[0]).sum()) - z[0, symbol])
    return np.array(nats)


def by_segments(params, before, ids):
    """The definition: segments of 1,024, each after up to 128 symbols that are not scored."""
    whole = np.concatenate([before, ids])
    parts = [
        sequential(params, whole[max(0, at - 128) : at], whole[at : at + 1024])
        for at in range(len(before), len(whole), 1024)
    ]
    return np.concatenate(parts)


LENGTHS = [(n, before) for n in (1, 2, 64, 65) for before in (1, 2, 66, 127, 128, 129, 300)]
LENGTHS += [(n, before) for n in (1023, 1024, 1025, 2500) for before in (1, 128)]


@pytest.mark.parametrize(("length", "before"), LENGTHS)
def test_every_symbol_has_the_surprisal_of_the_definition(params, length, before):
    preceding = text(before, seed=1)
    nats = np.concatenate([nats for nats, _ in surprisals(params, text(length), preceding)])
    expected = by_segments(params, preceding, text(length))
    np.testing.assert_allclose(nats, expected, rtol=1e-10)


def by_documents(params, before, ids, begins, start):
    """The definition: as ``by_segments``, but each document is read from ``start`` on."""
    whole, n = np.concatenate([before, ids]), len(before)
    nats = np.full(len(whole), np.nan)
    for segment in range(n, len(whole), 1024):
        first, end = max(0, segment - 128), min(len(whole), segment + 1024)
        inside = [begin + n for begin in begins if first < begin + n < end]
        for here, there in pairwise([first, *inside, end]):
            anew = here - n in begins
            context = [start] if anew else whole[here : here + 1]
            at = here + (not anew)
            scored = sequential(params, np.array(context), whole[at:there])
            nats[max(at, segment) : there] = scored[max(at, segment) - at :]
    return nats[n:]


@pytest.mark.parametrize(
    "begins", [[], [1], [500, 1020, 1024, 1025, 2047], [0, 3, 2499], [-20, 30], [896, 897, 1920]]
)
def test_where_a_document_begins_it_is_read_from_the_zero_state(params, begins):
    ids, before = text(2500), text(60, seed=1)
    resets = Resets(np.array([*begins, 2500]), 4)
    nats = np.concatenate([n for n, _ in surprisals(params, ids, before, resets=resets)])
    np.testing.assert_allclose(nats, by_documents(params, before, ids, begins, 4), rtol=1e-9)


def test_a_text_in_pieces_has_the_same_score_wherever_it_is_cut(params):
    ids, bits = text(70_000), set()
    for size in (100, 1024, 33_000, 70_000):
        pieces = [ids[at : at + size] for at in range(0, len(ids), size)]
        nats = np.concatenate([n for n, _ in evaluation.streamed(params, pieces, text(1), 2)])
        bits.add(nats.tobytes())
    assert len(bits) == 1
    whole = np.concatenate([n for n, _ in surprisals(params, ids, text(1))])
    np.testing.assert_allclose(nats, whole, rtol=1e-10)


def test_documents_that_come_in_pieces_are_read_each_from_its_beginning(params):
    ids, none = text(3000), text(0)
    pieces = [ids[:10], ids[10:1500], none, ids[1500:], none]
    nats = [n for n, _ in evaluation.streamed(params, pieces, text(1), restart=True)]
    parts = ids[:1500], ids[1500:]
    expected = [n for part in parts for n, _ in surprisals(params, part, text(1))]
    np.testing.assert_array_equal(np.concatenate(nats), np.concatenate(expected))
    joined = np.concatenate([n for n, _ in evaluation.streamed(params, pieces, text(1))])
    assert not np.allclose(joined[1500:1600], np.concatenate(nats)[1500:1600], rtol=1e-6)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("window", [16, 1024])
def test_the_score_does_not_depend_on_batch_or_window(params, lanes, window, monkeypatch):
    usual = score(params, text(5000), text(1))
    monkeypatch.setattr(evaluation, "LANES", lanes)
    monkeypatch.setattr(evaluation, "WINDOW", window)
    other = score(params, text(5000), text(1))
    assert other.nats == pytest.approx(usual.nats, rel=1e-12)
    assert (other.chars, other.right) == (usual.chars, usual.right)


def test_segments_differ_from_one_pass_by_less_than_a_ten_thousandth_of_a_nat(params):
    ids = text(6000)
    expected = sequential(params, text(1), ids).mean()
    assert score(params, ids, text(1)).nats_per_char == pytest.approx(expected, abs=1e-4)


def test_zero_weights_score_log2_of_the_vocabulary():
    arch = Architecture(V, 4, 1, "tanh", "float64")
    got = score(Parameters(arch), text(3000), text(1))
    assert got.bits_per_char == pytest.approx(math.log2(V), abs=1e-14)
    assert got.perplexity == pytest.approx(V)


def test_accuracy_counts_the_symbols_that_were_the_likeliest():
    arch = Architecture(V, 4, 1, "tanh", "float64")
    params = Parameters(arch)
    params.b_y[2] = 1.0
    ids = text(2000)
    assert score(params, ids, text(1)).right == np.count_nonzero(ids == 2)


def test_scores_add_up():
    both = Score(10, 5.0, 3) + Score(30, 15.0, 5)
    assert (both.chars, both.nats_per_char, both.accuracy) == (40, 0.5, 0.2)


def test_evaluating_changes_no_parameter(params):
    before = params.flat.copy()
    score(params, text(3000), text(1))
    np.testing.assert_array_equal(params.flat, before)


def test_each_line_is_scored_as_a_text_of_its_own(params):
    lines = [text(length, seed=length) for length in (3, 0, 70, 1, 200, 64)] * 15
    start = 4
    for line, got in zip(lines, score_lines(params, lines, start), strict=True):
        assert got.chars == len(line)
        if len(line):
            expected = sequential(params, np.array([start]), line).sum()
            assert got.nats == pytest.approx(expected, rel=1e-10)


def test_states_of_a_batch_do_not_mix(params):
    x = np.stack([text(20, seed=s) for s in (1, 2, 3)], axis=1)
    together, _ = forward(params, x, params.zero_state(3), Tape(params.arch, 20, 3))
    together = together.reshape(20, 3, V).copy()
    for lane in range(3):
        alone, _ = forward(params, x[:, [lane]], params.zero_state(1), Tape(params.arch, 20, 1))
        np.testing.assert_allclose(together[:, lane], alone, rtol=1e-12)


def test_the_first_symbol_without_a_score_is_named():
    good = (np.ones(10), np.ones(10, bool))
    bad = (np.array([1.0, 2.0, np.nan, 1.0, np.inf]), np.ones(5, bool))
    assert list(evaluation.finite([good, good], "a.txt")) == [good, good]
    with pytest.raises(DivergedError, match=r"in a\.txt, at symbol 23 of what is scored"):
        list(evaluation.finite([good, good, bad, good], "a.txt"))
