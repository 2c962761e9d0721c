"""What a run begins with: a new model, its own checkpoint, or that of another run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import charrnn
from charrnn import checkpoint, config, corpus, runtime
from charrnn.checkpoint import Checkpoint, Progress
from charrnn.config import Config
from charrnn.corpus import Reading, Text
from charrnn.errors import CorpusError, UsageError
from charrnn.evaluation import CONTEXT, LANES, WINDOW, resets_in
from charrnn.files import files_of, listed
from charrnn.lanes import Lanes, Resets, split
from charrnn.model import Tape
from charrnn.optim import OPTIMISERS
from charrnn.parallel import Alone, Ranks
from charrnn.parameters import Architecture, Parameters, initialise
from charrnn.randomness import Purpose, generator
from charrnn.request import Request, agree, inherit, keep_inputs
from charrnn.vocabulary import Vocabulary

Array = NDArray[Any]


@dataclass
class Run:
    """Everything that training needs; only ``checkpoint`` changes on the way."""

    config: Config
    path: Path
    text: Text
    lanes: Lanes
    train_chars: int
    val: Array  # what is scored; empty where nothing is held out
    before_val: Array  # what is read before it
    resets: Resets | None  # where in it the network begins anew
    checkpoint: Checkpoint
    memory: int  # bytes that training takes, estimated
    continued: bool  # the checkpoint was there before
    ranks: Ranks
    notes: list[str] = field(default_factory=list)

    @property
    def eval_every(self) -> int:
        """Steps between validations: as set, else so many that they cost little.

        Scoring is more than twice as fast as training; reading five times as much in
        training as in validation keeps the latter below a tenth of the time.
        """
        chars_per_step = self.lanes.T * self.lanes.B
        return self.config.eval_every or max(50, -(-5 * len(self.val) // chars_per_step))

    @property
    def dropout(self) -> float:
        """As set, else 0.3 up to 67,000 characters to learn from, falling to none at 4 million.

        Measured best, beside the default weight decay: 0.25 for 76,000, 0.1 for 300,000, 0 to
        0.02 for 900,000 (docs/experiments.md).
        """
        if self.config.dropout is not None:
            return self.config.dropout
        return round(min(0.3, 20_000 / self.train_chars), 2)

    @property
    def default_steps(self) -> int:
        """The budget of a run that names none: 6,000 steps, at most 30 epochs."""
        return min(6000, 30 * self.lanes.windows)


def prepare(request: Request, ranks: Ranks | None = None) -> Run:
    """Read the texts; begin, continue or inherit; refuse what cannot be done.

    Where several processes train together, all refuse what one of them has to refuse, and
    what they have found has to be the same.
    """
    ranks = ranks or Ranks(Alone())
    run = ranks.agree(lambda: _prepare(request, ranks))
    ranks.alike({
        "version of charrnn": charrnn.__version__,
        "version of NumPy": np.__version__,
        **run.checkpoint.settings,
        "text": run.checkpoint.origin["corpus"],
        "validation text": run.checkpoint.origin["val"],
        "checkpoint to begin from": run.checkpoint.origin["init_from"],
        "checkpoint to go on from": run.checkpoint.digest,
        "number of threads": run.checkpoint.threads,
    })
    return run


def _prepare(request: Request, ranks: Ranks) -> Run:
    keep_inputs(request)
    settings = request.config
    ancestor = checkpoint.load(request.init_from) if request.init_from else None
    if ancestor:
        settings = inherit(request, ancestor)
    text, val_text = _read(request, settings, ancestor, ranks)
    origin = {
        "corpus": text.digest,
        "val": None if val_text is None else val_text.digest,
        "init_from": ancestor.digest if ancestor else None,
    }
    saved = None
    if request.path.exists() and not request.overwrite:
        saved = checkpoint.load(request.path)
        settings = agree(request, settings, saved, origin)

    vocabulary, resets = text.vocabulary, resets_in(dataclasses.asdict(settings), text)
    start = np.array([vocabulary.start], vocabulary.dtype)
    if val_text is not None:
        train, val, before_val = text.ids, val_text.ids, start
        val_resets = resets_in(dataclasses.asdict(settings), val_text)
    else:
        train, val = split(text.ids, settings.val_fraction)
        before_val = np.concatenate([start, train[-CONTEXT:]])
        val_resets = resets and resets.moved(len(train))
    if len(train) < 2:
        held_out = f", of which {len(val):,} are held out" if len(text) > len(train) else ""
        raise CorpusError(f"{text.name} has {len(text):,} characters{held_out}: at least 2 are "
                          "needed to train on")
    lanes = Lanes(train, settings.seq_length, settings.batch_size, resets)
    lanes.check_shares(ranks.size, settings.deterministic)

    arch = checkpoint.architecture(dataclasses.asdict(settings), len(vocabulary))
    slots = OPTIMISERS[settings.optimizer][1]
    memory = memory_needed(arch, lanes, slots, ranks.size) + text.in_memory * text.ids.nbytes
    memory += 0 if val_text is None else val_text.ids.nbytes
    _check_memory(memory * ranks.neighbours, arch)
    if saved is None:
        params = initialise(arch, generator(settings.seed, Purpose.PARAMETERS))
        if ancestor:
            _transplant(ancestor, params, vocabulary)
        saved = Checkpoint(
            settings=dataclasses.asdict(settings),
            changed=list(config.changed(settings)),
            vocabulary=vocabulary,
            best=params.copy(),
            last=params,
            moments=np.zeros((slots, arch.size), arch.dtype),
            state=params.zero_state(lanes.B),
            progress=Progress(),
            corpus=text.name,
            origin=origin,
        )
    run = Run(
        config=settings,
        path=request.path,
        text=text,
        lanes=lanes,
        train_chars=len(train),
        val=val,
        before_val=before_val,
        resets=val_resets,
        checkpoint=saved,
        memory=memory,
        continued=saved.progress.step > 0,
        ranks=ranks,
    )
    _take_notes(run, request)
    _set_workers(run, request.default_threads)
    return run


def _read(
    request: Request, settings: Config, ancestor: Checkpoint | None, ranks: Ranks
) -> tuple[Text, Text | None]:
    """The text and that of ``--val``, in one vocabulary, which has that of ``ancestor``, too."""
    how = Reading(settings.level, settings.encoding, settings.min_count,
                  request.cache or request.path.parent)
    more, val = [corpus.NO_CODES], None
    if ancestor:
        more.append(ancestor.vocabulary.codes)
    if request.val is not None and settings.min_count == 1:
        val = corpus.read([request.val], dataclasses.replace(how, folder=None))
        more.append(val.vocabulary.codes)
    text = _read_together(request.corpora, how, np.unique(np.concatenate(more)), ranks)
    vocabulary = text.vocabulary
    if val is not None:
        ids = vocabulary.lookup(val.vocabulary.codes).astype(vocabulary.dtype)[val.ids]
        val = dataclasses.replace(val, ids=ids, vocabulary=vocabulary)
    elif request.val is not None:  # rare characters are such in the text, not in this one
        val = corpus.read_known([request.val], vocabulary, settings.encoding)
    if val is not None and len(val) == 0:
        raise CorpusError(f"{val.name} is empty: there is nothing to validate on")
    return text, val


def _read_together(paths: Sequence[str], how: Reading, more: Array, ranks: Ranks) -> Text:
    """The text, in every process; a large one is encoded by one of those that share a folder."""
    text = ranks.agree(lambda: corpus.read(paths, how, more) if ranks.first else None)
    if not ranks.share(text is None or text.in_memory):
        # Other machines may see the file that the first process made, or not.
        leads = ranks.leads and not ranks.first
        text = ranks.agree(lambda: corpus.read(paths, how, more) if leads else None) or text
    return text or corpus.read(paths, how, more, verify=False)


def _transplant(ancestor: Checkpoint, params: Parameters, vocabulary: Vocabulary) -> None:
    """Give ``params`` the best weights of ``ancestor``; new characters keep their new rows."""
    rows = vocabulary.lookup(ancestor.vocabulary.codes)
    for name, old in ancestor.best.named.items():
        new = params.named[name]
        if name == "W_xh0" or name == "b_y":
            new[rows] = old
        elif name == "W_hy":
            new[:, rows] = old
        else:
            new[:] = old


def memory_needed(arch: Architecture, lanes: Lanes, slots: int, processes: int = 1) -> int:
    """Bytes for parameters (last, best, gradient, moments, two temporaries) and windows.

    A window of training and one of validation are never in memory together.
    """
    item, B = np.dtype(arch.dtype).itemsize, lanes.B // processes
    training = Tape.entries(arch, lanes.T, B) + lanes.T * B * arch.vocabulary_size
    scoring = Tape.entries(arch, WINDOW, LANES) + 2 * WINDOW * LANES * arch.vocabulary_size
    return item * (arch.size * (5 + slots) + max(training, scoring))


def _check_memory(needed: int, arch: Architecture) -> None:
    available = runtime.available_memory()
    if available is not None and needed > available:
        raise UsageError(
            f"{arch.size:,} parameters need about {needed / 1e9:,.1f} GB of memory and "
            f"{available / 1e9:,.1f} GB are free: choose a smaller --hidden-size, "
            "--layers, --batch-size or --seq-length"
        )


def _take_notes(run: Run, request: Request) -> None:
    """What a user should know before the first step."""
    lanes, settings, text = run.lanes, run.config, run.text
    files = files_of(request.corpora)
    if len(files) > 1:
        run.notes.append(f"{len(files):,} files are read as one text: {listed(files)}")
    if text.unknown:
        run.notes.append(f"{text.unknown:,} characters, each of a kind that occurs less than "
                         f"{settings.min_count} times, are U+FFFD")
    if isinstance(text.ids, np.memmap):
        run.notes.append(f"the text is large: its symbols, {text.ids.nbytes / 1e9:,.1f} GB, are "
                         f"in {text.ids.filename}")
    shrunk = [
        f"{key} shrinks from {asked} to {fits}"
        for key, asked, fits in (("batch_size", settings.batch_size, lanes.B),
                                 ("seq_length", settings.seq_length, lanes.T))
        if fits < asked
    ]
    if shrunk:
        run.notes.append(f"the text is short: {', '.join(shrunk)}")
    if not len(run.val):
        run.notes.append("nothing is held out: no validation, and the last weights are the best")


def _set_workers(run: Run, default_threads: int) -> None:
    """Settle how many threads share the lanes, and say where the last bits will differ.

    A run goes on with the threads it had, unless the settings or the processes are others.
    """
    saved, processes = run.checkpoint, run.ranks.size
    before = saved.threads, saved.processes
    same = run.continued and saved.processes == processes and not run.config.deterministic
    saved.threads = run.config.threads or (saved.threads if same else default_threads)
    saved.processes = processes
    if run.continued and before != (saved.threads, processes) and not run.config.deterministic:
        run.notes.append(
            f"the run so far used {workers(*before)} and now uses "
            f"{workers(saved.threads, processes)}: "
            "the result will not be bit for bit that of one run"
        )


def workers(threads: int, processes: int) -> str:
    """So many threads, of so many processes, in words."""
    some = f"{threads} thread{'s' * (threads > 1)}"
    return some if processes == 1 else f"{processes} processes of {some}"
