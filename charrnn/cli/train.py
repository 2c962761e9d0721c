"""``charrnn train``: train a model on a text, and save the run as a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

import click

from charrnn.cli.checkpoints import file_of_option
from charrnn.cli.console import ReaderGone, say, silence_stdout, stdout_is_terminal, write
from charrnn.cli.guesses import check_texts
from charrnn.cli.options import (
    TEXTS,
    FileName,
    GroupedCommand,
    WholeNumber,
    quiet_option,
    setting_options,
    start_numpy,
)
from charrnn.config.parsing import resolve
from charrnn.config.settings import Value
from charrnn.errors import CharrnnError, UsageError
from charrnn.system import machine, resources


@setting_options
@click.command(cls=GroupedCommand)
@click.argument("corpus", nargs=-1, type=TEXTS)
@click.option("--example", is_flag=True, help="Train on the play that comes with charrnn.")
@click.option("-c", "--config", "config_file", type=FileName(), metavar="FILE",
              help="YAML file of settings, or the name of a preset (charrnn presets lists them); "
              "options override it.")
@click.option("-o", "--out", type=FileName(), metavar="FILE",
              help="Checkpoint to write, or a folder for it; a name without an ending gets .npz.  "
              "[default: checkpoints/CORPUS.npz]")
@click.option("--val", type=TEXTS, metavar="FILE",
              help="Validate on this text instead of on the end of CORPUS.")
@click.option("--init-from", type=FileName(), metavar="FILE",
              help="Start a new run from the best weights of this checkpoint.")
@click.option("--cache", type=FileName(path_type=Path), metavar="FOLDER",
              help="Folder for the encoded form of texts above 128 MB.  [default: the folder of "
              "-o]")
@click.option("--overwrite", is_flag=True, help="Replace the checkpoint of another run.")
@click.option("--dry-run", is_flag=True,
              help="Show what would be trained and exit. A large text is still encoded.")
@click.option("--json", "as_json", is_flag=True,
              help="Print the events of the run as JSON, one per line.")
@click.option("--json-every", type=WholeNumber(0), metavar="N",
              help="With --json, print only the step events whose step is a multiple of N; 0 "
              "prints none of them.  [default: 1]")
@quiet_option
def train(
    corpus: tuple[str, ...], example: bool, config_file: str | None, out: str | None,
    val: str | None, init_from: str | None, cache: Path | None, overwrite: bool, dry_run: bool,
    as_json: bool, json_every: int | None, quiet: bool, **options: Value,
) -> int:
    """Train a model to predict the next character of CORPUS.

    CORPUS is one or more text files or folders, or - for standard input. Several files are read
    as one text, in the order given; the files of a folder are sorted by name. Files that end in
    .gz, .xz or .bz2 are decompressed. Without a text of your own, use --example.

    The checkpoint contains the whole run. Run the same command again to resume an interrupted
    run; if the run is complete, the command does nothing.
    """
    if example:
        if corpus:
            raise click.UsageError("--example is a text: name no other one")
        corpus = (str(resources.example()),)
    elif not corpus:
        raise click.UsageError("Missing argument 'CORPUS...': name a text, or - for standard "
                               "input, or try --example")
    if corpus.count("-") + (val == "-") > 1:
        raise UsageError("standard input can be read only once")
    if json_every is not None and not as_json:
        raise UsageError("--json-every can be used only with --json")
    file = {}
    if config_file:
        from charrnn.config import yaml_file  # and with it yaml, only where needed

        config_file = yaml_file.config_file(config_file)
        file = yaml_file.read_yaml(config_file)
    given = {key: value for key, value in options.items() if value is not None}
    config = resolve(file, given)
    check_texts((*corpus, val), "" if config.level == "byte" else
                "to resume its run, repeat the command that started it; to start a new run from "
                "its weights, use charrnn train TEXT --init-from FILE")
    inherited = None if init_from is None else file_of_option("--init-from", init_from)
    allowed = machine.allowed_threads()
    start_numpy()

    from charrnn.cli.progress import TrainingDisplay, event_line, is_selected
    from charrnn.system import lock
    from charrnn.system.signals import listening
    from charrnn.training import processes
    from charrnn.training.budget import set_budget
    from charrnn.training.events import End, Event
    from charrnn.training.loop import start
    from charrnn.training.loop import train as training
    from charrnn.training.prepare import prepare
    from charrnn.training.run import Request, checkpoint_path

    group = processes.join()
    if group.size > 1 and "-" in (*corpus, val):
        raise UsageError(f"standard input reaches only one of {group.size} processes: name a file")
    path = checkpoint_path(out, corpus)
    display = TrainingDisplay(quiet)
    output = Output(display.line)

    def show(event: Event) -> None:
        if group.is_first:
            display.show(event)
            if as_json and is_selected(event, 1 if json_every is None else json_every):
                with display.cleared() if stdout_is_terminal() else nullcontext():
                    (write if dry_run else output.write)(event_line(event))

    request = Request(
        corpus, path, config, frozenset(file) | frozenset(given), val, inherited, overwrite,
        config_file, group.broadcast(allowed or min(group.cores, machine.TRAINING_THREADS)), cache,
    )
    if dry_run:
        lock.check_writable(path)
        run = prepare(request, group)
        set_budget(run)
        first = start(run)
        show(first)
        if group.is_first:
            display.dry_run(first)
        return 0
    with ExitStack() as stack:
        signals = stack.enter_context(listening())
        if group.is_first:  # only this process writes
            stack.enter_context(lock.locked(path))
        for event in training(prepare(request, group), signals):
            show(event)
    if isinstance(event, End) and event.signal is not None:
        if output.error is not None:
            say(f"charrnn: {output.error}")
        return 128 + event.signal
    if output.error is not None:
        raise output.error
    return 0


class Output:
    """Standard output as long as it can be written; a run continues without it.

    ``error`` is why events could not be written; None if their reader just stopped reading.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note, self._open = note, True
        self.error: CharrnnError | None = None

    def write(self, data: bytes) -> None:
        """Write ``data``; after the first failure, which a note reports, do nothing."""
        if not self._open:
            return
        try:
            write(data)
        except (ReaderGone, CharrnnError) as error:
            silence_stdout()
            self._open, self.error = False, error if isinstance(error, CharrnnError) else None
            self._note(f"note: {self.error or 'the reader of standard output has closed it'}; "
                       "the run continues without it")
