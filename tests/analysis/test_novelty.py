"""Every verbatim copy is found, and nothing else."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis import novelty
from charrnn.analysis.novelty import copied

words = st.text("ab", max_size=60)


def ids(text):
    return np.frombuffer(text.encode(), np.uint8)


def naive(sample, text, width):
    longest = max((length for length in range(len(sample) + 1)
                   for at in range(len(sample) - length + 1) if sample[at : at + length] in text),
                  default=0)
    windows = [sample[at : at + width] for at in range(len(sample) - width + 1)]
    return longest, len(windows), sum(window in text for window in windows)


@given(words, words, st.integers(1, 9), st.sampled_from([1, 3, 8, 1000]))
def test_the_result_equals_that_of_a_naive_search(sample, text, width, chunk):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(novelty, "WIDTH", width)
        patched.setattr(novelty, "CHUNK", chunk)
        result = copied(ids(sample), ids(text))
    assert (result.longest, result.windows, result.found) == naive(sample, text, width)
    assert sample[result.start : result.start + result.longest] in text


def test_a_passage_is_found_across_chunks_and_a_changed_letter_ends_it(monkeypatch):
    monkeypatch.setattr(novelty, "CHUNK", 64)
    rng = np.random.default_rng(0)
    text = rng.integers(0, 50, 5000).astype(np.uint16)
    sample = rng.integers(50, 99, 300).astype(np.uint16)
    sample[100:180] = text[2000:2080]
    sample[150] = 99
    result = copied(sample, text)
    assert (result.longest, result.start) == (50, 100)
    assert result.found == 50 - 19 + 29 - 19
    assert result.share == result.found / 281


def test_an_unknown_symbol_in_the_text_ends_a_passage():
    sample = np.array([0, 1, 2] * 20, np.uint8)
    text = np.array([0, 256, 1, 256, 2, 256] * 20, np.uint16)
    assert copied(sample, text).longest == 1
    assert copied(sample, text).found == 0


def test_hash_collisions_cause_no_false_match(monkeypatch):
    monkeypatch.setattr(novelty, "_hashes", lambda symbols, width: np.zeros(
        len(symbols) - width + 1, np.uint64))
    monkeypatch.setattr(novelty, "WIDTH", 3)
    result = copied(ids("xxabc"), ids("zabcz"))
    assert result.longest <= 3  # only one position per hash is compared
    assert copied(ids("xyz"), ids("abc")).longest == 0


def test_a_repetitive_text_takes_no_more_memory_than_another():
    tracemalloc.start()
    result = copied(np.zeros(3000, np.uint8), np.zeros(200_000, np.uint8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (result.longest, result.found, result.windows) == (3000, 2981, 2981)
    assert peak < 100e6


@pytest.mark.parametrize(("sample", "text"), [("", "abc"), ("abc", ""), ("", "")])
def test_an_empty_sample_or_text_has_no_copies(sample, text):
    result = copied(ids(sample), ids(text))
    assert (result.longest, result.found, result.share) == (0, 0, 0.0)
