"""Samples have the right distribution, depend only on the seed, and come in order."""

from __future__ import annotations

import numpy as np
import pytest
from reference import step

from charrnn.errors import DivergedError
from charrnn.inference import sampling
from charrnn.inference.sampling import PrimeReader, samples
from charrnn.nn.loss import quiet_overflow
from charrnn.nn.network import Activations, forward
from charrnn.nn.parameters import Architecture, initialize

V = 6
choose = quiet_overflow(sampling.choose)


@pytest.fixture(scope="module")
def params():
    arch = Architecture(V, 8, 2, "tanh", "float64")
    made = initialize(arch, np.random.default_rng(5))
    made.W_hy *= 2
    return made


def collect(params, prime=(0,), **options):
    """The samples as lists, joined from their chunks."""
    options = {"count": 1, "length": 20, "seed": 1} | options
    texts: list[list[int]] = []
    for number, ids in samples(params, np.array(prime), **options):
        if number == len(texts):
            texts.append([])
        assert number == len(texts) - 1, "samples must come in order"
        texts[-1] += ids.tolist()
    return texts


def read(params, prime):
    """The state after a prime, and the logits of the next symbol."""
    reader = PrimeReader(params)
    reader.read(prime)
    return reader.finish()


def test_the_same_seed_gives_the_same_sample_and_another_seed_another(params):
    assert collect(params, length=50) == collect(params, length=50)
    assert collect(params, length=50) != collect(params, length=50, seed=2)


def test_a_sample_depends_only_on_seed_and_number(params):
    five = collect(params, count=5)
    assert collect(params, count=2) == five[:2]
    assert len({tuple(each) for each in five}) == 5


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_samples_come_in_order_and_do_not_depend_on_their_batch(params, monkeypatch, threads):
    usual = collect(params, count=7)
    monkeypatch.setattr(sampling, "SAMPLES_AT_ONCE", 2)
    assert collect(params, count=7, threads=threads) == usual
    assert collect(params, count=7, length=0, threads=threads) == [[]] * 7


def test_closing_does_not_wait_for_the_other_samples(params, monkeypatch):
    monkeypatch.setattr(sampling, "SAMPLES_AT_ONCE", 2)
    chunks = samples(params, np.array([0]), count=8, length=10**9, seed=1, threads=3)
    assert next(chunks)[0] == 0
    chunks.close()  # would take hours if it waited for the other samples


def test_an_error_in_another_thread_is_raised(params, monkeypatch):
    monkeypatch.setattr(sampling, "SAMPLES_AT_ONCE", 2)
    usual, failed = sampling.batch, DivergedError("batch 1")

    def batch(params, state, logits, numbers, *rest):
        if numbers[0] == 2:
            raise failed
        return usual(params, state, logits, numbers, *rest)

    monkeypatch.setattr(sampling, "batch", batch)
    with pytest.raises(DivergedError, match="batch 1"):
        collect(params, count=5, threads=2)


def test_temperature_zero_selects_the_most_likely_symbol(params):
    state, z = read(params, np.array([0]))
    expected = []
    for _ in range(15):
        x = z.argmax(axis=1)
        expected.append(int(x[0]))
        z, state = step(params, x, state)
    assert collect(params, length=15, temperature=0) == [expected]


def test_reading_the_prime_in_windows_equals_reading_it_at_once(params):
    prime = np.random.default_rng(0).integers(0, V, 150)
    state, z = read(params, prime)
    activations = Activations(params.arch, 150, 1)
    logits, expected = forward(params, prime[:, None], params.zero_state(1), activations)
    np.testing.assert_allclose(z, logits[-1:], rtol=1e-12)
    np.testing.assert_allclose(state, expected, rtol=1e-12)


def frequencies(logits, *, temperature=1.0, top_k=0, top_p=1.0, draws=20_000):
    uniform = (np.arange(draws) + 0.5) / draws  # evenly spaced, so the test is not random
    z = np.repeat(np.array([logits], float), draws, axis=0)
    drawn = choose(z, uniform, temperature, top_k, top_p)
    return np.bincount(drawn, minlength=len(logits)) / draws


