"""``charrnn report``: write one HTML page on what a model has learned."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from charrnn.cli.checkpoints import checkpoint_option, choose_checkpoint
from charrnn.cli.console import write
from charrnn.cli.guesses import Command, check_texts
from charrnn.cli.options import (
    TEXTS,
    FileName,
    choose_decoding,
    encoding_option,
    errors_option,
    notes,
    quiet_option,
    start_numpy,
    unknown_option,
)
from charrnn.errors import UsageError

NAME = "report.html"


@click.command(cls=Command)
@click.argument("text", nargs=-1, type=TEXTS)
@checkpoint_option()
@click.option("-o", "--out", type=FileName(), default=NAME, show_default=True, metavar="FILE",
              help="The page to write; - for standard output.")
@unknown_option
@encoding_option("the text")
@errors_option("the text")
@quiet_option
def report(
    text: tuple[str, ...], checkpoints: tuple[str, ...], out: str, unknown: str,
    encoding: str | None, errors: str | None, quiet: bool,
) -> None:
    """Write one self-contained HTML page that shows what a model has learned.

    With TEXT, the page shows how well the model predicts that text or, if the model was trained
    on it, its validation part. Without TEXT, the model generates a text.
    """
    check_texts(text, "charrnn report -m FILE [TEXT]")
    path = choose_checkpoint(*checkpoints)
    if text.count("-") > 1:
        raise UsageError("standard input can be read only once")
    if not text and (encoding is not None or errors is not None):
        raise UsageError("--encoding and --errors apply only to TEXT; without TEXT, the model "
                         "generates a text itself")
    start_numpy()

    from charrnn.api import loaded as api
    from charrnn.api.report import report as report_page
    from charrnn.text.display import printable_name

    page_path = None if out == "-" else destination(out)
    if page_path is not None:
        check_replaceable(page_path, text, path)
    model, messages = api.load(path), list[str]()
    chosen, found = None, list[str]()
    if text:
        chosen = choose_decoding(model, text, encoding, errors, messages)
    page = report_page(model, text, unknown == "skip", chosen, found).encode("utf-8", "replace")
    messages += [f"note: {line}" for line in found]
    if page_path is None:
        write(page)
    else:
        save(page_path, page)
        messages.append(f"{printable_name(page_path)}: report on {printable_name(path)}, "
                        f"{len(page) / 1000:,.0f} kB")
    note = notes(quiet)
    for line in messages:
        note(line)


def destination(out: str) -> Path:
    """The file to write: ``out``, or NAME in it if it is a folder or ends in a slash."""
    return Path(out, NAME) if os.path.isdir(out) or out.endswith(("/", os.sep)) else Path(out)


def save(path: Path, page: bytes) -> None:
    """Write or replace the page; create its folder if necessary."""
    from charrnn.system.files import replacing

    try:
        Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: the folder cannot be created: {error.strerror}") from None
    # Two commands may write the same page, so each has its own temporary file.
    with replacing(path, "the page", f"{os.urandom(4).hex()}.tmp") as file:
        file.write(page)


def check_replaceable(out: Path, text: tuple[str, ...], checkpoint: Path) -> None:
    """Raise UsageError if the page cannot be written or would replace something else.

    It must not replace the checkpoint, one of the texts, or a file that is not a report.
    """
    from charrnn.system.lock import check_writable
    from charrnn.text.files import files_of

    check_writable(out)
    for source in (*files_of(text), str(checkpoint)):
        with suppress(OSError):  # one of them is missing
            if out.samefile("/dev/stdin" if source == "-" else source):
                raise UsageError(f"{out} would be replaced by the page: name another file with -o")
    if out.exists() and not is_page(out):
        raise UsageError(f"{out} already exists and is not a charrnn report: name another file "
                         "with -o")


def is_page(path: Path) -> bool:
    """Whether a file was written by this command, or is empty, so that it may be replaced."""
    from charrnn.system.files import open_regular

    try:
        with open_regular(path, follow=True) as file:
            head = file.read(1000)
    except OSError as error:
        raise UsageError(f"{path}: cannot be replaced: {error.strerror}") from None
    return not head or (head.startswith(b"<!doctype html>")
                        and b"<title>charrnn report</title>" in head)
