"""``charrnn report``: one page on what a run has learned."""

from __future__ import annotations

from pathlib import Path

import click

from charrnn.console import printable, say
from charrnn.errors import CharrnnError, CorpusError, UsageError
from charrnn.options import (
    TEXTS,
    checkpoint_option,
    newest_checkpoint,
    start_numpy,
    unknown_option,
)

SEED = 1  # of the text that the model writes where none is given
SHOWN = ("uniform", "1-gram", "3-gram", "5-gram", "7-gram", "lzma")  # of the baselines


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

    import numpy as np

    from charrnn import corpus, evaluation, insight, sampling
    from charrnn.baselines import baselines
    from charrnn.checkpoint import load
    from charrnn.page import page

    run = load(path)
    before = start = np.array([run.vocabulary.start])
    scores: list[tuple[str, float]] = []
    resets = None
    if text:
        encoding = str(run.settings["encoding"])
        whole = corpus.read_known(text, run.vocabulary, encoding, unknown == "skip", path.parent)
        name = printable(whole.name)
        if whole.digest == run.origin["corpus"] and not run.origin["val"]:
            ids, before, resets = evaluation.part_of(run, whole, "val")
            source = f"The held-out part of {name}, from its beginning."
            if len(ids) == 0:
                ids, before, resets = evaluation.part_of(run, whole, None)
                source = f"{name}, from its beginning: it was learned from, nothing was held out."
            else:
                train, *_ = evaluation.part_of(run, whole, "train")
                scores = [(name, nats) for name, nats in baselines(
                    train, ids, before, run.vocabulary) if name in SHOWN]
        else:
            ids, before, resets = evaluation.part_of(run, whole, None)
            source = f"{name}, from its beginning."
        if len(ids) == 0:
            raise CorpusError(f"{whole.name}: there is nothing to look at")
    else:
        source = "A text that the model wrote itself: name a text to see how it reads that."
        pieces = sampling.samples(run.best, start, count=1, length=insight.LOOKED_AT, seed=SEED)
        ids = np.concatenate([piece for _, piece in pieces])
    written = page(run, path, ids, before, source, scores, resets)
    try:
        size = out.write_bytes(written.encode("utf-8", "replace"))
    except OSError as error:
        raise CharrnnError(f"{out}: cannot be written: {error.strerror}") from None
    say(f"{out}: {size / 1000:,.0f} kB, on {path}")


def is_page(path: Path) -> bool:
    """Whether a file is one that this command wrote, or nothing, so that it may be replaced."""
    try:
        with open(path, "rb") as file:
            return file.read(15) in (b"", b"<!doctype html>")
    except OSError as error:
        raise UsageError(f"{path}: cannot be replaced: {error.strerror}") from None
