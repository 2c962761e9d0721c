"""The command group, fast to import; what a command raises becomes one line and an exit code.

Results go to standard output, everything else to standard error. NumPy, and what needs it,
is imported inside the commands: ``--help`` is fast, and the number of BLAS threads can be set
before BLAS starts.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import click

import charrnn
from charrnn.cli.console import ReaderGone, say, silence_stdout
from charrnn.cli.eval import evaluate
from charrnn.cli.report import report
from charrnn.cli.sample import sample
from charrnn.cli.train import train
from charrnn.errors import CharrnnError
from charrnn.system.launcher import end_process

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


for command in (train, sample, evaluate, report):
    cli.add_command(command)


def main() -> NoReturn:
    """The console entry point: run a command and turn what it raises into one line."""
    debug = "--debug" in sys.argv[1:2]
    code, line, finished = 0, "", False
    try:
        code = cli.main(prog_name="charrnn", standalone_mode=False) or 0
        finished = True
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        if code > 128 and "train" in sys.argv[1:3]:  # a signal that came early
            line = "stopped before the first step: there was nothing to save"
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "charrnn"
        line = f"{command}: {one_line(error.format_message())} (see {command} --help)"
        code = error.exit_code
    except CharrnnError as error:
        if debug:
            show_traceback()
        line = f"charrnn: {one_line(str(error))}"
        code = error.exit_code
        if error.exit_code == 1:
            silence_stdout()
    except ReaderGone:
        silence_stdout()
    except (KeyboardInterrupt, click.Abort):
        silence_stdout()
        code = 130
    except OSError as error:
        silence_stdout()
        line = f"charrnn: {error.filename or 'standard output'}: {error.strerror}"
        code = 1
    except MemoryError:
        line = "charrnn: there is not enough memory for this"
        code = 1
    except Exception as error:
        if debug:
            show_traceback()
        line = (f"charrnn: a mistake in charrnn, {type(error).__name__}: {one_line(str(error))}; "
                "charrnn --debug COMMAND ... shows where")
        code = 1
    end_process(code, line, say, finished, training="train" in sys.argv[1:3])


def show_traceback() -> None:
    import traceback  # only where it is asked for: --help is to be quick

    say(traceback.format_exc().rstrip("\n"))


def one_line(text: str) -> str:
    return " ".join(text.split())
