"""Scores equal their definition, and do not depend on batches, windows, chunks or threads."""

from __future__ import annotations

import math
import threading
from itertools import pairwise

import numpy as np
import pytest
from reference import step

from charrnn.errors import CharrnnError, DivergedError
from charrnn.inference import ensemble, scoring
from charrnn.inference.ensemble import reader
from charrnn.inference.scoring import (
    Score,
    Scored,
    check_finite,
    score,
    score_blocks,
    score_lines,
    score_stream,
)
from charrnn.nn.network import WINDOW, forward
from charrnn.nn.parameters import Architecture, Parameters, initialize
from charrnn.text.split import DocumentStarts, Split

V = 5


@pytest.fixture(scope="module")
def params():
    arch = Architecture(V, 6, 2, "tanh", "float64")
    made = initialize(arch, np.random.default_rng(3))
    for W_hh in made.W_hh:
        W_hh *= 0.5  # so that the state forgets, as in trained networks
    return made


def text(length, seed=0):
    return np.random.default_rng(seed).integers(0, V, length).astype(np.uint8)


def joined(blocks):
    """-ln p of each symbol, over all blocks."""
    return np.concatenate([block.nats for block in blocks])


def sequential(params, context, ids):
    """-ln p of each symbol, one step at a time from the zero state."""
    state, nats = params.zero_state(1), []
    for symbol in context[:-1]:
        _, state = step(params, np.array([symbol]), state)
    for previous, symbol in zip([context[-1], *ids[:-1]], ids, strict=True):
        z, state = step(params, np.array([previous]), state)
        nats.append(np.log(np.exp(z[0]).sum()) - z[0, symbol])
    return np.array(nats)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("context", [1, 50, 128])
def test_a_short_text_has_the_bits_of_the_beginning_of_a_long_one(monkeypatch, dtype, context):
    params = initialize(Architecture(V, 70, 2, "tanh", dtype), np.random.default_rng(5))
    ids, before, steps = text(scoring.SEGMENT), text(context, seed=1), []

    def counted(params, x, *args, **options):
        steps.append(len(x))
        return forward(params, x, *args, **options)

    monkeypatch.setattr(ensemble, "forward", counted)
    whole = joined(score_blocks(params, Split(ids, before)))
    for length in (*range(1, 200), 511, 512, 513, 1000, 1023):
        steps.clear()
        part = joined(score_blocks(params, Split(ids[:length], before)))
        np.testing.assert_array_equal(part, whole[:length])
        assert sum(steps) < context + length + WINDOW, "no more is read than it needs"


def by_segments(params, part):
    """The definition: segments of 1,024 symbols, each after up to 128 symbols of context."""
    whole = np.concatenate([part.context, part.ids])
    segments = [
        sequential(params, whole[max(0, at - 128) : at], whole[at : at + 1024])
        for at in range(len(part.context), len(whole), 1024)
    ]
    return np.concatenate(segments)


LENGTHS = [(n, before) for n in (1, 2, 64, 65) for before in (1, 2, 66, 127, 128, 129, 300)]
LENGTHS += [(n, before) for n in (1023, 1024, 1025, 2500) for before in (1, 128)]


@pytest.mark.parametrize(("length", "before"), LENGTHS)
def test_every_symbol_has_the_surprisal_of_the_definition(params, length, before):
    part = Split(text(length), text(before, seed=1))
    expected = by_segments(params, part)
    np.testing.assert_allclose(joined(score_blocks(params, part)), expected, rtol=1e-10)


def by_documents(params, context, ids, starts, symbol):
    """As ``by_segments``, but each document starts from the zero state after ``symbol``."""
    whole, n = np.concatenate([context, ids]), len(context)
    nats = np.full(len(whole), np.nan)
    for segment in range(n, len(whole), 1024):
        first, end = max(0, segment - 128), min(len(whole), segment + 1024)
        inside = [start + n for start in starts if first < start + n < end]
        for here, there in pairwise([first, *inside, end]):
            reset = here - n in starts
            context = [symbol] if reset else whole[here : here + 1]
            at = here + (not reset)
            scored = sequential(params, np.array(context), whole[at:there])
            nats[max(at, segment) : there] = scored[max(at, segment) - at :]
    return nats[n:]


@pytest.mark.parametrize(
    "starts", [[], [1], [500, 1020, 1024, 1025, 2047], [0, 3, 2499], [-20, 30], [896, 897, 1920]]
)
def test_each_document_is_read_from_the_zero_state(params, starts):
    ids, context = text(2500), text(60, seed=1)
    part = Split(ids, context, DocumentStarts(np.array([*starts, 2500]), 4))
    expected = by_documents(params, context, ids, starts, 4)
    np.testing.assert_allclose(joined(score_blocks(params, part)), expected, rtol=1e-9)


def test_the_score_of_a_stream_does_not_depend_on_its_chunks(params):
    ids, bits = text(70_000), set()
    for size in (100, 1024, 33_000, 70_000):
        chunks = [ids[at : at + size] for at in range(0, len(ids), size)]
        nats = joined(score_stream(params, chunks, text(1), 2))
        bits.add(nats.tobytes())
    assert len(bits) == 1
    whole = joined(score_blocks(params, Split(ids, text(1))))
    np.testing.assert_allclose(nats, whole, rtol=1e-10)


