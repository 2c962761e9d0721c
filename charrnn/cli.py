"""The command line: parse, call, print; nothing else.

Results go to standard output, everything else to standard error. NumPy, and what needs it,
is imported inside the commands: ``--help`` is quick, and the number of BLAS threads can be
settled before BLAS starts.
"""

from __future__ import annotations

import math
import os
import secrets
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click

import charrnn
from charrnn import config, runtime
from charrnn.errors import CharrnnError, CorpusError, UsageError

if TYPE_CHECKING:
    ParamType = click.ParamType[config.Value]
else:
    ParamType = click.ParamType  # not generic before click 8.2


class SettingType(ParamType):
    """A value that ``config`` parses, so that options and YAML mean the same."""

    def __init__(self, key: str) -> None:
        self.key = key
        kind = config.FIELDS[key].type
        self.choices = config.FIELDS[key].metadata["choices"]
        self.name = "text" if kind == "str" else "integer" if "int" in str(kind) else "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return config.parse(self.key, value)
        except UsageError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join(self.choices) if self.choices else self.name.upper()

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(c) for c in self.choices if c.startswith(incomplete)]


class SettingOption(click.Option):
    """An option that belongs to a group of the help."""

    group: str


def setting_options(command: click.Command) -> click.Command:
    """Give a command one option per setting."""
    for key, field in config.FIELDS.items():
        default = field.default
        shown = "" if default is None else f"  [default: {default}]"
        option = SettingOption([config.option(key)], type=SettingType(key),
                               help=field.metadata["help"] + shown)
        option.group = field.metadata["group"]
        command.params.append(option)
    return command


class GroupedCommand(click.Command):
    """A command whose help shows the options of each group together."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record:
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(charrnn.__version__, prog_name="charrnn")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Train character-level recurrent networks on any text, sample from them, score with them.

    \b
    charrnn train corpus.txt        learn; Ctrl-C saves, the same command goes on
    charrnn sample --prime hel      write
    charrnn eval other.txt          how well is a text predicted?
    """


TEXTS = click.Path(allow_dash=True)  # that they exist is said where they are opened


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
@click.option("--overwrite", is_flag=True, help="Replace a checkpoint of another run.")
@click.option("--dry-run", is_flag=True, help="Say what would be trained, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON lines.")
@click.option("--quiet", is_flag=True, help="Show errors only.")
def train(
    corpus: tuple[str, ...], config_file: str | None, out: Path | None, val: str | None,
    init_from: Path | None, overwrite: bool, dry_run: bool, as_json: bool, quiet: bool,
    **options: config.Value,
) -> None:
    """Learn to predict the next character of CORPUS: one or more text files, or - for stdin.

    The checkpoint is the whole run: the same command continues an interrupted run where it
    was stopped, and does nothing when there is nothing left to do.
    """
    if corpus.count("-") + (val == "-") > 1:
        raise UsageError("standard input can be read only once")
    file = config.read_yaml(config_file) if config_file else {}
    given = {key: value for key, value in options.items() if value is not None}
    settings = config.resolve(file, given)
    path = out or default_checkpoint(corpus)
    stored = None if overwrite else runtime.stored_threads(path)
    threads = settings.threads or stored or runtime.default_threads()
    start_numpy(threads)

    from charrnn import archive, preparation, report, training
    from charrnn.events import End

    terminal = report.Terminal(quiet)
    listeners: list[Callable[[Any], None]] = [terminal.show]
    if as_json:
        listeners.append(report.json_lines(write))
    request = preparation.Request(corpus, path, settings, frozenset(file) | frozenset(given), val,
                                  init_from, overwrite, threads)
    if dry_run:
        archive.check_writable(path)
        for listener in listeners:
            listener(training.start(preparation.prepare(request)))
        return
    with runtime.listening() as signals, archive.locked(path):
        for event in training.train(preparation.prepare(request), signals):
            for listener in listeners:
                listener(event)
    if isinstance(event, End) and event.signal is not None:
        sys.exit(128 + event.signal)


