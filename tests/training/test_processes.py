"""The processes that train together: communication, errors, and the MPI world they join."""

from __future__ import annotations

import builtins
import sys
import traceback
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from training_runs import in_processes, raised

from charrnn.errors import CorpusError, UsageError
from charrnn.system import machine
from charrnn.training import processes
from charrnn.training.processes import Alone, ProcessGroup


def test_all_processes_raise_the_error_of_the_lowest_rank():
    def work(group):
        def fail():
            if group.rank in (1, 2):
                raise CorpusError(f"{group.rank} cannot read it")
            return "read"

        return group.together(fail)

    assert raised(CorpusError, in_processes(4, work)) == "1 cannot read it"


def test_the_process_that_raised_an_error_keeps_its_traceback():
    def deep_inside():
        raise CorpusError("no")

    outcomes = in_processes(2, lambda group: group.together(
        deep_inside if group.is_first else lambda: None))
    last = [traceback.extract_tb(error.__traceback__)[-1].name for error in outcomes]
    assert last == ["deep_inside", "together"]


def test_without_an_error_each_process_gets_its_own_result():
    assert in_processes(3, lambda group: group.together(lambda: group.rank)) == [0, 1, 2]


def test_an_error_that_all_processes_raised_is_not_exchanged_again():
    def fail(group):
        if group.rank == 1:
            raise UsageError("no")

    def work(group):
        return group.together(lambda: group.together(lambda: fail(group)))

    assert raised(UsageError, in_processes(2, work)) == "no"

    def later(group):
        def inner():
            group.together(lambda: None)
            fail(group)

        return group.together(inner)

    assert raised(UsageError, in_processes(3, later)) == "no"


def test_an_exception_that_is_not_a_charrnnerror_is_raised_immediately():
    def work():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ProcessGroup(Alone()).together(work)


def test_the_first_fact_that_differs_is_named():
    def work(group):
        group.check_equal({"seed": 1, "text": "abc"[: group.rank + 1], "size": group.rank})

    text = raised(UsageError, in_processes(3, work))
    assert "process 1 of 3 differs from process 0 in the text (ab, a)" in text
    assert in_processes(2, lambda group: group.check_equal({"seed": 1})) == [None, None]


def test_a_fact_that_one_process_lacks_differs():
    def work(group):
        group.check_equal({"version": group.rank, "new": 1} if group.rank else {"version": 0})

    assert "in the version (1, 0)" in raised(UsageError, in_processes(2, work))

    def less(group):
        group.check_equal({"version": 1} if group.rank else {"version": 1, "new": 1})

    assert "in the new (None, 1)" in raised(UsageError, in_processes(2, less))


@pytest.mark.parametrize("size", range(1, 6))
def test_gathering_broadcasting_and_sharing_are_ordered_by_rank(size):
    def work(group):
        rows = np.arange(6).reshape(3, 2)[::-1] + 10 * group.rank
        return (group.allgather_rows(rows).tolist(), group.broadcast(f"from {group.rank}"),
                group.share(range(2 * size)), group.allgather(group.rank), group.is_first)

    for rank, (rows, sent, own, ranks, is_first) in enumerate(in_processes(size, work)):
        assert rows == [row for n in range(size) for row in
                        ([10 * n + 4, 10 * n + 5], [10 * n + 2, 10 * n + 3], [10 * n, 10 * n + 1])]
        assert sent == "from 0"
        assert list(own) == [2 * rank, 2 * rank + 1]
        assert ranks == list(range(size))
        assert is_first == (rank == 0)


@pytest.mark.parametrize("size", range(1, 6))
@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("N", [1, 3, 64, 1001])
def test_sums_are_over_all_rows_of_all_processes(size, each, N):
    rows = np.random.default_rng(N).standard_normal((size * each, N)).astype(np.float32)
    rows *= 10.0 ** np.arange(len(rows))[:, None]
    in_order = rows[0].copy()
    for row in rows[1:]:
        in_order += row

    def work(group):
        return (group.allreduce_in_order(group.share(rows.copy())),
                group.allreduce(group.share(rows.copy())))

    for ordered, quick in in_processes(size, work):
        np.testing.assert_array_equal(ordered, in_order)
        np.testing.assert_allclose(quick, in_order, rtol=1e-5, atol=1e-5 * np.abs(rows).max())


