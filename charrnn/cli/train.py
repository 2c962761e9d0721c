"""``charrnn train``: learn a text, and save the run as a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from charrnn.cli.console import ReaderGone, say, silence_stdout, write
from charrnn.cli.guesses import refuse_checkpoints
from charrnn.cli.options import TEXTS, GroupedCommand, setting_options, start_numpy
from charrnn.config.parsing import resolve
from charrnn.config.settings import Value
from charrnn.errors import CharrnnError, UsageError
from charrnn.system import machine


@setting_options
@click.command(cls=GroupedCommand)
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
    quiet: bool, **options: Value,
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
        from charrnn.config.yaml_file import read_yaml  # and with it yaml, only where needed

        file = read_yaml(config_file)
    given = {key: value for key, value in options.items() if value is not None}
    config = resolve(file, given)
    if config.level == "char":
        refuse_checkpoints((*corpus, val or ""), "to resume its run, repeat the command that "
                           "started it; to start a new run from it, charrnn train TEXT "
                           "--init-from FILE")
    allowed = machine.allowed_threads()
    start_numpy()

    from charrnn.cli.progress import TrainingDisplay, event_line
    from charrnn.system import lock
    from charrnn.system.signals import listening
    from charrnn.training import processes
    from charrnn.training.budget import set_budget
    from charrnn.training.events import End, Event
    from charrnn.training.loop import start
    from charrnn.training.loop import train as training
    from charrnn.training.prepare import prepare
    from charrnn.training.run import Request, default_checkpoint

    group = processes.join()
    if group.size > 1 and "-" in (*corpus, val):
        raise UsageError(f"standard input reaches one of {group.size} processes: name a file")
    path = out or default_checkpoint(corpus)
    display = TrainingDisplay(quiet)
    output = Output(display.line)

    def show(event: Event) -> None:
        if group.is_first:
            display.show(event)
            if as_json:
                (write if dry_run else output.write)(event_line(event))

    request = Request(
        corpus, path, config, frozenset(file) | frozenset(given), val, init_from, overwrite,
        config_file, group.broadcast(allowed or group.cores), cache,
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
        if group.is_first:  # which alone writes
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
    """Standard output for as long as it can be written: a run is worth more than its events.

    ``error`` says why some of them could not be written, where that is not their reader's choice.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note, self._open = note, True
        self.error: CharrnnError | None = None

    def write(self, data: bytes) -> None:
        """Write ``data``, or nothing from the first failure on, which is noted."""
        if not self._open:
            return
        try:
            write(data)
        except (ReaderGone, CharrnnError) as error:
            silence_stdout()
            self._open, self.error = False, error if isinstance(error, CharrnnError) else None
            self._note(f"note: {self.error or 'nobody reads standard output any more'}; "
                       "the run continues without it")