def test_a_single_row_gives_the_same_symbol_as_in_a_batch():
    rng = np.random.default_rng(0)
    z, uniform = rng.normal(0, 3, (500, V)), rng.random(500)
    z[:, 2] = -np.inf  # never drawn, not even at the edges of its interval
    uniform[:2] = 0, np.nextafter(1, 0)
    together = choose(z, uniform, 0.7, 0, 1.0)
    alone = [int(choose(z[i : i + 1], uniform[i : i + 1], 0.7, 0, 1.0)[0]) for i in range(500)]
    assert together.tolist() == alone
    assert 2 not in alone


@pytest.mark.parametrize("shift", [-760, -745, -740, -709, -600, 0, 600, 709, 1e6])
def test_shifting_all_logits_does_not_change_the_draws(shift):
    """Also where exp would overflow, underflow or lose precision."""
    np.testing.assert_allclose(frequencies(LOGITS + shift), [0.5, 0.05, 0.25, 0.2], atol=2e-4)
    assert choose(np.full((1, 2), float(shift)), np.array([0.9]), 1.0, 0, 1.0).tolist() == [1]


@pytest.mark.parametrize("temperature", [0, 1])
@pytest.mark.parametrize("top_k", [0, 1])
def test_a_largest_logit_that_is_not_finite_is_an_error(temperature, top_k):
    for bad in (np.nan, np.inf):
        with pytest.raises(FloatingPointError):
            choose(np.array([[0.0, bad]]), np.array([0.5]), temperature, top_k, 1.0)
    impossible = np.array([[-np.inf, 0.0]])
    assert choose(impossible, np.array([0.0]), temperature, 0, 1.0).tolist() == [1]


def test_closing_does_not_wait_for_the_others_after_a_stop(params, monkeypatch):
    monkeypatch.setattr(sampling, "SAMPLES_AT_ONCE", 2)
    never = np.array([1] * 30)
    first = np.array(collect(params, count=3)[2][:3])  # how the first of batch two starts
    for stop in (never, first):
        chunks = samples(params, np.array([0]), count=6, length=10**9, seed=1, stop=stop,
                         threads=2)
        next(chunks)
        chunks.close()


LOGITS = np.log([0.5, 0.05, 0.25, 0.2])


def test_symbols_are_drawn_with_their_probabilities():
    np.testing.assert_allclose(frequencies(LOGITS), [0.5, 0.05, 0.25, 0.2], atol=1e-4)


def test_temperature_raises_probabilities_to_its_inverse():
    for temperature in (0.5, 2):
        p = np.array([0.5, 0.05, 0.25, 0.2]) ** (1 / temperature)
        found = frequencies(LOGITS, temperature=temperature)
        np.testing.assert_allclose(found, p / p.sum(), atol=1e-4)


def test_top_k_leaves_the_k_most_likely_symbols_of_a_large_vocabulary():
    z = np.random.default_rng(0).normal(size=(50, 3000))
    uniform = np.random.default_rng(1).random(50)
    top = np.argsort(-z, axis=1)[:, :5]
    drawn = choose(z, uniform, 10.0, 5, 1.0)
    assert all(symbol in row for symbol, row in zip(drawn, top, strict=True))
    ranks = {int((row == symbol).argmax()) for symbol, row in zip(drawn, top, strict=True)}
    assert ranks == set(range(5)), "each of the five is drawn"


def test_a_tiny_temperature_selects_the_most_likely_symbol_without_a_warning():
    np.testing.assert_array_equal(frequencies(LOGITS, temperature=1e-308), [1, 0, 0, 0])


@pytest.mark.parametrize(("k", "expected"), [
    (1, [1, 0, 0, 0]),
    (2, [2 / 3, 0, 1 / 3, 0]),
    (4, [0.5, 0.05, 0.25, 0.2]),
    (99, [0.5, 0.05, 0.25, 0.2]),
])
def test_top_k_draws_from_the_k_most_likely_symbols(k, expected):
    np.testing.assert_allclose(frequencies(LOGITS, top_k=k), expected, atol=1e-4)


