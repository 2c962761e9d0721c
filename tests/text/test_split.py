"""The parts of a text: the tail is for validation, and each part has the context before it."""

from __future__ import annotations

import numpy as np
import pytest
from examples import a_vocabulary
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.text.corpus import Text
from charrnn.text.split import CONTEXT, DocumentStarts, split, training_size, whole

VOCABULARY = a_vocabulary("\t\nab")
START = 1  # the newline


def a_text(ids, begins=()):
    return Text("text", ids, VOCABULARY, "", begins=begins)


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
        # a tail of fewer than two characters is not used for validation
        (19, 0.1, 17),
        (10, 0.1, 10),
        (2, 0.5, 2),
        (3, 0.25, 3),
        (1, 0.9, 1),
        (0, 0.1, 0),
    ],
)
def test_the_validation_part_is_the_tail(N, fraction, train):
    assert training_size(N, fraction) == train
    text = np.arange(N)
    before, after = split(a_text(text), fraction, reset=False)
    assert (len(before), len(after)) == (train, N - train)
    assert np.array_equal(np.concatenate([before.ids, after.ids]), text)


def test_the_tail_of_tinyshakespeare_has_111_540_characters():
    assert 1_115_394 - training_size(1_115_394, 0.1) == 111_540
    text = a_text(np.zeros(1_115_394, np.uint8))
    assert len(split(text, 0.1, reset=False)[1]) == 111_540


@pytest.mark.parametrize(("N", "validation"), [
    (9, 0), (20, 2), (1_115_394, 111_540), (10_000_000, 1_000_000), (10_000_019, 1_000_000),
    (3_000_000_000, 1_000_000),
])
def test_by_default_a_tenth_is_for_validation_and_at_most_a_million(N, validation):
    assert training_size(N, None) == N - validation
    text = a_text(np.broadcast_to(np.uint8(0), (N,)))
    train, val = split(text, None, reset=False)
    assert (len(train), len(val)) == (N - validation, validation)


@given(st.lists(st.integers(0, 3), max_size=400), st.floats(0, 0.99))
@example([0, 2, 3] * 100, 0.1)  # a training part longer than the context
@example([], 0.1)
def test_each_part_is_preceded_by_what_precedes_it_in_the_text(ids, fraction):
    text = a_text(np.array(ids, np.uint8))
    train, val = split(text, fraction, reset=False)
    assert train.ids.tolist() + val.ids.tolist() == ids
    assert train.context.tolist() == [START]
    assert val.context.tolist() == [START, *train.ids.tolist()[-CONTEXT:]]
    assert train.context.dtype == val.context.dtype == train.ids.dtype == val.ids.dtype == np.uint8
    assert train.resets is val.resets is None


@given(st.integers(0, 60), st.sets(st.integers(0, 60)), st.floats(0, 0.99))
@example(20, {5, 18, 19}, 0.1)  # one at the very beginning of the validation part
def test_the_state_is_reset_in_a_part_where_it_is_reset_in_the_text(N, begins, fraction):
    text = a_text(np.zeros(N, np.uint8), sorted(begins))
    train, val = split(text, fraction, reset=True)
    found = [part.resets.among(np.arange(len(part))) for part in (train, val)]
    np.testing.assert_array_equal(np.concatenate(found), np.isin(np.arange(N), list(begins)))
    assert val.resets.positions.tolist() == [at - len(train) for at in sorted(begins)]
    assert train.resets.symbol == val.resets.symbol == START


def test_the_whole_of_a_text_is_one_part():
    text = a_text(np.array([2, 3, 1, 2], np.uint8), [1, 3])
    part = whole(text, reset=False)
    assert part.ids is text.ids
    assert len(part) == 4
    assert part.context.tolist() == [START]
    assert part.context.dtype == np.uint8
    assert part.resets is None
    resets = whole(text, reset=True).resets
    assert (resets.positions.tolist(), resets.symbol) == ([1, 3], START)


def test_a_single_file_has_no_place_to_reset():
    train, val = split(a_text(np.zeros(30, np.uint8)), 0.5, reset=True)
    for part in (train, val):
        assert not part.resets.among(np.arange(len(part))).any()


def test_document_starts_are_shifted_with_the_beginning_of_the_text():
    shifted = DocumentStarts(np.array([3, 10]), 1).shifted(4)
    assert shifted.positions.tolist() == [-1, 6]
    assert shifted.symbol == 1


def test_the_start_symbol_is_read_in_place_of_what_precedes_a_document():
    x = np.array([[5, 6], [7, 8], [9, 4]])
    reset = DocumentStarts(np.array([2, 13]), 0).apply(x, np.array([[1, 11], [2, 12], [3, 13]]))
    assert reset.tolist() == [[False, False], [True, False], [False, True]]
    assert x.tolist() == [[5, 6], [0, 8], [9, 0]]
