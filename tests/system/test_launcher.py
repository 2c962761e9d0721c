"""How processes that were started together learn their ranks, and how all of them exit."""

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
def test_rank_and_number_of_processes_come_from_the_launcher(launch, variables, expected):
    launch(**variables)
    assert launcher.launched() == expected


@pytest.fixture
def end_process(monkeypatch):
    """End a process; returns what it printed, how long it waited, its code or None if aborted."""
    def end_process(*args, **how):
        printed, slept = [], []
        monkeypatch.setattr(launcher.signal, "signal", lambda *handler: None)
        monkeypatch.setattr(launcher.time, "sleep", slept.append)
        monkeypatch.setattr(launcher.os, "dup2", lambda *files: None)
        with pytest.raises((SystemExit, Aborted)) as end:
            launcher.end_process(*args, printed.append, **how)
        return printed, sum(slept), getattr(end.value, "code", None)

    return end_process


FAILED = {"finished": False, "training": True}


def test_a_single_process_prints_its_line_and_exits(launch, end_process):
    assert end_process(2, "no", **FAILED) == (["no"], 0, 2)
    assert end_process(0, "", finished=True, training=True) == ([], 0, 0)
    assert end_process(143, "", finished=True, training=True) == ([], 0, 143)


def test_when_the_first_process_fails_it_prints_its_line_and_ends_all(world, end_process):
    MPI = world(0, 4, 4)
    printed, waited, code = end_process(2, "no", **FAILED)
    assert (printed, code, MPI.done) == (["no"], None, [2])
    assert 0 < waited < 1


def test_another_process_that_fails_waits_for_the_first_and_prints_its_rank(world, end_process):
    MPI = world(3, 4, 4)
    printed, waited, _ = end_process(1, "no", **FAILED)
    assert (printed, MPI.done) == (["no (process 3 of 4)"], [1])
    assert 1 < waited < 5
    printed, *_ = end_process(130, "", **FAILED)
    assert printed == ["charrnn: exited with code 130 (process 3 of 4)"]


def test_if_the_first_process_is_stuck_the_others_print_in_order_of_rank(world, end_process):
    waits = []
    for rank in (1, 2, 5, 1000):
        world(rank, 1001, 1001)
        waits.append(end_process(1, "no", **FAILED)[1])
    assert np.diff(waits).min() >= 0.5
    assert waits[-1] < 6


def test_a_process_that_finished_exits_without_aborting_mpi(world, end_process):
    for rank in (0, 1):
        MPI = world(rank, 2, 2)
        assert end_process(0, "", finished=True, training=True) == ([], 0, 0)
        assert MPI.done == []


def test_processes_stopped_by_a_signal_wait_for_each_other_and_exit_with_its_code(
    world, end_process
):
    for rank in (0, 1):
        MPI = world(rank, 2, 2)
        printed, waited, _ = end_process(143, "", finished=True, training=True)
        assert (printed, MPI.done) == ([], ["barrier", 143])
        assert waited < 1


@pytest.mark.parametrize("found", [None, 1])
def test_without_an_mpi_world_only_the_first_process_prints_the_reason(world, end_process, found):
    world(0, 4, found)
    assert end_process(2, "no", **FAILED) == (["no"], 0, 2)
    world(1, 4, found)
    printed, waited, code = end_process(2, "no", **FAILED)
    assert (printed, code) == ([], 2)
    assert waited > 1, "its exit may make the launcher end the first before that has printed"


def test_a_process_that_does_not_train_prints_its_own_line(launch, end_process):
    launch(PMI_RANK="1", PMI_SIZE="2")
    assert end_process(2, "no", finished=False, training=False) == (["no"], 0, 2)


@pytest.fixture
def end_now(monkeypatch):
    """End a process immediately; returns the calls to the system, and MPI records its own."""
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


def test_a_process_that_exits_immediately_ends_those_that_may_wait_for_it(world, launch, end_now):
    MPI = world(1, 4, 4)
    assert (end_now(), MPI.done) == ([3], [130]), "the alarm ends the process if MPI blocks"
    world(1, 4, None)
    assert end_now() == [3, 130], "without mpi4py the process exits by itself"
    launch()
    assert end_now() == [130]
