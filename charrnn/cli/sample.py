"""``charrnn sample``: generate text, character by character."""

from __future__ import annotations

import os
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.checkpoints import (
    averaged_checkpoints_option,
    checkpoint_argument,
    choose_checkpoints,
)
from charrnn.cli.console import TextOutput, say, stdout_is_terminal, write
from charrnn.cli.guesses import Command, backslash_hint, check_texts
from charrnn.cli.options import (
    TEXTS,
    Argument,
    Number,
    WholeNumber,
    choose_decoding,
    encoding_option,
    errors_option,
    notes,
    quiet_option,
    start_numpy,
    unknown_option,
)
from charrnn.errors import UsageError
from charrnn.system.machine import default_threads

if TYPE_CHECKING:  # NumPy is imported inside the command: see cli.main
    from numpy import ndarray

    from charrnn.api.loaded import LoadedModel as Model
    from charrnn.api.loaded import Piece
    from charrnn.text.corpus import Text
    from charrnn.text.reader import TextStream


@click.command(cls=Command)
@checkpoint_argument
@averaged_checkpoints_option
@click.option("--prime", type=Argument(), metavar="TEXT",
              help="Text that the sample starts with.")
@click.option("--prime-file", type=TEXTS, metavar="FILE",
              help="Read the prime from a file, or from standard input (-).")
@click.option("--length", type=WholeNumber(0), default=1000, show_default=True,
              help="Number of characters to generate after the prime.")
@click.option("--temperature", type=Number(low=0), default=1.0, show_default=True,
              help="Below 1, the text is more predictable; above 1, more varied; at 0, always the "
              "most likely character.")
@click.option("--top-k", type=WholeNumber(0), default=0, metavar="K",
              help="Choose only among the K most likely characters.  [default: 0, all]")
@click.option("--top-p", type=Number(above=0, high=1), default=1.0, metavar="P",
              help="Choose only among the most likely characters whose probabilities add up to "
              "P.  [default: 1, all]")
@click.option("--seed", type=WholeNumber(0),
              help="The same seed gives the same sample.  [default: random; it is printed]")
@click.option("--count", type=WholeNumber(1), default=1, show_default=True,
              help="Number of samples. If more than one, each ends with a newline; a single one "
              "is written to a file or pipe exactly as generated.")
@click.option("--stop", type=Argument(), metavar="TEXT",
              help="End a sample just before this text appears.")
@click.option("--novelty", type=TEXTS, metavar="FILE",
              help="Show on standard error, even with --quiet, how much of each sample is copied "
              "from this text.")
@click.option("--json", "as_json", is_flag=True,
              help="Print a JSON object for each sample: number, seed, checkpoint, prime, text "
              "and finish (length or stop).")
