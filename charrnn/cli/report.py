"""``charrnn report``: write one HTML page on what a model has learned."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from charrnn.cli.console import say
from charrnn.cli.options import (
    TEXTS,
    checkpoint_option,
    choose_decoding,
    encoding_option,
    errors_option,
    newest_checkpoint,
    start_numpy,
    unknown_option,
)
from charrnn.errors import UsageError


@click.command()
@click.argument("text", nargs=-1, type=TEXTS)
@checkpoint_option
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("report.html"),
              show_default=True, metavar="FILE", help="The page.")
@unknown_option
@encoding_option
@errors_option
def report(
    text: tuple[str, ...], checkpoint: Path | None, out: Path, unknown: str, encoding: str | None,
    errors: str | None,
) -> None:
    """Show what a model has learned: one HTML page that needs nothing else.

    With TEXT, what it makes of it; of the text it was trained on the held-out part. Without,
    what it writes itself.
    """
    path = checkpoint or newest_checkpoint()
    if str(out) == "-" or text.count("-") > 1:
        raise UsageError("the page goes to a file, and standard input can be read only once")
    if not text and (encoding is not None or errors is not None):
        raise UsageError("--encoding and --errors are for TEXT; without one the model generates "
                         "its own")
    start_numpy()

    from charrnn import api
    from charrnn.system.files import replacing
    from charrnn.system.lock import check_writable
    from charrnn.text.display import printable_name

    check_writable(out)
    check_replaceable(out, text, path)
    model, said = api.load(path), list[str]()
    chosen, notes = None, list[str]()
    if text:
        chosen = choose_decoding(model, text, encoding, errors, said)
    page = model.report(text, unknown == "skip", chosen, notes).encode("utf-8", "replace")
    said += [f"note: {note}" for note in notes]
    # Two commands may write the same page: each writes a temporary of its own.
    with replacing(out, "the page", f"{os.urandom(4).hex()}.tmp") as file:
        file.write(page)
    for line in (*said, f"{printable_name(out)}: {len(page) / 1000:,.0f} kB, on "
                        f"{printable_name(path)}"):
        say(line)


def check_replaceable(out: Path, text: tuple[str, ...], checkpoint: Path) -> None:
    """Raise UsageError where the page would replace what it is made from, or what is no page."""
    from charrnn.text.files import files_of

    for source in (*files_of(text), str(checkpoint)):
        with suppress(OSError):  # where one of them is missing
            if out.samefile("/dev/stdin" if source == "-" else source):
                raise UsageError(f"{out} would be replaced by the page: name another file with -o")
    if out.exists() and not is_page(out):
        raise UsageError(f"{out} is there already and is no page of charrnn: name another file "
                         "with -o")


def is_page(path: Path) -> bool:
    """Whether a file is one that this command wrote, or empty, so that it may be replaced."""
    from charrnn.system.files import open_regular

    try:
        with open_regular(path, follow=True) as file:
            head = file.read(1000)
    except OSError as error:
        raise UsageError(f"{path}: cannot be replaced: {error.strerror}") from None
    return not head or (head.startswith(b"<!doctype html>")
                        and b"<title>charrnn report</title>" in head)
