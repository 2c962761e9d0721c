"""Prepare a new or a resumed run: settings -> text -> split -> batches -> model -> Run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy import ndarray

import charrnn
from charrnn.config.settings import Config
from charrnn.errors import CheckpointError, CorpusError, UsageError
from charrnn.nn.optimizers import OPTIMIZERS
from charrnn.nn.parameters import Architecture, initialize
from charrnn.nn.rng import Purpose, generator
from charrnn.storage import archive
from charrnn.storage import checkpoint as storage
from charrnn.storage.checkpoint import Checkpoint
from charrnn.storage.metadata import Progress
from charrnn.system.files import open_regular
from charrnn.system.machine import available_memory
from charrnn.text import corpus, reader
from charrnn.text.batches import Batches
from charrnn.text.corpus import Text, TextOptions
from charrnn.text.display import count, printable_name
from charrnn.text.split import Split, split, whole
from charrnn.training import defaults
from charrnn.training.memory import Demand
from charrnn.training.notes import take_notes
from charrnn.training.processes import Alone, ProcessGroup, workers
from charrnn.training.resume import (
    check_fits,
    check_inputs_survive,
    digest_of_documents,
    explicit,
    inherit_architecture,
    inherit_weights,
    resume_settings,
    without_fraction,
)
from charrnn.training.run import Request, Run


def prepare(request: Request, processes: ProcessGroup | None = None) -> Run:
    """Read the texts; start, resume or inherit; refuse what cannot be done.

    If several processes train together, all of them raise the error of any one, and an error if
    they have found different texts, settings or versions.
    """
    processes = processes or ProcessGroup(Alone())
    run = processes.together(lambda: _prepare(request, processes))
    processes.check_equal({
        "version of charrnn": charrnn.__version__,
        "version of NumPy": np.__version__,
        **run.checkpoint.settings,
        "text": run.checkpoint.origin["corpus"],
        "division of the text into files": run.checkpoint.documents,
        "validation text": run.checkpoint.origin["val"],
        "checkpoint to start from": run.checkpoint.origin["init_from"],
        "checkpoint to resume": run.checkpoint.digest,
        "number of threads": run.checkpoint.threads,
    })
    return run


def _prepare(request: Request, processes: ProcessGroup) -> Run:
    check_inputs_survive(request)
    exists = request.path.exists()
    if exists and request.overwrite:
        archive.check_replaceable(request.path)
    unused = request.val is not None and request.config.val_fraction is not None
    request = without_fraction(request)
    config, init_from, checkpoint = request.config, None, None
    if request.init_from:
        init_from = storage.load(request.init_from)
        config = inherit_architecture(request, init_from)

    text, val_text = _read_texts(request, config, init_from, processes)
    origin = {
        "corpus": text.digest,
        "val": val_text.digest if val_text else None,
        "init_from": init_from.digest if init_from else None,
    }
    documents = digest_of_documents([text, val_text] if val_text else [text])
    if exists and not request.overwrite:
        checkpoint = _load(request.path)
        config = resume_settings(
            request, config, checkpoint, origin, documents,
            lambda config: _divide(text, val_text, config)[0],
        )
    config, train, validation, batches = _divide(text, val_text, config)
    _check_shares(batches, processes.size, config.deterministic)

    arch = storage.architecture(dataclasses.asdict(config), len(text.vocabulary))
    threads = _threads(config, checkpoint, processes.size, request.default_threads)
    demand = Demand(
        arch, batches, OPTIMIZERS[config.optimizer].moments, threads, processes.size,
        config.deterministic, len(train), len(validation),
        texts=text.in_memory * text.ids.nbytes + (val_text.ids.nbytes if val_text else 0),
        inherited=init_from.nbytes if init_from else 0,
    )
    _check_memory(demand, processes.on_this_machine)
    if checkpoint is None:
        checkpoint = _new_checkpoint(
            config, explicit(request), text, origin, documents, arch, batches.B, init_from
        )
        checkpoint.undecodable += val_text.undecodable if val_text else 0
    else:
        check_fits(request.path, checkpoint, text.vocabulary, batches.B)

    run = Run(
        config=config,
        path=request.path,
        text=text,
        train=train,
        validation=validation,
        batches=batches,
        checkpoint=checkpoint,
        memory=demand.bytes,
        resumed=checkpoint.progress.step > 0,
        processes=processes,
    )
    if init_from and not run.resumed:
        run.notes.append(f"the weights are those of {printable_name(str(request.init_from))}, "
                         f"step {init_from.progress.best_step:,}")
    if unused:
        run.notes.append("val_fraction has no effect with --val")
    if config.patience and not len(validation):
        run.notes.append("patience has no effect without validation")
    take_notes(run, request, val_text)
    _set_workers(run, threads)
    return run


def _load(path: Path) -> Checkpoint:
    """The checkpoint to resume; if it cannot be read, the error has the remedies."""
    try:
        return storage.load(path)
    except CheckpointError as error:
        remedy = "choose another file with -o"
        with suppress(OSError), open_regular(path, follow=True) as file:
            if archive.is_ours(file.read(64)):
                remedy += ", or use --overwrite to replace this one"
        raise CheckpointError(f"{error}; {remedy}") from None


def _read_texts(
    request: Request, config: Config, init_from: Checkpoint | None, processes: ProcessGroup
) -> tuple[Text, Text | None]:
    """The corpus and the text of ``--val`` in one vocabulary, which includes ``init_from``'s."""
    options = TextOptions(config.level, config.encoding, config.min_count,
                          request.cache or request.path.parent, config.errors)
    more, val = [corpus.NO_CODES], None
    if init_from:
        more.append(init_from.vocabulary.codes)
    if request.val is not None and config.min_count == 1:
        val = corpus.read([request.val], dataclasses.replace(options, folder=None))
        more.append(val.vocabulary.codes)
    text = _read_corpus(request.corpora, options, np.unique(np.concatenate(more)), processes)
    vocabulary = text.vocabulary
    if val is not None:
        ids = vocabulary.lookup(val.vocabulary.codes).astype(vocabulary.dtype)[val.ids]
        val = dataclasses.replace(val, ids=ids, vocabulary=vocabulary)
    elif request.val is not None:  # the training text decides which characters are rare
        val = reader.read([request.val], vocabulary, config.encoding, errors=config.errors)
    if val is not None and len(val) == 0:
        raise CorpusError(f"{val.name} is empty: there is nothing to validate on")
    return text, val


