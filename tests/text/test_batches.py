"""Texts as sequences read side by side in windows: every character once, and reset where due."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.text.batches import Batches
from charrnn.text.split import DocumentStarts


def test_sequences_and_windows_by_hand():
    # N = 12: 11 pairs, 5 in each of 2 sequences, 1 left over
    batches = Batches(np.arange(12, dtype=np.uint8), 3, 2)
    assert (batches.T, batches.B, batches.length) == (3, 2, 5)
    assert (batches.left_over, batches.windows) == (1, 2)
    x, y, _ = batches.window(0)
    assert x.tolist() == [[0, 5], [1, 6], [2, 7]]
    assert y.tolist() == [[1, 6], [2, 7], [3, 8]]
    x, y, _ = batches.window(1)
    assert x.tolist() == [[3, 8], [4, 9]]
    assert y.tolist() == [[4, 9], [5, 10]]
    assert x.dtype == y.dtype == np.uint8
    assert x.flags.c_contiguous and y.flags.c_contiguous


@pytest.mark.parametrize(
    ("N", "seq_length", "batch_size", "T", "B", "n", "left_over", "windows"),
    [
        (5, 64, 32, 4, 1, 4, 0, 1),  # hello
        (2, 64, 32, 1, 1, 1, 0, 1),
        (3, 64, 32, 2, 1, 2, 0, 1),
        (3, 1, 32, 1, 2, 1, 0, 1),
        (10, 4, 8, 4, 2, 4, 1, 1),
        (13, 2, 5, 2, 5, 2, 2, 1),
        (13, 4, 2, 4, 2, 6, 0, 2),
        (100, 7, 1, 7, 1, 95, 4, 14),  # offsets up to 4, a twentieth of the text
        (101, 7, 1, 7, 1, 95, 5, 14),  # up to 5: a twentieth of 100 pairs
        (1_003_854, 64, 32, 64, 32, 31_368, 77, 491),  # up to 63
    ],
)
def test_window_and_batch_shrink_with_the_text(
    N, seq_length, batch_size, T, B, n, left_over, windows
):
    batches = Batches(np.zeros(N, np.uint8), seq_length, batch_size)
    assert (batches.T, batches.B, batches.length) == (T, B, n)
    assert (batches.left_over, batches.windows) == (left_over, windows)


@pytest.mark.parametrize("N", [0, 1])
def test_too_few_characters_are_refused_with_their_number(N):
    with pytest.raises(CorpusError, match=["there are 0 characters",
                                           "there is 1 character "][N]) as caught:
        Batches(np.zeros(N, np.uint8), 64, 32)
    assert caught.value.exit_code == 1


@given(st.integers(2, 200), st.integers(1, 70), st.integers(1, 40), st.data())
def test_an_epoch_reads_every_sequence_once_in_order_with_its_true_successors_as_targets(
    N, T, B, data
):
    batches = Batches(np.arange(N), T, B)
    assert 0 <= batches.max_offset < batches.T
    offset = data.draw(st.integers(0, batches.max_offset))
    windows = [batches.window(index, offset)[:2] for index in range(batches.windows)]
    assert all(1 <= len(x) <= batches.T and x.shape == y.shape for x, y in windows)
    assert all(len(x) == batches.T for x, _ in windows[:-1])
    xs = np.concatenate([x for x, _ in windows])
    ys = np.concatenate([y for _, y in windows])
    assert np.array_equal(xs.T.ravel(), offset + np.arange(batches.B * batches.length))
    assert np.array_equal(ys, xs + 1)
    assert batches.B * batches.length + batches.left_over == N - 1
    assert batches.left_over - batches.max_offset < batches.B


@given(st.integers(20, 300), st.integers(1, 20), st.integers(2, 16), st.data())
def test_some_sequences_of_a_window_are_columns_of_it(N, T, B, data):
    batches = Batches(np.arange(N), T, B, DocumentStarts(np.arange(0, N, 7), 0))
    a = data.draw(st.integers(0, batches.B - 1))
    some = slice(a, data.draw(st.integers(a + 1, batches.B)))
    index = data.draw(st.integers(0, batches.windows - 1))
    offset = data.draw(st.integers(0, batches.max_offset))
    *parts, reset = batches.window(index, offset, some)
    *wholes, full = batches.window(index, offset)
    for part, whole in zip(parts, wholes, strict=True):
        np.testing.assert_array_equal(part, whole[:, some])
    if full is None:
        assert reset is None
    else:
        expected = full[:, some]
        np.testing.assert_array_equal(expected if reset is not None else expected.any(),
                                      reset if reset is not None else False)


@given(st.integers(2, 200), st.integers(1, 30), st.integers(1, 20),
       st.sets(st.integers(-5, 210)), st.data())
def test_sequences_are_reset_where_the_symbol_to_predict_is_the_first_of_a_document(
    N, T, B, starts, data
):
    batches = Batches(np.arange(N), T, B, DocumentStarts(np.array(sorted(starts), np.int64), 0))
    offset = data.draw(st.integers(0, batches.max_offset))
    for index in range(batches.windows):
        x, y, found = batches.window(index, offset)
        expected = np.isin(y, list(starts))
        assert (found is None) == (not expected.any())
        if found is not None:
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(x, np.where(expected, 0, y - 1))


@pytest.mark.parametrize("B", [1, 2])
def test_a_window_is_a_copy_of_the_text(B):
    text = np.arange(50)
    for array in Batches(text, 5, B).window(0)[:2]:
        array[:] = 0
        assert array.flags.c_contiguous
    np.testing.assert_array_equal(text, np.arange(50))


def test_without_documents_nothing_is_reset():
    assert Batches(np.arange(50), 5, 2).window(0)[2] is None
