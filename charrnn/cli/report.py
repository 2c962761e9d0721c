"""``charrnn report``: write one HTML page on what a model has learned."""

from __future__ import annotations

from pathlib import Path

import click

from charrnn.cli.console import say
from charrnn.cli.options import (
    TEXTS,
    checkpoint_option,
    newest_checkpoint,
    start_numpy,
    unknown_option,
)
from charrnn.errors import CharrnnError, UsageError


@click.command()
@click.argument("text", nargs=-1, type=TEXTS)
@checkpoint_option
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("report.html"),
              show_default=True, metavar="FILE", help="The page.")
@unknown_option
def report(text: tuple[str, ...], checkpoint: Path | None, out: Path, unknown: str) -> None:
    """Show what a model has learned: one HTML page that needs nothing else.

    With TEXT, what it makes of it; of the text it was trained on the held-out part. Without,
    what it writes itself.
    """
    path = checkpoint or newest_checkpoint()
    if str(out) == "-" or text.count("-") > 1:
        raise UsageError("the page goes to a file, and standard input can be read only once")
    if out.is_dir():
        raise UsageError(f"{out} is a folder; name a file in it with -o")
    if any(name != "-" and out.exists() and Path(name).exists() and out.samefile(name)
           for name in (*text, str(path))):
        raise UsageError(f"{out} would be replaced by the page: name another file with -o")
    if out.is_file() and not is_page(out):
        raise UsageError(f"{out} is there already and is no page: name another file with -o")
    start_numpy()

    from charrnn import api
    from charrnn.text.display import printable_name

    written = api.load(path).report(text, unknown == "skip")
    try:
        size = out.write_bytes(written.encode("utf-8", "replace"))
    except OSError as error:
        raise CharrnnError(f"{out}: cannot be written: {error.strerror}") from None
    say(f"{printable_name(out)}: {size / 1000:,.0f} kB, on {printable_name(path)}")


def is_page(path: Path) -> bool:
    """Whether a file is one that this command wrote, or nothing, so that it may be replaced."""
    try:
        with open(path, "rb") as file:
            return file.read(15) in (b"", b"<!doctype html>")
    except OSError as error:
        raise UsageError(f"{path}: cannot be replaced: {error.strerror}") from None
