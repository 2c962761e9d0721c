"""n-grams, against a naive reference implementation with dictionaries, and known figures."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis import ngram
from charrnn.analysis.ngram import nats_by_order
from charrnn.text import corpus
from charrnn.text.split import Split, split

SHAKESPEARE = Path(__file__).parents[2] / "corpora/shakespeare.txt"


def by_definition(train, text, context, V, order):
    """p of each symbol: Chen & Goodman's equations, one symbol at a time."""

    def discounts(counts):
        n = [sum(count == i for count in counts.values()) for i in range(5)]
        if 0 in n[1:4]:
            return [0, 0.5, 0.5, 0.5]
        Y = n[1] / (n[1] + 2 * n[2])
        D = [0] + [i - (i + 1) * Y * n[i + 1] / n[i] for i in (1, 2, 3)]
        return [min(max(d, 0.1 * (i > 0)), i) for i, d in enumerate(D)]

    occurrences = {k: Counter(tuple(train[i : i + k]) for i in range(len(train) - k + 1))
                   for k in range(1, order + 1)}
    tables = {}
    for k in range(1, order + 1):
        counts = occurrences[k]
        if k < order:  # the number of different preceding symbols
            counts = Counter(gram[1:] for gram in occurrences[k + 1])
            counts = Counter({gram: counts[gram] for gram in occurrences[k]})
        following = defaultdict(dict)
        for gram, count in counts.items():
            following[gram[:-1]][gram[-1]] = count
        tables[k] = following, discounts(counts)

    def p(k, context, symbol):
        if k == 0:
            return 1 / V
        lower = p(k - 1, context[1:], symbol)
        following, D = tables[k]
        after = following.get(tuple(context), {})
        total = sum(after.values())
        if len(context) < k - 1 or not total:
            return lower
        count = after.get(symbol, 0)
        left = sum(D[min(c, 3)] for c in after.values())
        return (count - D[min(count, 3)] + left * lower) / total

    passage = [*context, *text]
    result = []
    for i in range(len(context), len(passage)):
        before = passage[max(0, i - order + 1) : i]
        k = len(before) + 1
        result.append(p(k, before, passage[i]) if k == order else None)
    return result


symbols = st.lists(st.integers(0, 3), min_size=30, max_size=120)


@given(symbols, symbols, st.integers(1, 4))
def test_probabilities_follow_the_definition(train, text, order):
    part = Split(np.array(text), np.array(train[-order:]))
    found = list(nats_by_order(np.array(train), part, 5, order))
    assert len(found) == order
    expected = by_definition(train, text, part.context.tolist(), 5, order)
    np.testing.assert_allclose(np.exp(-found[-1]), expected, rtol=1e-12)


@given(symbols, st.integers(1, 5))
def test_the_probabilities_of_all_symbols_sum_to_one(train, order):
    context = np.array(train[:order])
    total = sum(np.exp(-np.array(list(
        nats_by_order(np.array(train), Split(np.array([symbol]), context), 6, order))))
        for symbol in range(6))
    np.testing.assert_allclose(total, 1, rtol=1e-12)


def test_a_higher_order_does_not_change_the_lower_ones():
    rng = np.random.default_rng(0)
    train, text = rng.integers(0, 4, 500), rng.integers(0, 4, 50)
    part = Split(text, train[-9:])
    many = list(nats_by_order(train, part, 4, 6))
    for order in range(1, 6):
        few = list(nats_by_order(train, part, 4, order))
        np.testing.assert_array_equal(few[-1], many[order - 1])


def test_tables_and_sorting_give_the_same_counts(monkeypatch):
    rng = np.random.default_rng(1)
    train, text = rng.integers(0, 9, 3000), rng.integers(0, 9, 100)
    part = Split(text, train[-5:])
    tables = list(nats_by_order(train, part, 9, 5))
    monkeypatch.setattr(ngram, "DENSE", 0)
    for one, other in zip(tables, nats_by_order(train, part, 9, 5), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("length", range(1, 10))
def test_texts_shorter_than_the_order_have_scores(length):
    train = np.random.default_rng(0).integers(0, 4, 300)
    found = list(nats_by_order(train, Split(train[:length], train[:1]), 4, 8))
    assert len(found) == 8
    for nats in found:
        assert nats.shape == (length,) and np.isfinite(nats).all()


def test_only_the_end_of_a_long_text_is_counted(monkeypatch):
    monkeypatch.setattr(ngram, "MAX_COUNTED", 10)
    train = np.array([0] * 90 + [1] * 10)
    (nats,) = nats_by_order(train, Split(np.array([0, 1]), train[-3:]), 2, 1)
    assert nats[0] > nats[1]


def test_texts_of_few_symbols_and_large_vocabularies_have_scores():
    part = Split(np.array([3, 4]), np.array([3]))
    (first,) = nats_by_order(np.array([3]), part, 5000, 8)
    assert first[0] < first[1] < np.inf
    rng = np.random.default_rng(0)
    train = rng.integers(0, 5000, 3000).astype(np.uint16)
    for nats in nats_by_order(train, Split(train[:50], train[-8:]), 5000, 8):
        assert np.isfinite(nats).all()


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="make corpora/shakespeare.txt was not run")
def test_tiny_shakespeare_has_the_documented_scores():
    text = corpus.read([str(SHAKESPEARE)], corpus.TextOptions("char", "utf-8"))
    train, validation = split(text, 0.1, reset=False)
    means = [nats.mean() for nats in nats_by_order(train.ids, validation, 65, 7)]
    assert means[:3] == pytest.approx([3.347, 2.484, 2.038], abs=6e-4)
    assert means[6] == pytest.approx(1.5165, abs=6e-5)
