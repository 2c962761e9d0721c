"""Events: what their JSON holds, and which of them are equal."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from training_runs import of, prepared, train

from charrnn.training import loop
from charrnn.training.events import End, Eval, Start, Step

EVAL = Eval(1, 2, 0.5, 0.25, nats_per_char=math.log(2), training_nats_per_char=math.log(4),
            best_nats_per_char=None, improved=False, unigram=3.0, trigram=2.0)


def test_the_json_has_the_kind_every_field_and_bits_as_well_as_nats():
    assert EVAL.as_json() == {
        "event": "eval", "step": 1, "steps": 2, "epoch": 0.5, "elapsed_seconds": 0.25,
        "nats_per_char": math.log(2), "bits_per_char": 1.0,
        "training_nats_per_char": math.log(4), "training_bits_per_char": 2.0,
        "best_nats_per_char": None, "best_bits_per_char": None,
        "improved": False, "unigram": 3.0, "unigram_bits_per_char": 3.0 / math.log(2),
        "trigram": 2.0, "trigram_bits_per_char": 2.0 / math.log(2),
    }


def test_every_score_in_nats_has_one_in_bits(corpus, tmp_path):
    for event in train(corpus, tmp_path / "a.npz", sample_every=10):
        found = json.loads(json.dumps(event.as_json()))
        for key in [key for key in found if key.endswith("nats_per_char")]:
            bits = found[key.replace("nats", "bits")]
            assert bits == pytest.approx(found[key] / math.log(2), rel=1e-12)
    assert "best_bits_per_char" in found and isinstance(event, End)


def test_events_are_equal_whenever_they_happened():
    later = dataclasses.replace(EVAL, elapsed_seconds=99.0)
    assert later == EVAL and hash(later) == hash(EVAL)
    assert dataclasses.replace(EVAL, step=2) != EVAL


def test_elapsed_seconds_grow_from_the_start_of_the_run(corpus, tmp_path, monkeypatch):
    now = [1000.0]

    def clock():
        now[0] += 0.5
        return now[0]

    monkeypatch.setattr(loop.time, "perf_counter", clock)
    events = train(corpus, tmp_path / "a.npz")
    times = [event.elapsed_seconds for event in events]
    assert times[0] == 0.5 and times == sorted(set(times))
    assert of(Step, events)[-1].elapsed_seconds < times[-1]


@pytest.mark.parametrize(("settings", "used"), [
    ({}, (0.05, 0.3, 7)),
    ({"dropout": 0.0, "weight_decay": 0.3, "eval_every": 5}, (0.0, 0.3, 5)),
    ({"dropout": None, "optimizer": "sgd", "eval_every": None}, (0.3, 0.0, 50)),
])
def test_the_start_has_the_values_that_are_used(corpus, tmp_path, settings, used):
    start = loop.start(prepared(corpus, tmp_path / "a.npz", **settings))
    assert isinstance(start, Start) and start.elapsed_seconds == 0
    assert (start.dropout, start.weight_decay, start.eval_every) == used


def test_the_training_loss_is_the_mean_since_the_last_validation_also_in_a_resumed_run(
    corpus, tmp_path
):
    events = train(corpus, tmp_path / "a.npz", steps=14)
    for part in (of(Step, events)[:7], of(Step, events)[7:]):
        for count, event in enumerate(part, start=1):
            mean = sum(each.nats_per_char for each in part[:count]) / count
            assert event.training_nats_per_char == pytest.approx(mean)
        evaluated = next(each for each in of(Eval, events) if each.step == part[-1].step)
        assert part[-1].training_nats_per_char == evaluated.training_nats_per_char
    start = loop.start(prepared(corpus, tmp_path / "a.npz", steps=20))
    assert start.validations == [each.nats_per_char for each in of(Eval, events)]
    assert "validations" not in start.as_json()
