"""``charrnn.train``: a run like that of the command, with exceptions instead of exit codes."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

from charrnn.api.bar import TrainingBar
from charrnn.api.blas import may_oversubscribe, one_blas_thread, own_threads
from charrnn.api.model import Model, load
from charrnn.api.spelling import in_arguments
from charrnn.config.parsing import nearest, parse, quoted, resolve
from charrnn.config.settings import FIELDS, TYPES, Value
from charrnn.errors import UsageError
from charrnn.system.lock import locked
from charrnn.system.signals import Signals
from charrnn.training import loop
from charrnn.training.prepare import prepare
from charrnn.training.run import Request, checkpoint_path

AnyPath: TypeAlias = str | os.PathLike[str]


def train(
    paths: AnyPath | Sequence[AnyPath],
    out: AnyPath | None = None,
    *,
    val: AnyPath | None = None,
    init_from: AnyPath | None = None,
    config: AnyPath | None = None,
    cache: AnyPath | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Model:
    """Train on the files and folders ``paths``, as ``charrnn train`` does, and return the model.

    ``out`` is the checkpoint, by default checkpoints/NAME.npz. If it already holds this run, the
    run resumes, or is just loaded if it is complete. A checkpoint of another run raises
    UsageError, unless ``overwrite``. ``config`` is a YAML file of settings, which ``settings``
    override; None means not set.

    Shows a progress bar and notes on standard error, unless ``progress`` is false. Ctrl-C, or the
    interrupt button of a notebook, saves and then raises KeyboardInterrupt; the same call
    resumes. Raises CharrnnError: see docs/python.md.
    """
    with in_arguments():
        request = _request(paths, out, val, init_from, config, cache, overwrite, settings)
        name = request.path.stem
        with interruptible() as signals, locked(request.path), one_blas_thread:
            run = prepare(request)
            if may_oversubscribe(run.checkpoint.threads):
                warnings.warn(
                    f"BLAS may start its own threads in each of {run.checkpoint.threads} threads, "
                    "which is very slow: set OMP_NUM_THREADS=1 before NumPy is imported",
                    stacklevel=2)
            with TrainingBar(name) if progress else nullcontext() as bar:
                for event in loop.train(run, signals):
                    if bar is not None:
                        bar.show(event)
        if signals.stop is not None:
            raise KeyboardInterrupt
        return load(request.path)


def _request(
    paths: AnyPath | Sequence[AnyPath], out: AnyPath | None, val: AnyPath | None,
    init_from: AnyPath | None, config: AnyPath | None, cache: AnyPath | None, overwrite: bool,
    settings: Mapping[str, Any],
) -> Request:
    """The request that the command line would make."""
    texts = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    corpora = [os.fspath(path) for path in texts]
    if not corpora:
        raise UsageError("there is no text to train on: name a file or a folder")
    if "-" in (*corpora, val):
        raise UsageError("charrnn.train reads files and folders, not standard input")
    file: Mapping[str, Value] = {}
    if config is not None:
        from charrnn.config.yaml_file import read_yaml  # and with it yaml, only where needed

        file = read_yaml(os.fspath(config))
    given = {key: _value(key, value) for key, value in settings.items() if value is not None}
    return Request(
        corpora,
        checkpoint_path(None if out is None else os.fspath(out), corpora),
        resolve(file, given),
        frozenset(file) | frozenset(given),
        val=None if val is None else os.fspath(val),
        init_from=None if init_from is None else Path(init_from),
        overwrite=overwrite,
        config_file=None if config is None else os.fspath(config),
        default_threads=own_threads(),
        cache=None if cache is None else Path(cache),
    )


def _value(key: str, value: Any) -> Value:
    """The setting ``key`` from a Python or NumPy value; UsageError if it is not allowed."""
    if key not in FIELDS:
        raise UsageError(f"{quoted(key)} is not a setting{nearest(key, FIELDS)}")
    value = value.item() if hasattr(value, "item") else value  # a scalar of NumPy
    if not isinstance(value, (bool, int, float, str)):
        raise UsageError(f"{key} takes a single value, not {type(value).__name__}")
    if isinstance(value, float) and value.is_integer() and TYPES[key] in (int, int | None):
        value = int(value)  # as in steps=1e4
    text = str(value).lower() if isinstance(value, bool) else str(value)
    try:
        return parse(key, text)
    except UsageError as error:
        raise UsageError(f"{key}: {error}") from None


class Interrupts(Signals):
    """Ctrl-C in the caller's process, which must neither exit nor be killed.

    The first one takes effect when the step is done and the run is saved. The second one, or one
    before there is anything to save, raises KeyboardInterrupt at once.
    """

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.stop is not None or not self.deferred:
            raise KeyboardInterrupt
        self.stop = number


@contextmanager
def interruptible() -> Iterator[Interrupts]:
    """Handle Ctrl-C for the run inside, which is possible only in the main thread.

    The previous handler is restored. If Ctrl-C is ignored, or handled outside Python, nothing
    changes.
    """
    signals, before = Interrupts(), signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()  # others get no signals
    keeps = is_main and before not in (signal.SIG_IGN, None)
    try:
        if keeps:
            signal.signal(signal.SIGINT, signals.on_interrupt)
        yield signals
    finally:
        if keeps:
            signal.signal(signal.SIGINT, before)
