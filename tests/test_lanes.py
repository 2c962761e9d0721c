"""Texts on their way to the network: split, cut into lanes and windows, begun anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import CorpusError
from charrnn.lanes import Lanes, Resets, split


@pytest.mark.parametrize(
    ("N", "fraction", "train"),
    [
        (1_115_394, 0.1, 1_003_854),  # tinyshakespeare
        (20, 0.1, 18),
        (29, 0.1, 26),
        (10, 0.5, 5),
        (3, 0.5, 1),
        (10, 0, 10),
        (4, 0.75, 1),
        (10, 0.9, 1),  # 1 - 0.9 is a little less than 0.1
        # a tail of fewer than two characters is not held out
        (19, 0.1, 17),
        (10, 0.1, 10),
        (2, 0.5, 2),
        (3, 0.25, 3),
        (1, 0.9, 1),
        (0, 0.1, 0),
    ],
)
def test_the_held_out_part_is_the_tail(N, fraction, train):
    text = np.arange(N)
    before, after = split(text, fraction)
    assert (len(before), len(after)) == (train, N - train)
    assert np.array_equal(np.concatenate([before, after]), text)


def test_the_tail_of_tinyshakespeare_has_111_540_characters():
    assert len(split(np.zeros(1_115_394, np.uint8), 0.1)[1]) == 111_540


def test_lanes_by_hand():
    # N = 12: 11 pairs, 5 in each of 2 lanes, 1 left over
    lanes = Lanes(np.arange(12, dtype=np.uint8), 3, 2)
    assert (lanes.T, lanes.B, lanes.length, lanes.left_over, lanes.windows) == (3, 2, 5, 1, 2)
    x, y = lanes.window(0)
    assert x.tolist() == [[0, 5], [1, 6], [2, 7]]
    assert y.tolist() == [[1, 6], [2, 7], [3, 8]]
    x, y = lanes.window(1)
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
        (100, 7, 1, 7, 1, 95, 4, 14),  # slack 4, a twentieth of the text
        (101, 7, 1, 7, 1, 95, 5, 14),  # slack 5: a twentieth of 100 pairs
        (1_003_854, 64, 32, 64, 32, 31_368, 77, 491),  # slack 63
    ],
)
def test_window_and_batch_shrink_with_the_text(
    N, seq_length, batch_size, T, B, n, left_over, windows
):
    lanes = Lanes(np.zeros(N, np.uint8), seq_length, batch_size)
    assert (lanes.T, lanes.B, lanes.length) == (T, B, n)
    assert (lanes.left_over, lanes.windows) == (left_over, windows)


@pytest.mark.parametrize("N", [0, 1])
def test_too_few_characters_are_refused_with_their_number(N):
    with pytest.raises(CorpusError, match=f"there are {N} characters") as caught:
        Lanes(np.zeros(N, np.uint8), 64, 32)
    assert caught.value.exit_code == 1


@given(st.integers(2, 200), st.integers(1, 70), st.integers(1, 40), st.data())
def test_an_epoch_reads_every_lane_once_in_order_and_predicts_its_true_successors(N, T, B, data):
    lanes = Lanes(np.arange(N), T, B)
    assert 0 <= lanes.slack < lanes.T
    start = data.draw(st.integers(0, lanes.slack))
    windows = [lanes.window(index, start) for index in range(lanes.windows)]
    assert all(1 <= len(x) <= lanes.T and x.shape == y.shape for x, y in windows)
    assert all(len(x) == lanes.T for x, _ in windows[:-1])
    xs = np.concatenate([x for x, _ in windows])
    ys = np.concatenate([y for _, y in windows])
    assert np.array_equal(xs.T.ravel(), start + np.arange(lanes.B * lanes.length))
    assert np.array_equal(ys, xs + 1)
    assert lanes.B * lanes.length + lanes.left_over == N - 1
    assert lanes.left_over - lanes.slack < lanes.B


@pytest.mark.parametrize(("N", "held_out"), [
    (9, 0), (20, 2), (1_115_394, 111_540), (10_000_000, 1_000_000), (10_000_019, 1_000_000),
    (3_000_000_000, 1_000_000),
])
def test_by_default_a_tenth_is_held_out_and_at_most_a_million(N, held_out):
    text = np.broadcast_to(np.uint8(0), (N,))
    train, val = split(text, None)
    assert (len(train), len(val)) == (N - held_out, held_out)


@given(st.integers(20, 300), st.integers(1, 20), st.integers(2, 16), st.data())
def test_some_lanes_of_a_window_are_columns_of_it(N, T, B, data):
    lanes = Lanes(np.arange(N), T, B, Resets(np.arange(0, N, 7), 0))
    a = data.draw(st.integers(0, lanes.B - 1))
    some = slice(a, data.draw(st.integers(a + 1, lanes.B)))
    index = data.draw(st.integers(0, lanes.windows - 1))
    start = data.draw(st.integers(0, lanes.slack))
    for part, whole in zip(lanes.window(index, start, some), lanes.window(index, start),
                           strict=True):
        np.testing.assert_array_equal(part, whole[:, some])
    fresh, every = lanes.fresh(index, start, some), lanes.fresh(index, start)
    if every is None:
        assert fresh is None
    else:
        expected = every[:, some]
        np.testing.assert_array_equal(expected if fresh is not None else expected.any(),
                                      fresh if fresh is not None else False)


@given(st.integers(2, 200), st.integers(1, 30), st.integers(1, 20),
       st.sets(st.integers(-5, 210)), st.data())
def test_lanes_begin_anew_where_the_symbol_to_predict_is_the_first_of_a_document(
    N, T, B, begins, data
):
    lanes = Lanes(np.arange(N), T, B, Resets(np.array(sorted(begins), np.int64), 0))
    start = data.draw(st.integers(0, lanes.slack))
    for index in range(lanes.windows):
        _, y = lanes.window(index, start)
        expected = np.isin(y, list(begins))
        found = lanes.fresh(index, start)
        assert (found is None) == (not expected.any())
        if found is not None:
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("B", [1, 2])
def test_a_window_is_no_view_of_the_text(B):
    text = np.arange(50)
    for array in Lanes(text, 5, B).window(0):
        array[:] = 0
        assert array.flags.c_contiguous
    np.testing.assert_array_equal(text, np.arange(50))


def test_without_documents_nothing_begins_anew():
    assert Lanes(np.arange(50), 5, 2).fresh(0, 0) is None
    assert Resets(np.array([3, 10]), 1).moved(4).at.tolist() == [-1, 6]