def default_checkpoint(corpora: tuple[str, ...]) -> Path:
    """checkpoints/CORPUS.npz, named after the first text and the number of the others."""
    stem = "stdin" if corpora[0] == "-" else Path(corpora[0]).stem
    more = f"+{len(corpora) - 1}" if len(corpora) > 1 else ""
    return Path("checkpoints") / f"{stem}{more}.npz"


class Temperature(click.FloatRange):
    """A finite number of at least 0; click's own range lets nan and infinity pass."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


def checkpoint_option(command: Any) -> Any:
    return click.option(
        "-m", "--checkpoint", type=click.Path(path_type=Path), metavar="FILE",
        help="The model.  [default: $CHARRNN_CHECKPOINT, else the newest in checkpoints/]",
    )(command)


def unknown_option(command: Any) -> Any:
    return click.option(
        "--unknown", type=click.Choice(["error", "skip"]), default="error", show_default=True,
        help="What to do about characters the model has never seen.",
    )(command)


@cli.command()
@checkpoint_option
@click.option("--prime", default=None, metavar="TEXT", help="What the sample begins with.")
@click.option("--prime-file", type=TEXTS, metavar="FILE", help="The same from a file, or -.")
@click.option("--length", type=click.IntRange(0), default=1000, show_default=True,
              help="New characters.")
@click.option("--temperature", type=Temperature(0), default=1.0, show_default=True,
              help="Below 1 plays safe, above 1 takes risks; 0 takes the likeliest.")
@click.option("--top-k", type=click.IntRange(0), default=0, metavar="K",
              help="Draw among the K likeliest; 0 is off.")
@click.option("--top-p", type=Temperature(0, 1, min_open=True), default=1.0, metavar="P",
              help="Draw among the likeliest that reach P together; 1 is off.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=None,
              help="Same seed, same sample.  [default: a new one, shown]")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True,
              help="Samples, each ending with a line end.")
@click.option("--stop", default=None, metavar="TEXT", help="End a sample before this text.")
@unknown_option
def sample(
    checkpoint: Path | None, prime: str | None, prime_file: str | None, length: int,
    temperature: float, top_k: int, top_p: float, seed: int | None, count: int,
    stop: str | None, unknown: str,
) -> None:
    """Write text, character by character, as it is generated."""
    if prime is not None and prime_file is not None:
        raise UsageError("--prime and --prime-file both say what to begin with; give one")
    path = checkpoint or newest_checkpoint()
    start_numpy(1)  # a product of a vector is too small to share

    import numpy as np

    from charrnn import corpus, report, sampling
    from charrnn.checkpoint import load

    run = load(path)
    vocabulary, skip = run.vocabulary, unknown == "skip"
    try:
        if prime_file is not None:
            first = corpus.read_known([prime_file], vocabulary, str(run.settings["encoding"]), skip)
            ids = first.ids
        else:
            ids = vocabulary.encode_text(prime or "", skip)
        stop_ids = vocabulary.encode_text(stop) if stop else None
    except CorpusError as error:
        raise UsageError(f"the prime or --stop: {error}") from None
    if seed is None:
        seed = secrets.randbits(32)
    say(f"{path}, seed {seed}")
    output = report.TextOutput(stdout(), vocabulary)
    pieces = sampling.samples(
        run.best, np.concatenate([[vocabulary.start], ids]), count=count, length=length, seed=seed,
        temperature=temperature, top_k=top_k, top_p=top_p, stop=stop_ids,
    )
    current = -1
    for number, piece in pieces:
        if number != current:
            if current >= 0:
                output.end_line()
            output.write(ids)
            current = number
        output.write(piece)
    if count > 1 or output.terminal:
        output.end_line()
    output.flush()


@cli.command("eval")
@click.argument("text", nargs=-1, required=True, type=TEXTS)
@checkpoint_option
@click.option("--split", type=click.Choice(["all", "train", "val"]), default=None,
              help="Which part; train and val need the corpus of the run.  [default: all]")
@unknown_option
@click.option("--per-line", is_flag=True,
              help="A line for each line: bits/char, characters, nats, text; tabs between.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def evaluate(
    text: tuple[str, ...], checkpoint: Path | None, split: str | None, unknown: str,
    per_line: bool, as_json: bool,
) -> None:
    """Say how well TEXT is predicted: one or more files as one text, or - for stdin."""
    path = checkpoint or newest_checkpoint()
    if per_line and split:
        raise UsageError("--per-line scores every line; it has no --split")
    start_numpy(runtime.default_threads())

    from charrnn import corpus, evaluation, preparation, report
    from charrnn.checkpoint import load

    run = load(path)
    skip = unknown == "skip"
    say(f"{path}, step {run.progress.best_step:,}")
    encoding = str(run.settings["encoding"])
    if per_line:
        lines = list(corpus.read_lines(text, run.vocabulary, encoding, skip))
        scores = evaluation.score_lines(run.best, [ids for _, ids, _ in lines],
                                        run.vocabulary.start)
        for (line, _, missing), score in zip(lines, scores, strict=True):
            write(report.line_score(line, score, missing, as_json))
        return
    whole = corpus.read_known(text, run.vocabulary, encoding, skip)
    part, before = preparation.part_of(run, whole, split)
    if len(part) == 0:
        raise CorpusError(f"{whole.name}: there is nothing to score")
    score = evaluation.score(run.best, part, before)
    write(report.score_line(score, whole, split or "all", path, as_json))


def newest_checkpoint() -> Path:
    """The checkpoint meant when none is named."""
    named = os.environ.get("CHARRNN_CHECKPOINT")
    if named:
        return Path(named)
    found = [(path.stat().st_mtime_ns, path) for path in Path("checkpoints").glob("*.npz")]
    if not found:
        raise UsageError("there is no checkpoint in checkpoints/: train one, or name it with -m")
    return max(found)[1]


def start_numpy(threads: int) -> None:
    """Settle the threads of BLAS, which reads them from the environment when it loads."""
    if "numpy" not in sys.modules:
        runtime.use_threads(threads)


def say(text: str) -> None:
    """A line for people, on standard error."""
    if sys.stderr is not None:
        print(text, file=sys.stderr, flush=True)


def stdout() -> BinaryIO:
    """Standard output for bytes: text is UTF-8 whatever the locale says."""
    if sys.stdout is None:
        raise CharrnnError("standard output is closed")
    sys.stdout.flush()
    return sys.stdout.buffer


def write(data: bytes) -> None:
    """A result, on standard output."""
    out = stdout()
    out.write(data)
    out.flush()


def main() -> NoReturn:
    """The console entry point: run a command and turn what it raises into one line."""
    debug = "--debug" in sys.argv[1:2]
    code = 0
    try:
        code = cli.main(prog_name="charrnn", standalone_mode=False) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "charrnn"
        say(f"{command}: {one_line(error.format_message())} (see {command} --help)")
        code = error.exit_code
    except CharrnnError as error:
        if debug:
            traceback.print_exc()
        say(f"charrnn: {one_line(str(error))}")
        code = error.exit_code
    except BrokenPipeError:  # the reader, such as head, has enough
        silence_stdout()
    except (KeyboardInterrupt, click.Abort):
        silence_stdout()
        code = 130
    except OSError as error:
        silence_stdout()
        say(f"charrnn: {one_line(str(error))}")
        code = 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        say(f"charrnn: a mistake in charrnn, {type(error).__name__}: {one_line(str(error))}; "
            "charrnn --debug COMMAND ... shows where")
        code = 1
    sys.exit(code)


def one_line(text: str) -> str:
    return " ".join(text.split())


def silence_stdout() -> None:
    """Have what is still buffered go nowhere, so that the exit does not fail on it again."""
    if sys.stdout is not None:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
