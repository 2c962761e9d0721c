"""``charrnn sample``: generate text, character by character."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.console import TextOutput, say, stdout_is_terminal, write
from charrnn.cli.options import (
    TEXTS,
    Argument,
    FiniteRange,
    checkpoint_option,
    choose_decoding,
    encoding_option,
    errors_option,
    newest_checkpoint,
    start_numpy,
    unknown_option,
)
from charrnn.errors import UsageError
from charrnn.system.machine import default_threads

if TYPE_CHECKING:  # NumPy is imported inside the command: see cli.main
    from numpy import ndarray


@click.command()
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
@encoding_option
@errors_option
def sample(
    checkpoint: Path | None, prime: str | None, prime_file: str | None, seed: int | None,
    stop: str | None, novelty: str | None, unknown: str, encoding: str | None,
    errors: str | None, count: int, **options: Any,
) -> None:
    """Write text, character by character, as it is generated."""
    if prime is not None and prime_file is not None:
        raise UsageError("--prime and --prime-file both say what to begin with; give one")
    if prime_file == novelty == "-":
        raise UsageError("standard input can be read only once")
    if (encoding or errors) and prime_file is None and novelty is None:
        raise UsageError("--encoding and --errors are for --prime-file and --novelty")
    path = checkpoint or newest_checkpoint()
    threads = default_threads()
    start_numpy()

    from charrnn import api
    from charrnn.text.display import printable_name, undecodable_note

    model = api.load(path)
    skip = unknown == "skip"
    said: list[str] = []
    begin: Iterable[ndarray]
    stream = None
    if prime_file is not None:
        chosen = choose_decoding(model, [prime_file], encoding, errors, said)
        begin = stream = model.stream([prime_file], skip, chosen)
    else:
        begin = [model.encode_prime(prime or "", skip)]
    text = None
    if novelty is not None:
        beside = prime_file is not None
        chosen = choose_decoding(model, [novelty], encoding, errors, said, beside)
        text = model.read([novelty], decoding=chosen, mark_unknown=True)
        said += [f"note: {text.name}: {note}" for note in
                 undecodable_note(text.undecodable, chosen.errors)]
    stop_ids = model.encode_stop(stop) if stop else None
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little")
    for line in (f"{printable_name(path)}, seed {seed}", *said):
        say(line)
    output = TextOutput(write, stdout_is_terminal(), model.vocabulary)
    drawn: dict[int, list[ndarray]] = defaultdict(list)  # by sample, for --novelty
    current = 0
    for piece in model.sample(begin, count=count, seed=seed, stop=stop_ids, threads=threads,
                              **options):
        if piece.number != current:
            output.end_line()
            current = piece.number
        output.write(piece.ids)
        if text is not None and not piece.is_prime:
            drawn[piece.number].append(piece.ids)
    if count > 1 or output.terminal:
        output.end_line()
    output.flush()
    for note in stream.notes if stream is not None else ():
        say(f"note: {note}")
    if text is not None:
        from charrnn.cli.format import novelty_lines

        for line in novelty_lines(drawn.values(), text, model.vocabulary):
            say(line)
