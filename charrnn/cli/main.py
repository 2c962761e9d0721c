"""The command group, fast to import; what a command raises becomes one line and an exit code.

Results go to standard output, everything else to standard error. NumPy, and what needs it,
is imported inside the commands: ``--help`` is fast, and the number of BLAS threads can be set
before BLAS starts.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from contextlib import suppress
from typing import NoReturn

import click

import charrnn
from charrnn.cli.console import ReaderGone, say, silence_stdout, write
from charrnn.cli.eval import evaluate
from charrnn.cli.guesses import Command, Group, unknown_command
from charrnn.cli.info import info
from charrnn.cli.options import quiet_option
from charrnn.cli.presets import presets
from charrnn.cli.report import report
from charrnn.cli.sample import sample
from charrnn.cli.train import train
from charrnn.errors import CharrnnError
from charrnn.system.launcher import end_process

QUIET = (SystemExit, click.exceptions.Exit, click.ClickException, ReaderGone)  # even with --debug
LONGEST = 400  # characters of a message from click, which repeats the user's input
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=Group, invoke_without_command=True, context_settings=CONTEXT)
@click.version_option(charrnn.__version__, "-V", "--version", prog_name="charrnn",
                      help="Show the version and exit.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Train character-level recurrent neural networks on any text, and use them to generate
    and score text.

    \b
    charrnn train corpus.txt       train a model
    charrnn train --example        train on a play that comes with charrnn
    charrnn sample --prime "The "  generate text
    charrnn eval other.txt         score a text

    Ctrl-C saves and stops a training run; run the same command to resume it. The other commands
    use the newest model in checkpoints/ unless -m names another one.
    """
    if context.invoked_subcommand is None:
        say(context.get_help())
        context.exit(2)


@click.command("help", cls=Command)
@click.argument("command", required=False)
@quiet_option
@click.pass_context
def show_help(context: click.Context, command: str | None, quiet: bool) -> None:
    """Show the help of charrnn or of one of its commands."""
    shown = context.find_root()
    if command is not None:
        found = cli.commands.get(command)
        if found is None:
            raise click.UsageError(unknown_command(command, cli.commands), shown)
        shown = found.context_class(found, shown, info_name=command)
    write(f"{shown.get_help()}\n".encode())


for each, summary in (
    (train, "Train a model on text files, or resume an interrupted run."),
    (sample, "Generate text with a model."),
    (evaluate, "Score how well a model predicts text."),
    (report, "Write an HTML page that shows what a model has learned."),
    (info, "Show what a checkpoint contains."),
    (presets, "List the presets, or print one."),
    (show_help, "Show this help, or the help of a command."),
):
    each.short_help = summary
    cli.add_command(each)


def main() -> NoReturn:
    """Run the command of ``sys.argv`` and turn what it raises into one line and an exit code."""
    options = list(itertools.takewhile(lambda word: word.startswith("-"), sys.argv[1:]))
    training = sys.argv[1:][len(options) :][:1] == ["train"]
    code, line, finished = 0, "", False
    try:
        code = cli.main(prog_name="charrnn", standalone_mode=False) or 0
        finished = True
    except BaseException as error:
        if "--debug" in options and not (isinstance(error, QUIET) or was_interrupted(error)):
            show_traceback()
        code, line = outcome(error, training)
    try:
        end_process(code, line, say, finished, training)
    finally:
        discard_stderr()


def outcome(error: BaseException, training: bool) -> tuple[int, str]:
    """The exit code for what a command raised, and the line to print about it."""
    if was_interrupted(error):
        silence_stdout()
        return 130, ""
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1
        if code > 128 and training:  # a signal that came early
            return code, "stopped before the first step: there was nothing to save"
        return code, ""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code, ""
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "charrnn"
        message = one_line(error.format_message()[:10_000]).removesuffix(".")
        if len(message) > LONGEST:
            message = f"{message[:LONGEST]} ..."
        return error.exit_code, f"{command}: {message} (see {command} --help)"
    if isinstance(error, CharrnnError):
        if error.exit_code == 1:
            silence_stdout()
        from charrnn.text.display import printable_name  # a newline can only be part of a name

        return error.exit_code, f"charrnn: {printable_name(str(error))}"
    if isinstance(error, ReaderGone):
        silence_stdout()
        return 0, ""
    if isinstance(error, OSError):
        silence_stdout()
        return 1, f"charrnn: {error.filename or 'standard output'}: {error.strerror}"
    if isinstance(error, MemoryError):
        return 1, "charrnn: there is not enough memory"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return 1, ("charrnn: the system allows no more threads: use fewer (--threads 1, or "
                   "OMP_NUM_THREADS=1), or raise its limit on processes (ulimit -u)")
    return 1, (f"charrnn: internal error, {type(error).__name__}: {one_line(str(error))}; please "
               "report it with the traceback that charrnn --debug COMMAND ... prints")


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an exception is Ctrl-C, or another one that was raised because of it."""
    while error is not None:
        if isinstance(error, (KeyboardInterrupt, click.Abort)):
            return True
        error = error.__context__
    return False


def discard_stderr() -> None:
    """Discard what cannot be written to standard error; else Python would change the exit code."""
    if sys.stderr is not None:
        try:
            sys.stderr.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def show_traceback() -> None:
    import traceback  # needed only for --debug; --help must be fast

    say(traceback.format_exc().rstrip("\n"))


def one_line(text: str) -> str:
    """A message of several lines as one; spaces of other kinds stay as they are."""
    return re.sub("[ \t\r\n]+", " ", text).strip()