def test_each_document_of_a_stream_is_read_from_the_zero_state(params):
    ids, none = text(3000), text(0)
    chunks = [ids[:10], ids[10:1500], none, ids[1500:], none]
    nats = joined(score_stream(params, chunks, text(1), restart=True))
    documents = [Split(document, text(1)) for document in (ids[:1500], ids[1500:])]
    expected = [joined(score_blocks(params, document)) for document in documents]
    np.testing.assert_array_equal(nats, np.concatenate(expected))
    without_restart = joined(score_stream(params, chunks, text(1)))
    assert not np.allclose(without_restart[1500:1600], nats[1500:1600], rtol=1e-6)


@pytest.mark.parametrize("segments", [1, 3])
@pytest.mark.parametrize("window", [16, 1024])
def test_the_score_does_not_depend_on_batch_or_window(params, segments, window, monkeypatch):
    part = Split(text(5000), text(1))
    usual = score(params, part)
    monkeypatch.setattr(scoring, "SEGMENTS_AT_ONCE", segments)
    monkeypatch.setattr(scoring, "WINDOW", window)
    other = score(params, part)
    assert other.nats == pytest.approx(usual.nats, rel=1e-12)
    assert (other.chars, other.right) == (usual.chars, usual.right)


@pytest.mark.parametrize("large", [1, 2, 4])
def test_with_a_large_vocabulary_fewer_steps_are_read_at_once_for_the_same_score(
    params, large, monkeypatch
):
    part, lines = Split(text(5000), text(200)), [text(length) for length in (3, 70, 200)]
    usual = joined(score_blocks(params, part)), score_lines(params, lines, 4)
    shapes = []

    def watched(network, T, B):
        shapes.append((T, B))
        return reader(network, T, B)

    monkeypatch.setattr(scoring, "reader", watched)
    monkeypatch.setattr(scoring, "LARGE", large)
    np.testing.assert_allclose(joined(score_blocks(params, part)), usual[0], rtol=1e-12)
    for found, expected in zip(score_lines(params, lines, 4), usual[1], strict=True):
        assert found.nats == pytest.approx(expected.nats, rel=1e-12)
    assert {T for T, _ in shapes} == {64 * large // V}


def test_steps_read_at_once_have_at_most_the_logits_of_8192_symbols():
    assert [scoring.steps_at_once(V) for V in (1, 8192, 8193, 100_000, 1_114_112)] == [
        64, 64, 63, 5, 1]


def test_threads_that_cannot_be_started_are_an_error_of_one_line(params, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(CharrnnError, match="refuses to start 3 threads"):
        score(params, Split(text(70_000), text(1)), threads=3)


def test_scoring_in_segments_differs_from_one_pass_by_less_than_1e_4_nats(params):
    ids = text(6000)
    expected = sequential(params, text(1), ids).mean()
    assert score(params, Split(ids, text(1))).nats_per_char == pytest.approx(expected, abs=1e-4)


def test_zero_weights_score_log2_of_the_vocabulary():
    arch = Architecture(V, 4, 1, "tanh", "float64")
    found = score(Parameters(arch), Split(text(3000), text(1)))
    assert found.bits_per_char == pytest.approx(math.log2(V), abs=1e-14)
    assert found.perplexity == pytest.approx(V)


def test_accuracy_counts_the_symbols_that_were_the_most_likely():
    arch = Architecture(V, 4, 1, "tanh", "float64")
    params = Parameters(arch)
    params.b_y[2] = 1.0
    ids = text(2000)
    assert score(params, Split(ids, text(1))).right == np.count_nonzero(ids == 2)


def test_scores_can_be_added():
    both = Score(10, 5.0, 3) + Score(30, 15.0, 5)
    assert (both.chars, both.nats_per_char, both.accuracy) == (40, 0.5, 0.2)


def test_scoring_changes_no_parameter(params):
    before = params.flat.copy()
    score(params, Split(text(3000), text(1)))
    np.testing.assert_array_equal(params.flat, before)


def test_each_line_is_scored_as_a_separate_text(params):
    lines = [text(length, seed=length) for length in (3, 0, 70, 1, 200, 64)] * 15
    start = 4
    for line, found in zip(lines, score_lines(params, lines, start), strict=True):
        assert found.chars == len(line)
        if len(line):
            expected = sequential(params, np.array([start]), line).sum()
            assert found.nats == pytest.approx(expected, rel=1e-10)


def test_the_first_symbol_whose_score_is_not_finite_is_named():
    good = Scored(np.ones(10), np.ones(10, bool))
    bad = Scored(np.array([1.0, 2.0, np.nan, 1.0, np.inf]), np.ones(5, bool))
    assert list(check_finite([good, good], "a.txt")) == [good, good]
    with pytest.raises(DivergedError, match=r"in a\.txt, at symbol 23 of the scored text"):
        list(check_finite([good, good, bad, good], "a.txt"))


def test_a_score_has_the_unit_of_the_models_symbols():
    found = Score(2, 2 * math.log(2), 1)
    assert str(found) == ("1.0000 bits/char (0.6931 nats/char), perplexity 2.000, "
                          "accuracy 50.00 %, 2 characters")
    assert found.text("byte") == ("1.0000 bits/byte (0.6931 nats/byte), perplexity 2.000, "
                                  "accuracy 50.00 %, 2 bytes")
