"""The command line: parse, call, print; nothing else.

Results go to standard output, everything else to standard error. NumPy, and what needs it,
is imported inside the commands: ``--help`` is quick, and the threads of BLAS can be settled
before it starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

import charrnn
from charrnn import config, runtime
from charrnn.cli_eval import evaluate
from charrnn.cli_report import report
from charrnn.console import TextOutput, is_terminal, say, write
from charrnn.errors import CorpusError, UsageError
from charrnn.options import (
    TEXTS,
    Argument,
    FiniteRange,
    GroupedCommand,
    checkpoint_option,
    newest_checkpoint,
    setting_options,
    start_numpy,
    unknown_option,
)

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(invoke_without_command=True, context_settings=CONTEXT)
@click.version_option(charrnn.__version__, prog_name="charrnn")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Train character-level recurrent networks on any text, sample from them, score with them.

    \b
    charrnn train corpus.txt        learn; Ctrl-C saves, the same command goes on
    charrnn sample --prime hel      write
    charrnn eval other.txt          how well is a text predicted?
    """
    if context.invoked_subcommand is None:
        say(context.get_help())
        context.exit(2)


@setting_options
@cli.command(cls=GroupedCommand)
@click.argument("corpus", nargs=-1, required=True, type=TEXTS)
@click.option("-c", "--config", "config_file", type=click.Path(), metavar="FILE",
              help="YAML file of settings; options override it.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE",
              help="The checkpoint.  [default: checkpoints/CORPUS.npz]")
@click.option("--val", type=TEXTS, metavar="FILE",
              help="Validate on this text instead of on the corpus's tail.")
@click.option("--init-from", type=click.Path(path_type=Path), metavar="FILE",
              help="Begin with the best weights of this checkpoint.")
@click.option("--cache", type=click.Path(path_type=Path), metavar="FOLDER",
              help="For the encoded form of texts above 128 MB.  [default: where FILE of -o is]")
@click.option("--overwrite", is_flag=True, help="Replace a checkpoint of another run.")
@click.option("--dry-run", is_flag=True,
              help="Say what would be trained, and stop; a large text is encoded all the same.")
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON lines.")
@click.option("--quiet", is_flag=True, help="Show errors only.")
def train(
    corpus: tuple[str, ...], config_file: str | None, out: Path | None, val: str | None,
    init_from: Path | None, cache: Path | None, overwrite: bool, dry_run: bool, as_json: bool,
    quiet: bool, **options: config.Value,
) -> int:
    """Learn to predict the next character of CORPUS: text files, folders of them, or - for stdin.

    Several are read as one text in the order given, the files of a folder by name; .gz, .xz
    and .bz2 are unpacked.

    The checkpoint is the whole run: the same command continues an interrupted run where it
    was stopped, and does nothing when there is nothing left to do.
    """
    if corpus.count("-") + (val == "-") > 1:
        raise UsageError("standard input can be read only once")
    file = {}
    if config_file:
        from charrnn.configfile import read_yaml  # and with it yaml, only where there is one

        file = read_yaml(config_file)
    given = {key: value for key, value in options.items() if value is not None}
    settings = config.resolve(file, given)
    allowed = runtime.allowed_threads()
    start_numpy()
    path = out or default_checkpoint(corpus)

    from charrnn import lock, parallel, preparation, training
    from charrnn import report as reporting
    from charrnn.events import End
    from charrnn.request import Request

    ranks = parallel.join()
    if ranks.size > 1 and "-" in (*corpus, val):
        raise UsageError(f"standard input reaches one of {ranks.size} processes: name a file")
    listeners: list[Callable[[Any], None]] = []
    terminal = reporting.Terminal(quiet)
    if ranks.first:
        listeners.append(terminal.show)
    if ranks.first and as_json:
        listeners.append(reporting.json_lines(write))
    request = Request(
        corpus, path, settings, frozenset(file) | frozenset(given), val, init_from, overwrite,
        config_file, ranks.share(allowed or ranks.cores), cache,
    )
    if dry_run:
        lock.check_writable(path)
        run = preparation.prepare(request, ranks)
        training.budget(run)
        start = training.start(run)
        for listener in listeners:
            listener(start)
        if ranks.first:
            terminal.dry_run(start)
        return 0
    with ExitStack() as stack:
        signals = stack.enter_context(runtime.listening())
        if ranks.first:  # which alone writes
            stack.enter_context(lock.locked(path))
        for event in training.train(preparation.prepare(request, ranks), signals):
            for listener in listeners:
                listener(event)
    return 128 + event.signal if isinstance(event, End) and event.signal is not None else 0