@unknown_option
@encoding_option("--prime-file and --novelty")
@errors_option("--prime-file and --novelty")
@quiet_option
def sample(
    named: tuple[str, ...], checkpoints: tuple[str, ...], prime: str | None,
    prime_file: str | None, seed: int | None, stop: str | None, novelty: str | None,
    as_json: bool, unknown: str, encoding: str | None, errors: str | None, quiet: bool, count: int,
    **options: Any,
) -> None:
    """Generate text with a model, character by character.

    FILE is the model's checkpoint; -m FILE means the same.
    """
    if prime is not None and prime_file is not None:
        raise UsageError("--prime and --prime-file both give the text to start with; use one")
    if prime_file == novelty == "-":
        raise UsageError("standard input can be read only once")
    if (encoding or errors) and prime_file is None and novelty is None:
        raise UsageError("--encoding and --errors apply only to --prime-file and --novelty")
    check_texts((prime_file, novelty), "charrnn sample -m FILE")
    words = shlex.quote(" ".join(named))
    advice = f"; to start from a text: charrnn sample --prime {words}" if named else ""
    paths = choose_checkpoints(checkpoints, *named, advice=advice)
    threads = default_threads()
    start_numpy()

    from charrnn.api import loaded as api
    from charrnn.text.display import printable_name, undecodable_note

    model = api.load(*paths)
    skip = unknown == "skip"
    messages: list[str] = []
    begin: Iterable[ndarray]
    stream = None
    if prime_file is not None:
        chosen = choose_decoding(model, [prime_file], encoding, errors, messages)
        begin = stream = model.stream([prime_file], skip, chosen)
    else:
        begin = [encoded("--prime", prime or "", partial(model.encode_prime, skip_unknown=skip),
                         messages)]
        left_out = model.vocabulary.left_out_note(prime or "")
        messages += [f"note: {left_out}"] if left_out else []
    text = None
    if novelty is not None:
        beside = prime_file is not None
        chosen = choose_decoding(model, [novelty], encoding, errors, messages, beside)
        text = model.read([novelty], decoding=chosen, mark_unknown=True)
        messages += [f"note: {note}" for note in text.notes]
        messages += [f"note: {text.name}: {note}" for note in
                 undecodable_note(text.undecodable, chosen.errors)]
    stop_ids = encoded("--stop", stop, model.encode_stop, messages) if stop else None
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little")
    note = notes(quiet)
    messages.insert(0, f"{', '.join(map(printable_name, paths))}, seed {seed}")
    pieces = announced(messages, note, model.sample(begin, count=count, seed=seed, stop=stop_ids,
                                                threads=threads, **options))
    if as_json:
        from charrnn.cli.format import checkpoint_entry
        from charrnn.cli.sample_json import json_samples

        facts = {"seed": seed, **checkpoint_entry(paths)}
        for each in json_samples(pieces, options["length"], facts, model.vocabulary, text):
            write(each)
    else:
        for line in write_samples(pieces, count, model, text):
            say(line)  # a result, not a message
    if stream is not None:
        for line in (*left_out_of(stream), *stream.notes):
            note(f"note: {line}")


def encoded(
    option: str, text: str, encode: Callable[[str], ndarray], messages: list[str]
) -> ndarray:
    """The symbols of a text from the command line, with a hint if it contains ``\\n`` or ``\\t``,
    even if the model knows the backslash: only the user knows what is meant."""
    hint = backslash_hint(option, text)
    try:
        ids = encode(text)
    except UsageError as error:
        raise UsageError(f"{error}; {hint}" if hint else str(error)) from None
    if hint:
        messages.append(f"note: {hint}")
    return ids


def left_out_of(stream: TextStream) -> Iterator[str]:
    """The note on the unknown characters of a prime that has been read, if there were any."""
    if stream.unknown:
        from charrnn.text.display import count as counted

        yield (f"{counted(stream.unknown, 'unknown character')} of the prime "
               f"{'was' if stream.unknown == 1 else 'were'} "
               f"{'read as U+FFFD' if stream.vocabulary.replaces else 'skipped'}")


def announced(
    lines: list[str], note: Callable[[str], None], pieces: Iterable[Piece]
) -> Iterator[Piece]:
    """Yield ``pieces``; print ``lines`` once there is a first one, so not before an error."""
    for piece in pieces:
        while lines:
            note(lines.pop(0))
        yield piece


def write_samples(
    pieces: Iterable[Piece], count: int, model: Model, text: Text | None
) -> Iterator[str]:
    """Write samples as they are generated; then the lines on what they copy from ``text``."""
    output = TextOutput(write, stdout_is_terminal(), model.vocabulary)
    drawn: dict[int, list[ndarray]] = defaultdict(list)  # by sample, for --novelty
    current = 0
    for piece in pieces:
        if piece.number != current:
            output.end_line()
            current = piece.number
        output.write(piece.ids)
        if text is not None and not piece.is_prime:
            drawn[piece.number].append(piece.ids)
    if count > 1 or output.terminal:
        output.end_line()
    output.flush()
    if text is not None:
        from charrnn.cli.format import novelty_lines

        yield from novelty_lines(drawn.values(), text, model.vocabulary)
