"""Fixtures for tests of more than one sub-package."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import signal
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from fake_mpi import World
from hypothesis import settings

from charrnn.storage import archive
from charrnn.system.launcher import LAUNCHERS

# How the tests were started must not affect the processes that they start. Signals that nohup or a
# shell has set to be ignored are ignored here by a handler instead, which children do not inherit.
for number in {getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")}:
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda number, frame: None)
for name in ("CHARRNN_CHECKPOINT", *itertools.chain.from_iterable(LAUNCHERS)):
    os.environ.pop(name, None)

settings.register_profile("charrnn", deadline=None, derandomize=True)
settings.load_profile("charrnn")


def sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).hexdigest().encode()


@pytest.fixture(scope="session")
def reseal() -> Callable[[bytes], bytes]:
    """Replace the digest of an archive, whose bytes were changed, by a valid one."""
    return lambda data: sealed(data[: -archive.DIGITS])


@pytest.fixture(scope="session")
def forge() -> Callable[..., None]:
    """Write a zip of (name, bytes) with a valid digest, as an attacker could."""

    def forge(
        path: Path, members: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED
    ) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as file:
            for name, data in members:
                file.writestr(zipfile.ZipInfo(name), data, compression)
            file.comment = b"0" * archive.DIGITS
        path.write_bytes(sealed(buffer.getvalue()[: -archive.DIGITS]))

    return forge


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the given environment variables of launchers, and unset all others of them."""

    def launch(**variables: str) -> None:
        for pair in LAUNCHERS:
            for name in pair:
                monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    launch()
    return launch


@pytest.fixture
def world(
    launch: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., World | None]:
    """Simulate a launcher of ``size`` processes and MPI with ``found`` of them, None: no mpi4py."""

    def world(rank: int, size: int, found: int | None) -> World | None:
        launch(PMI_RANK=str(rank), PMI_SIZE=str(size))
        package = MPI = None
        if found:
            package, MPI = ModuleType("mpi4py"), World(rank, found)
            package.rc, package.MPI = SimpleNamespace(), MPI
        monkeypatch.setitem(sys.modules, "mpi4py", package)
        monkeypatch.setitem(sys.modules, "mpi4py.MPI", MPI)
        return MPI

    return world