def default_checkpoint(corpora: tuple[str, ...]) -> Path:
    """checkpoints/CORPUS.npz, named after the first text and the number of the others."""
    from charrnn.files import is_compressed

    first = Path(os.path.abspath(corpora[0]))
    stem = "stdin" if corpora[0] == "-" else first.name if first.is_dir() else first.stem
    if is_compressed(first.name) and not first.is_dir():
        stem = Path(stem).stem
    more = f"+{len(corpora) - 1}" if len(corpora) > 1 else ""
    return Path("checkpoints") / f"{stem}{more}.npz"


@cli.command()
@checkpoint_option
@click.option("--prime", type=Argument(), metavar="TEXT",
              help="What the sample begins with.")
@click.option("--prime-file", type=TEXTS, metavar="FILE",
              help="The same from a file or -, which need not end.")
@click.option("--length", type=click.IntRange(0), default=1000, show_default=True,
              metavar="INTEGER",
              help="New characters.")
@click.option("--temperature", type=FiniteRange(0), default=1.0, show_default=True,
              metavar="NUMBER",
              help="Below 1 plays safe, above 1 takes risks; 0 takes the likeliest.")
@click.option("--top-k", type=click.IntRange(0), default=0, metavar="K",
              help="Draw among the K likeliest; 0 is off.")
@click.option("--top-p", type=FiniteRange(0, 1, min_open=True), default=1.0, metavar="P",
              help="Draw among the likeliest that reach P together; 1 is off.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="INTEGER",
              help="Same seed, same sample.  [default: a new one, shown]")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True,
              metavar="INTEGER",
              help="Samples, each ending with a line end.")
@click.option("--stop", type=Argument(), metavar="TEXT",
              help="End a sample before this text.")
@click.option("--novelty", type=TEXTS, metavar="FILE",
              help="Say on standard error what of the samples stands in this text word for word.")
@unknown_option
def sample(
    checkpoint: Path | None, prime: str | None, prime_file: str | None, length: int,
    temperature: float, top_k: int, top_p: float, seed: int | None, count: int,
    stop: str | None, novelty: str | None, unknown: str,
) -> None:
    """Write text, character by character, as it is generated."""
    if prime is not None and prime_file is not None:
        raise UsageError("--prime and --prime-file both say what to begin with; give one")
    if prime_file == novelty == "-":
        raise UsageError("standard input can be read only once")
    path = checkpoint or newest_checkpoint()
    threads = runtime.default_threads()
    start_numpy()

    import numpy as np

    from charrnn import corpus, sampling
    from charrnn.checkpoint import load
    from charrnn.vocabulary import Vocabulary

    run = load(path)
    vocabulary, skip = run.vocabulary, unknown == "skip"
    stop_ids = None
    encoding = str(run.settings["encoding"])
    beginning: Iterable[Any]
    if prime_file is not None:
        beginning = corpus.Pieces([prime_file], vocabulary, encoding, skip)
    else:
        try:
            beginning = [vocabulary.encode_text(prime or "", skip)]
        except CorpusError as error:
            raise UsageError(f"the prime: {error}") from None
    text = None
    if novelty is not None:
        text = corpus.read_known([novelty], vocabulary, encoding, True, path.parent)
    if stop:
        try:
            stop_ids = Vocabulary(vocabulary.codes, vocabulary.level).encode_text(stop)
        except CorpusError as error:
            reason = str(error).partition(";")[0]
            raise UsageError(f"--stop would never stop a sample: {reason}") from None
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little")
    say(f"{path}, seed {seed}")
    output = TextOutput(write, is_terminal(), vocabulary)
    again: list[Any] = []  # the prime, where it is to be written more than once

    def reading() -> Iterator[Any]:
        """The prime, which is written as it is read: it need not end."""
        yield np.array([vocabulary.start])
        try:
            for piece in beginning:
                output.write(piece)
                if count > 1:
                    again.append(piece)
                yield piece
        except CorpusError as error:
            raise UsageError(f"the prime: {error}") from None

    pieces = sampling.samples(
        run.best, reading(), count=count, length=length, seed=seed,
        temperature=temperature, top_k=top_k, top_p=top_p, stop=stop_ids, threads=threads,
    )
    written: list[list[Any]] = []  # what is new in each sample, where novelty is asked for
    current = -1
    for number, piece in pieces:
        if number != current:
            if current >= 0:
                output.end_line()
                for part in again:
                    output.write(part)
            current = number
            written.append([])
        output.write(piece)
        if text is not None:
            written[-1].append(piece)
    if count > 1 or output.terminal:
        output.end_line()
    output.flush()
    if text is not None:
        from charrnn.novelty import copied_lines

        for line in copied_lines([np.concatenate(each) for each in written], text, vocabulary):
            say(line)


cli.add_command(evaluate)
cli.add_command(report)
