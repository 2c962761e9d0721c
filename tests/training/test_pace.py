"""The pace of a run: smoothed loss and speed, and the one estimate of the time left."""

from __future__ import annotations

import dataclasses

import pytest
from training_runs import prepared

from charrnn.training import loop
from charrnn.training.events import Eval, Step
from charrnn.training.pace import Pace


@pytest.fixture
def start(corpus, tmp_path):
    """The first event of a run: windows of 4 x 8 characters, a validation every 7 steps."""
    return loop.start(prepared(corpus, tmp_path / "a.npz", steps=20))


def step(number, elapsed, loss=1.0, speed=16.0):
    return Step(number, 20, 0.0, elapsed, 9.0, 1.0, 0.1, speed, loss)


def validation(number, elapsed):
    return Eval(number, 20, 0.0, elapsed, 1.0, 1.0, 1.0, True, 3.0, 2.0)


def test_there_is_no_estimate_before_the_first_step(start):
    pace = Pace()
    pace.update(start)
    assert pace.seconds_left(start) is None


def test_the_time_left_is_that_of_the_steps_and_validations_to_come(start):
    pace = Pace()
    pace.update(start)
    for number in range(1, 8):  # 32 characters a step, 16 a second: two seconds each
        event = step(number, 2.0 * number)
        pace.update(event)
        assert pace.seconds_left(event) == (20 - number) * 2.0, "nothing known of validations"
    event = validation(7, 17.0)  # after three seconds
    pace.update(event)
    assert pace.seconds_left(event) == 13 * 2.0 + 2 * 3.0, "after steps 14 and 20"
    event = step(15, 40.0)
    pace.update(event)
    assert pace.seconds_left(event) == 5 * 2.0 + 3.0
    event = validation(20, 55.0)
    pace.update(event)
    assert pace.seconds_left(event) == 0


def test_the_last_step_is_validated_once(start):
    pace = Pace()
    pace.update(dataclasses.replace(start, eval_every=10))
    for event in (step(10, 20.0), validation(10, 23.0)):
        pace.update(event)
    assert pace.seconds_left(event) == 10 * 2.0 + 3.0


def test_without_validation_only_the_steps_count(start):
    pace = Pace()
    pace.update(dataclasses.replace(start, val_chars=0))
    pace.update(step(7, 14.0))
    assert pace.seconds_left(step(7, 14.0)) == 13 * 2.0


def test_the_loss_is_the_mean_that_validations_show_and_the_speed_an_exponential_average():
    pace = Pace()
    for number, (loss, speed) in enumerate([(1.0, 10.0), (3.0, 20.0)]):
        pace.update(step(number, 0.0, loss, speed))
    assert (pace.nats_per_char, pace.chars_per_second) == (3.0, 15.0)
    for number in range(500):
        pace.update(step(number, 0.0, 5.0, 50.0))
    assert pace.nats_per_char == 5.0
    assert pace.chars_per_second == pytest.approx(50.0, abs=1e-2)
