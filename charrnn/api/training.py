"""``charrnn.train``: a run like that of the command, with exceptions instead of exit codes."""

from __future__ import annotations

import inspect
import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from charrnn.api import arguments
from charrnn.api.arguments import AnyPath
from charrnn.api.bar import TrainingBar
from charrnn.api.blas import may_oversubscribe, one_blas_thread, own_threads
from charrnn.api.lookup import find_checkpoint
from charrnn.api.model import Model, load
from charrnn.api.spelling import in_arguments
from charrnn.config.parsing import nearest, normal, parse, quoted, resolve
from charrnn.config.settings import FIELDS, TYPES, Value
from charrnn.config.synonyms import KINDS_OF_MODEL, NOT_SETTINGS
from charrnn.errors import UsageError
from charrnn.system import machine, resources
from charrnn.system.lock import locked
from charrnn.system.signals import Signals
from charrnn.training import loop
from charrnn.training.prepare import prepare
from charrnn.training.run import Request, checkpoint_path

SYNONYMS = {"verbose": "progress", "quiet": "progress", "silent": "progress"}


def train(
    paths: AnyPath | Iterable[AnyPath],
    *,
    out: AnyPath | None = None,
    val: AnyPath | None = None,
    init_from: AnyPath | Model | None = None,
    config: AnyPath | None = None,
    cache: AnyPath | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **settings: Any,
) -> Model:
    """Train on a text, as ``charrnn train`` does, and return the model that results.

    ``paths`` is a file or a folder, or a list of them that is read as one text; files that end in
    .gz, .xz or .bz2 are decompressed. ``out`` is the checkpoint, by default checkpoints/NAME.npz.
    If it already holds this run, the run resumes, or is only loaded if it has ended; another run
    is refused unless ``overwrite`` is true. ``val`` is a file to validate on instead of the end
    of the text. The run starts from the weights of ``init_from``, a checkpoint or a Model.
    ``cache`` is a folder for the encoded form of texts above 128 MB.

    ``settings`` are those that ``charrnn train --help`` lists, with underscores: ``steps=1000``,
    ``hidden_size=128``, ``learning_rate=0.002``. None means not set. They override those of
    ``config``, a YAML file or the name of a preset.

    Shows a progress bar and notes on standard error, unless ``progress`` is false. Ctrl-C or
    the interrupt button of a notebook saves the run and then raises KeyboardInterrupt; the same
    call resumes it.

    Raises UsageError for a wrong argument and for the checkpoint of another run, CorpusError for
    a text that cannot be trained on, CheckpointError for a damaged checkpoint, LockedError while
    another process writes it, and DivergedError. All are CharrnnErrors. An argument of the wrong
    type is a TypeError.
    """
    with in_arguments():
        request = _request(paths, out, val, init_from, config, cache, overwrite, settings)
        with interruptible() as signals, locked(request.path):
            one_blas_thread.run(lambda: _run(request, signals, progress))
        if signals.stop is not None:
            raise KeyboardInterrupt
        return load(request.path)


def example() -> str:
    """The path of the example text, a short play: ``charrnn.train(charrnn.example())``."""
    return str(resources.example())


def _run(request: Request, signals: Signals, progress: bool) -> None:
    run = prepare(request)
    if may_oversubscribe(run.checkpoint.threads):
        warnings.warn(
            f"BLAS may start threads in each of the {run.checkpoint.threads} threads, "
            "which is very slow: set OMP_NUM_THREADS=1 before NumPy is imported",
            stacklevel=5)  # where train was called
    with TrainingBar(request.path.stem) if progress else nullcontext() as bar:
        for event in loop.train(run, signals):
            if bar is not None:
                bar.show(event)


def _request(
    paths: Any, out: Any, val: Any, init_from: Any, config: Any, cache: Any, overwrite: Any,
    settings: Mapping[str, Any],
) -> Request:
    """The request that the command line would make."""
    def path(name: str, value: Any) -> str | None:
        return None if value is None else arguments.path(name, value)

    corpora = arguments.paths(paths)
    val = None if val is None else arguments.text_path("val", val)
    if "-" in (*corpora, val):
        raise UsageError("charrnn.train reads files and folders, not standard input")
    if isinstance(init_from, Model) and len(init_from.members) > 1:
        raise UsageError("init_from is the average of several models, which has no weights: use "
                         "one of its members")
    start = path("init_from", init_from.path if isinstance(init_from, Model) else init_from)
    folder, config_file = path("cache", cache), path("config", config)
    file: Mapping[str, Value] = {}
    if config_file is not None:
        from charrnn.config import yaml_file  # and with it yaml, only where needed

        config_file = yaml_file.config_file(config_file)
        file = yaml_file.read_yaml(config_file)
    given = {key: _value(key, value) for key, value in settings.items() if value is not None}
    return Request(
        corpora,
        checkpoint_path(path("out", out), corpora),
        resolve(file, given),
        frozenset(file) | frozenset(given),
        val=val,
        init_from=None if start is None else find_checkpoint(Path(start)),
        overwrite=arguments.boolean("overwrite", overwrite),
        config_file=config_file,
        default_threads=own_threads(machine.TRAINING_THREADS),
        cache=None if folder is None else Path(folder),
    )


def _value(key: str, value: Any) -> Value:
    """The setting ``key`` from a Python or NumPy value; UsageError if it is not allowed."""
    if key not in FIELDS:
        if normal(key) in KINDS_OF_MODEL:
            raise UsageError(f"{quoted(key)} {NOT_SETTINGS[normal(key)]}")
        known = [*FIELDS, *inspect.signature(train).parameters]
        raise UsageError(f"{quoted(key)} is not a setting{nearest(SYNONYMS.get(key, key), known)}")
    if key == "dtype" and isinstance(value, (type, np.dtype)):
        value = np.dtype(value).name
    value = arguments.scalar(value)
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
