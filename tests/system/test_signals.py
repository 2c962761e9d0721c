"""Signals: INT, TERM and HUP request a stop, USR1 requests a save, and none is lost."""

from __future__ import annotations

import os
import signal

import pytest
from interpreter import run_python

from charrnn.system.signals import HANGUP, Signals, from_sums, listening, until_stopped

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX only")
NAMES = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
STOPS = [name for name in NAMES if name != "SIGUSR1"]


@pytest.fixture(autouse=True)
def handlers():
    before = {name: signal.getsignal(getattr(signal, name)) for name in NAMES}
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


@pytest.mark.parametrize("name", STOPS)
def test_int_term_and_hup_request_a_stop(name):
    number = getattr(signal, name)
    with listening() as signals:
        signals.deferred = True
        assert signals.stop is None
        signal.raise_signal(number)
        assert signals.stop == number
        assert not signals.save


@pytest.mark.parametrize("name", STOPS)
def test_while_there_is_nothing_to_save_the_first_signal_exits(name):
    number = getattr(signal, name)
    with pytest.raises(SystemExit) as ended, listening():
        signal.raise_signal(number)
    assert ended.value.code == 128 + number


@POSIX
def test_every_usr1_requests_a_save():
    with listening() as signals:
        assert not signals.save
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGUSR1)
            assert signals.save
            signals.save = False
        assert signals.stop is None


@pytest.mark.parametrize("name", NAMES)
def test_an_ignored_signal_stays_ignored(name):
    number = getattr(signal, name)
    signal.signal(number, signal.SIG_IGN)
    with listening() as signals:
        assert signal.getsignal(number) is signal.SIG_IGN
        signal.raise_signal(number)
        assert signals.stop is None
        assert not signals.save
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("name", NAMES)
def test_the_previous_handlers_are_restored(name):
    number = getattr(signal, name)
    caught = []
    signal.signal(number, lambda number, frame: caught.append(number))
    handler = signal.getsignal(number)
    with pytest.raises(KeyError), listening():
        assert signal.getsignal(number) is not handler
        raise KeyError
    assert signal.getsignal(number) is handler
    signal.raise_signal(number)
    assert caught == [number]


@POSIX
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_int_or_term_exits_immediately(name, code):
    done = run_python(
        "import signal\nfrom charrnn.system.signals import listening\n"
        "with listening() as signals:\n    signals.deferred = True\n"
        f"    signal.raise_signal(signal.SIGINT)\n    print(signals.stop, flush=True)\n"
        f"    signal.raise_signal(signal.{name})\n    print('still here', flush=True)\n"
    )
    assert done.returncode == code
    assert done.stdout.split() == ["2"]
    assert done.stderr == ""


@POSIX
@pytest.mark.parametrize("names", ["HUP HUP", "HUP HUP HUP", "TERM HUP", "HUP TERM", "INT HUP",
                                   "HUP TERM HUP"])
def test_the_signals_of_a_closing_terminal_or_session_cause_no_immediate_exit(names):
    """Kernel, shell and session manager may each send HUP, and also TERM."""
    numbers = [getattr(signal, f"SIG{name}") for name in names.split()]
    with listening() as signals:
        signals.deferred = True
        for number in numbers:
            signal.raise_signal(number)
        assert signals.stop == next((n for n in numbers if n != signal.SIGHUP), signal.SIGHUP)


def test_pending_signals_are_summed_over_processes():
    assert from_sums([0, 0, 0, 0]) == (None, False)
    assert from_sums([0, 2, 0, 0]) == (signal.SIGTERM, False)
    assert from_sums([1, 1, 1, 3]) == (signal.SIGINT, True)
    assert from_sums([0, 0, 1, 0]) == (HANGUP, False)
    signals = Signals()
    assert signals.pending() == (False, False, False, False)
    signals.stop, signals.save = signal.SIGTERM, True
    assert signals.pending() == (False, True, False, True)
    signals.stop = HANGUP
    assert signals.pending() == (False, False, True, True)


def test_a_signal_ends_the_wait_for_the_next_item_and_not_the_work_on_the_last():
    def items():
        yield 1
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the signal ends the wait")

    with listening() as signals:
        assert list(until_stopped(items(), signals)) == [1]
        assert (signals.stop, signals.deferred) == (signal.SIGINT, True)
    with listening() as signals:
        found = until_stopped(iter("ab"), signals)
        signals.deferred = True
        assert next(found) == "a"
        signal.raise_signal(signal.SIGINT)  # deferred, and noticed before the next wait
        assert list(found) == []


def test_only_a_signal_ends_items_without_an_exception():
    def items():
        yield 1
        raise SystemExit(3)

    with listening() as signals, pytest.raises(SystemExit):
        list(until_stopped(items(), signals))
    assert list(until_stopped("ab", signals)) == ["a", "b"]
    assert not signals.deferred
