"""How processes that were started together know each other, and how all of them end."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from fake_mpi import Aborted

from charrnn.system import launcher


@pytest.mark.parametrize(("variables", "expected"), [
    ({}, (0, 1)),
    ({"PMI_RANK": "2", "PMI_SIZE": "4"}, (2, 4)),
    ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "5"}, (3, 5)),
    ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}, (0, 2)),
    ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, (0, 1)),  # a batch script, not srun
    ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "PMI_RANK": "1", "PMI_SIZE": "3"}, (1, 3)),
    ({"PMI_RANK": "2"}, (0, 1)),
    ({"PMI_RANK": "", "PMI_SIZE": "4"}, (0, 1)),
    ({"PMI_RANK": "-1", "PMI_SIZE": "4"}, (0, 1)),
    ({"PMI_RANK": "4", "PMI_SIZE": "4"}, (0, 1)),
    ({"PMI_RANK": "0", "PMI_SIZE": "0"}, (0, 1)),
    ({"PMI_RANK": "0", "PMI_SIZE": "²"}, (0, 1)),
    ({"PMI_RANK": "0", "PMI_SIZE": "9" * 5000}, (0, 1)),
    ({"PMI_RANK": "x", "PMI_SIZE": "4", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, (1, 2)),
])
def test_launchers_tell_each_process_its_rank_and_their_number(launch, variables, expected):
    launch(**variables)
    assert launcher.launched() == expected


@pytest.fixture
def end_process(monkeypatch):
    """End a process: what it said, how long it waited, and its code where MPI did not end it."""
    def end_process(*args, **how):
        said, slept = [], []
        monkeypatch.setattr(launcher.signal, "signal", lambda *handler: None)
        monkeypatch.setattr(launcher.time, "sleep", slept.append)
        monkeypatch.setattr(launcher.os, "dup2", lambda *files: None)
        with pytest.raises((SystemExit, Aborted)) as end:
            launcher.end_process(*args, said.append, **how)
        return said, sum(slept), getattr(end.value, "code", None)

    return end_process


FAILED = {"finished": False, "training": True}


def test_a_process_of_its_own_says_its_line_and_exits(launch, end_process):
    assert end_process(2, "no", **FAILED) == (["no"], 0, 2)
    assert end_process(0, "", finished=True, training=True) == ([], 0, 0)
    assert end_process(143, "", finished=True, training=True) == ([], 0, 143)


def test_the_first_process_that_fails_says_so_and_ends_all(world, end_process):
    MPI = world(0, 4, 4)
    said, waited, code = end_process(2, "no", **FAILED)
    assert (said, code, MPI.done) == (["no"], None, [2])
    assert 0 < waited < 1


def test_another_process_that_fails_waits_for_the_first_and_says_who_it_is(world, end_process):
    MPI = world(3, 4, 4)
    said, waited, _ = end_process(1, "no", **FAILED)
    assert (said, MPI.done) == (["no (process 3 of 4)"], [1])
    assert 1 < waited < 5
    said, *_ = end_process(130, "", **FAILED)
    assert said == ["charrnn: ended with code 130 (process 3 of 4)"]


def test_where_the_first_process_is_stuck_the_next_one_speaks_before_the_others(world, end_process):
    waits = []
    for rank in (1, 2, 5, 1000):
        world(rank, 1001, 1001)
        waits.append(end_process(1, "no", **FAILED)[1])
    assert np.diff(waits).min() >= 0.5
    assert waits[-1] < 6


def test_who_has_finished_leaves_the_end_to_mpi(world, end_process):
    for rank in (0, 1):
        MPI = world(rank, 2, 2)
        assert end_process(0, "", finished=True, training=True) == ([], 0, 0)
        assert MPI.done == []


def test_stopped_by_a_signal_all_end_with_its_number_once_all_are_there(world, end_process):
    for rank in (0, 1):
        MPI = world(rank, 2, 2)
        said, waited, _ = end_process(143, "", finished=True, training=True)
        assert (said, MPI.done) == ([], ["barrier", 143])
        assert waited < 1


@pytest.mark.parametrize("found", [None, 1])
def test_where_no_world_is_found_the_first_alone_says_why(world, end_process, found):
    world(0, 4, found)
    assert end_process(2, "no", **FAILED) == (["no"], 0, 2)
    world(1, 4, found)
    said, waited, code = end_process(2, "no", **FAILED)
    assert (said, code) == ([], 2)
    assert waited > 1, "a launcher may end all when one has ended"


def test_what_does_not_train_speaks_for_itself(launch, end_process):
    launch(PMI_RANK="1", PMI_SIZE="2")
    assert end_process(2, "no", finished=False, training=False) == (["no"], 0, 2)


@pytest.fixture
def end_now(monkeypatch):
    """End a process at once: whether MPI, or the system, is asked to do so with 130."""
    def end_now():
        calls = []
        monkeypatch.setattr(launcher.signal, "signal", lambda *handler: None)
        monkeypatch.setattr(launcher.signal, "alarm", calls.append)
        monkeypatch.setattr(launcher.os, "dup2", lambda *files: None)
        monkeypatch.setattr(launcher.os, "_exit", calls.append)
        with suppress(Aborted):
            launcher.end_now(130)
        return calls

    return end_now


def test_a_process_that_has_to_end_at_once_ends_those_that_may_wait_for_it(world, launch, end_now):
    MPI = world(1, 4, 4)
    assert (end_now(), MPI.done) == ([3], [130]), "the system ends it should MPI never answer"
    world(1, 4, None)
    assert end_now() == [3, 130], "without mpi4py nobody waits"
    launch()
    assert end_now() == [130]