@pytest.mark.parametrize("k", range(1, 8))
@pytest.mark.parametrize("temperature", [0, 0.3, 1, 2.5, 1e-308])
@pytest.mark.parametrize("top_p", [1.0, 0.61])
@pytest.mark.parametrize("shift", [0, 800])
def test_top_k_breaks_ties_in_favor_of_the_lowest_ids(k, temperature, top_p, shift):
    rng = np.random.default_rng(k)
    z = np.concatenate([
        np.zeros((1, 7)), np.full((1, 7), -np.inf), rng.integers(-1, 2, (300, 7)),
        rng.normal(size=(100, 7)),
    ])
    z[1, 4] = 0
    z += shift
    uniform = rng.random(len(z))
    drawn = choose(z, uniform, temperature, k, top_p)
    for row, height, symbol in zip(z, uniform, drawn, strict=True):
        kept = sorted(range(7), key=lambda i, row=row: (-row[i], i))[: k if temperature else 1]
        p = np.zeros(7)
        with np.errstate(over="ignore"):
            p[kept] = np.exp((row[kept] - row.max()) / (temperature or 1))
        p /= p.sum()
        before = np.cumsum(p[kept]) - p[kept]
        p[[i for i, sum_before in zip(kept, before, strict=True) if sum_before >= top_p]] = 0
        assert symbol == np.searchsorted(p.cumsum(), height * p.sum(), side="right")
        assert symbol in kept
        assert choose(row[None], np.array([height]), temperature, k, top_p) == [symbol]


def test_top_k_leaves_exactly_k_symbols_also_with_ties():
    np.testing.assert_allclose(frequencies([1.0] * 5, top_k=2), [0.5, 0.5, 0, 0, 0])
    np.testing.assert_allclose(frequencies([1.0, 1, 3, 1], top_k=1, temperature=1e308),
                               [0, 0, 1, 0], err_msg="they are equal only after division")


@pytest.mark.parametrize(("p", "expected"), [
    (0.01, [1, 0, 0, 0]),
    (0.49, [1, 0, 0, 0]),
    (0.51, [2 / 3, 0, 1 / 3, 0]),
    (0.94, [0.5 / 0.95, 0, 0.25 / 0.95, 0.2 / 0.95]),
    (0.96, [0.5, 0.05, 0.25, 0.2]),
])
def test_top_p_draws_from_the_smallest_set_that_reaches_p(p, expected):
    np.testing.assert_allclose(frequencies(LOGITS, top_p=p), expected, atol=1e-4)


def test_a_set_that_reaches_p_exactly_is_not_extended():
    np.testing.assert_array_equal(frequencies([0.0] * 4, top_p=0.5), [0.5, 0.5, 0, 0])


def test_symbols_of_probability_zero_are_never_drawn():
    logits = np.array([[-np.inf, 0.0, -np.inf, 0.0, -np.inf]] * 4)
    uniform = np.array([0.0, 0.5, np.nextafter(1, 0), 0.25])
    np.testing.assert_array_equal(choose(logits, uniform, 1.0, 0, 1.0), [1, 3, 3, 1])


def test_a_sample_ends_before_the_stop_text(params):
    (whole,) = collect(params, length=200)
    stop = whole[50:53]
    first = next(i for i in range(len(whole)) if whole[i : i + 3] == stop)
    assert collect(params, length=200, stop=np.array(stop)) == [whole[:first]]


def test_each_sample_of_a_batch_stops_where_it_would_alone(params):
    stop = np.array([2, 2])
    together = collect(params, length=60, count=6, stop=stop)
    free = collect(params, length=60, count=6)
    for got, whole in zip(together, free, strict=True):
        ends = [i for i in range(59) if whole[i : i + 2] == [2, 2]]
        assert got == (whole[: ends[0]] if ends else whole)


def test_a_stop_text_that_does_not_occur_changes_nothing(params):
    assert collect(params, length=20, stop=np.array([9, 9, 9])) == collect(params, length=20)


def test_samples_of_length_zero_are_empty(params):
    assert collect(params, length=0, count=3) == [[], [], []]


def test_the_first_sample_is_yielded_symbol_by_symbol(params):
    chunks = samples(params, np.array([0]), count=1, length=5, seed=1)
    assert [len(ids) for _, ids in chunks if len(ids)] == [1] * 5