def _read_corpus(
    paths: Sequence[str], options: TextOptions, more: ndarray, processes: ProcessGroup
) -> Text:
    """The corpus, in every process; one of those that share a folder encodes a large text.

    At first, only the first process reads it. A large text is then in a file that the others map.
    """
    def read_if(chosen: bool) -> Text | None:
        return processes.together(lambda: corpus.read(paths, options, more) if chosen else None)

    text = read_if(processes.is_first)
    if not processes.broadcast(text is None or text.in_memory):
        # Other machines may or may not see the file that the first process has written.
        text = read_if(processes.first_here and not processes.is_first) or text
    return text or corpus.read(paths, options, more, verify=False)


def _divide(
    text: Text, val_text: Text | None, config: Config
) -> tuple[Config, Split, Split, Batches]:
    """The training and the validation part and the batches, and the settings with the defaults
    that follow from them."""
    config = defaults.before_split(config, len(text), val_text is not None)
    train, validation = _parts(text, val_text, config)
    batches = Batches(train.ids, config.seq_length, config.batch_size, train.resets)
    config = defaults.after_split(config, train, validation, batches, len(text.vocabulary))
    return config, train, validation, batches


def _parts(text: Text, val_text: Text | None, config: Config) -> tuple[Split, Split]:
    """The training and the validation part: of the text, or all of both texts."""
    reset = config.borders == "reset"
    if val_text is not None:
        train, validation = whole(text, reset), whole(val_text, reset)
    else:
        train, validation = split(text, config.val_fraction, reset)
    if len(train) < 2:
        kept = ""
        if len(text) > len(train):
            kept = f", of which {len(validation):,} are for validation"
        raise CorpusError(f"{text.name} has {count(len(text), 'character')}{kept}: at least 2 are "
                          "needed to train on")
    return train, validation


def _check_shares(batches: Batches, processes: int, deterministic: bool) -> None:
    """Raise UsageError unless the batch can be divided equally among the processes."""
    shares, least, why = batches.B, 1, ""
    if deterministic and batches.B % processes == 0:
        shares, least = batches.max_shards, batches.SEQUENCES_PER_SHARD
        many = "s" * (shares > 1)
        why = f", summed in {shares} shard{many} because of --deterministic,"
    if shares % processes:
        raise UsageError(
            f"a batch of {batches.B} sequences{why} cannot be divided evenly among {processes} "
            f"processes: choose a --batch-size that is a multiple of {least * processes}, and a "
            "text that is long enough for it"
        )


def _check_memory(demand: Demand, processes: int) -> None:
    """Raise UsageError if the processes on this machine need more memory than is free."""
    needed, available = demand.bytes * processes, available_memory()
    if available is not None and needed > available:
        raise UsageError(
            f"{demand.arch.size:,} parameters need about {needed / 1e9:,.1f} GB of memory, but "
            f"only {available / 1e9:,.1f} GB is free: choose {demand.remedies()}"
        )


def _new_checkpoint(
    config: Config, named: list[str], text: Text, origin: dict[str, str | None], documents: str,
    arch: Architecture, B: int, init_from: Checkpoint | None,
) -> Checkpoint:
    """A new run before its first step."""
    params = initialize(arch, generator(config.seed, Purpose.PARAMETERS))
    if init_from:
        inherit_weights(params, text.vocabulary, init_from)
    return Checkpoint(
        settings=dataclasses.asdict(config),
        explicit=named,
        vocabulary=text.vocabulary,
        best=params.copy(),
        last=params,
        moments=np.zeros((OPTIMIZERS[config.optimizer].moments, arch.size), arch.dtype),
        state=params.zero_state(B),
        progress=Progress(),
        corpus=text.name,
        origin=origin,
        documents=documents if config.borders == "reset" else None,
        undecodable=text.undecodable,
    )


def _threads(
    config: Config, checkpoint: Checkpoint | None, processes: int, default_threads: int
) -> int:
    """How many threads share the batch: a run resumes with as many as it had, unless the setting
    or the number of processes has changed."""
    resumed = checkpoint is not None and checkpoint.progress.step > 0
    if checkpoint and resumed and checkpoint.processes == processes and not config.deterministic:
        return config.threads or checkpoint.threads
    return config.threads or default_threads


def _set_workers(run: Run, threads: int) -> None:
    """Store how many threads share the batch, with a note if the last bits will differ."""
    checkpoint, processes = run.checkpoint, run.processes.size
    before = checkpoint.threads, checkpoint.processes
    checkpoint.threads, checkpoint.processes = threads, processes
    if run.resumed and before != (threads, processes) and not run.config.deterministic:
        run.notes.append(
            f"the run so far used {workers(*before)} and now uses {workers(threads, processes)}: "
            "the result will differ in its last bits from that of an uninterrupted run"
        )