def test_a_sum_of_another_size_or_type_gets_another_buffer():
    def work(group):
        sizes = [(1, 10, "f4"), (1, 25, "f4"), (3, 25, "f4"), (3, 25, "f8"), (1, 10, "f8")]
        return [group.allreduce_in_order(np.ones((s, N), dtype)) for s, N, dtype in sizes]

    for first, *_, last in in_processes(2, work):
        assert (first.dtype, last.dtype) == (np.float32, np.float64)
        np.testing.assert_array_equal(last, np.full(10, 2.0))
    for sums in in_processes(2, work):
        assert [total.shape for total in sums] == [(10,), (25,), (25,), (25,), (10,)]


def test_the_buffers_of_sums_are_reused():
    def work(group):
        return [group.allreduce_in_order(np.ones((2, 9), np.float32)) for _ in range(2)]

    for first, second in in_processes(2, work):
        assert first is second


@pytest.mark.parametrize(("cores", "expected"), [
    ([{0, 1, 2, 3}] * 3, (3, 1)),  # all may use all
    ([{0, 1}, {2, 3}, {4, 5}], (3, 2)),  # bound to their own
    ([{0}, {0}, {0}], (3, 1)),  # more processes than cores
])
def test_cores_are_divided_among_the_processes_of_a_machine(monkeypatch, cores, expected):
    machines = [("here", frozenset(own)) for own in cores]
    machines.insert(1, ("there", frozenset(range(64))))
    monkeypatch.setattr(processes.platform, "node", lambda: "here")
    group = ProcessGroup(SimpleNamespace(rank=2, size=4, allgather=lambda own: machines))
    assert (group.on_this_machine, group.cores) == expected


@pytest.mark.parametrize(("rank", "first_here"), [(0, True), (1, False), (2, True), (3, False)])
def test_each_machine_has_a_first_process(monkeypatch, rank, first_here):
    machines = [(name, frozenset([0])) for name in ("a", "a", "b", "b")]
    monkeypatch.setattr(processes.platform, "node", lambda: machines[rank][0])
    group = ProcessGroup(SimpleNamespace(rank=rank, size=4, allgather=lambda own: machines))
    assert group.first_here == first_here


def test_a_single_process_is_a_group_of_one():
    group, rows = ProcessGroup(Alone()), np.arange(6.0).reshape(3, 2)
    assert (group.rank, group.size, group.is_first, group.on_this_machine) == (0, 1, True, 1)
    assert group.cores == len(machine.affinity())
    assert group.allgather_rows(rows) is rows
    assert group.broadcast("own") == "own"
    assert group.allreduce(rows.copy()).tolist() == [6, 9]
    assert group.allreduce_in_order(rows.copy()).tolist() == [6, 9]


def test_without_a_launcher_the_group_has_one_process(launch, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert processes.join().size == 1
    launch(PMI_RANK="0", PMI_SIZE="1")
    assert processes.join().size == 1


def test_without_mpi4py_the_error_names_what_to_install(launch, monkeypatch):
    launch(PMI_RANK="0", PMI_SIZE="4")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(UsageError, match="a launcher started 4 processes") as error:
        processes.join()
    assert "pip install mpi4py mpich" in str(error.value)


@pytest.mark.parametrize("kind", [ImportError, RuntimeError, OSError])
def test_without_an_mpi_library_the_import_error_is_shown(launch, monkeypatch, kind):
    launch(PMI_RANK="0", PMI_SIZE="4")
    package = ModuleType("mpi4py")
    package.rc = SimpleNamespace()
    importing = builtins.__import__

    def fail(name, *rest):
        if name == "mpi4py" and rest[2]:
            raise kind("no libmpi.so")
        return importing(name, *rest)

    monkeypatch.setitem(sys.modules, "mpi4py", package)
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(UsageError, match=r"finds no MPI library \(no libmpi\.so\)"):
        processes.join()


def test_processes_join_the_world_of_mpi(world):
    world(2, 4, 4)
    group = processes.join()
    assert (group.rank, group.size) == (2, 4)


def test_a_launcher_of_another_mpi_is_refused(world):
    world(0, 4, 1)
    with pytest.raises(UsageError, match="launcher started 4 processes, but MPI finds 1") as error:
        processes.join()
    assert "MPICH Version: 1.0, which is not the launcher's" in str(error.value)
