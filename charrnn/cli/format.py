"""Scores, numbers and text as the commands print them: lines, tables, JSON, colors."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

import charrnn
from charrnn.cli.console import fitted
from charrnn.inference.scoring import Score, Scored
from charrnn.text.corpus import Text
from charrnn.text.display import characters, quoted
from charrnn.text.display import count as counted
from charrnn.text.reader import TextStream
from charrnn.text.vocabulary import Vocabulary

LN2 = math.log(2)

# (bits, background, text): colors, of a terminal's 256, for symbols of up to that many bits.
# White to dark blue differ in brightness, so color-blind readers can tell them apart.
SHADES = ((0.5, 231, 16), (1.5, 195, 16), (3.0, 117, 16), (5.0, 33, 231), (math.inf, 18, 231))
PASSAGE = 200  # characters shown of a copied passage
BARS = "▁▂▃▄▅▆▇█"
ESCAPES = {"\n": "\\n", "\t": "\\t", "\\": "\\\\"}  # all others are printable already


def baseline_table(
    rows: Iterable[tuple[str, float]], model: str, nats: float, level: str = "char"
) -> Iterator[str]:
    """The lines of a table, each as soon as it is known: the baselines, then the model.

    ``rows`` are the names of the baselines and their scores in nats per symbol.
    """
    yield f"{'':<10}  bits/{level}  nats/{level}"
    best = math.inf
    for name, each in rows:
        best = min(best, each)
        yield f"{name:<10}  {bits(each):9.4f}  {each:9.4f}"
    yield f"{model:<10}  {bits(nats):9.4f}  {nats:9.4f}"
    difference = f"{bits(abs(nats - best)):.4f}"
    which = "better" if nats < best else "worse"
    yield "as good as the best baseline" if difference == "0.0000" else (
        f"{difference} bits/{level} {which} than the best baseline")


def colored(environment: Any = os.environ) -> bool:
    """Whether to use colors on a terminal: see no-color.org."""
    return not environment.get("NO_COLOR") and environment.get("TERM", "dumb") != "dumb"


def legend() -> str:
    """The bits that each color stands for."""
    marks, low = [], 0.0
    for high, background, text in SHADES:
        label = f" {low:g} to {high:g} " if math.isfinite(high) else f" more than {low:g} "
        marks.append(f"\x1b[38;5;{text};48;5;{background}m{label}\x1b[0m")
        low = high
    return "bits: " + " ".join(marks)


def colored_blocks(
    ids: ndarray, blocks: Iterable[Scored], vocabulary: Vocabulary
) -> Iterator[str]:
    """The text (N,) in colors, block by block.

    A CR before a newline is shown as part of it: the newline has the bits of both.
    """
    newline = vocabulary.lookup(np.array([13, 10]))
    at, held = 0, np.zeros(0, np.float32)  # held: a CR at the end of a block
    for block in blocks:
        nats = np.concatenate([held, block.nats])
        end = at + len(nats)
        if end < len(ids) and nats.size and ids[end - 1] == newline[0]:
            end -= 1
        nats, held = nats[: end - at], nats[end - at :]
        symbols, at = ids[at:end], end
        returns = np.flatnonzero((symbols[:-1] == newline[0]) & (symbols[1:] == newline[1]))
        nats[returns + 1] += nats[returns]
        yield colored_text(np.delete(symbols, returns), np.delete(nats, returns), vocabulary)


def colored_text(ids: ndarray, nats: ndarray, vocabulary: Vocabulary) -> str:
    """The text, each symbol on the background color for its bits."""
    pieces, current = [], None
    for symbol, each in zip(characters(vocabulary.decode(ids)), (nats / LN2).tolist(), strict=True):
        if symbol == "\\x09":  # a tab in a text of bytes, which is not escaped here
            symbol = "\t"
        shade = next((b, t) for high, b, t in SHADES if each <= high)
        if symbol == "\n":  # a colored newline would color the rest of the line
            pieces.append(f"\x1b[38;5;{shade[1]};48;5;{shade[0]}m⏎\x1b[0m\n")
            current = None
            continue
        if shade != current:
            pieces.append(f"\x1b[38;5;{shade[1]};48;5;{shade[0]}m")
            current = shade
        pieces.append(symbol)
    return "".join(pieces) + ("\x1b[0m" if current else "")


def surprisal_rows(ids: ndarray, nats: ndarray, right: ndarray, vocabulary: Vocabulary) -> str:
    """A line for every symbol: bits, 1 if it was the most likely one, else 0, and the symbol.

    The columns are separated by tabs. A backslash, and a symbol that would break the table, are
    escaped.
    """
    symbols = characters(vocabulary.decode(ids))
    rows = zip(symbols, (nats / LN2).tolist(), right.tolist(), strict=True)
    return "".join(
        f"{each:.4f}\t{int(hit)}\t{ESCAPES.get(symbol, symbol)}\n" for symbol, each, hit in rows
    )


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """The curve of ``values`` in up to ``width`` bars, each the last value of its interval."""
    if len(values) > width:
        values = [values[(i + 1) * len(values) // width - 1] for i in range(width)]
    low, high = min(values), max(values)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)


def bits(nats: float) -> float:
    """Nats as bits."""
    return nats / LN2


def in_bits(nats: float, level: str = "char") -> str:
    """A score for people, given in nats per symbol: 2.1755 bits/char (1.5080 nats/char).

    The ``level`` of a model, char or byte, is also the unit of its symbols.
    """
    return f"{bits(nats):.4f} bits/{level} ({nats:.4f} nats/{level})"


def bits_text(nats: float, level: str, digits: int = 4, sign: str = "") -> str:
    """Nats per symbol as bits with their unit, such as 2.175 bits/byte; never -0.0000."""
    number = f"{bits(nats):{sign}.{digits}f}"
    return f"{number if float(number) else f'{0:.{digits}f}'} bits/{level}"


def json_line(value: Any) -> bytes:
    """A value as a line of JSON in ASCII, without control characters."""
    return json.dumps(value).replace("\x7f", "\\u007f").encode() + b"\n"


def json_number(number: float) -> float | None:
    """A number for JSON, which has no infinity and no NaN: those become null."""
    return number if math.isfinite(number) else None


def score_line(
    score: Score, text: Text | TextStream, split: str, paths: Sequence[Path], dynamic: bool,
    as_json: bool, baselines: dict[str, float] | None = None,
) -> bytes:
    """The result of ``eval``: for people, or as JSON with what is needed to reproduce it."""
    if not as_json:
        done = "read as U+FFFD" if text.vocabulary.replaces else "skipped"
        unknown = f", {counted(text.unknown, 'unknown character')} {done}" if text.unknown else ""
        scored = score.text(text.vocabulary.level)
        how = ", dynamic evaluation" * dynamic
        if len(paths) > 1:
            how = f", mean of the probabilities of {len(paths)} models"
        return fitted(f"{scored}{unknown}{how}\n").encode()
    result: dict[str, Any] = {
        "text": text.name,
        "split": split,
        "dynamic": dynamic,
        "chars": score.chars,
        "unknown_chars": text.unknown,
        "undecodable": text.undecodable,
        "nats_per_char": json_number(score.nats_per_char),
        "bits_per_char": json_number(score.bits_per_char),
        "perplexity": json_number(score.perplexity),
        "accuracy": score.accuracy,
        **checkpoint_entry(paths),
        "version": charrnn.__version__,
    }
    if baselines is not None:
        result["baselines"] = baselines  # nats per character
        result["baselines_bits_per_char"] = {name: bits(each) for name, each in baselines.items()}
    return json_line(result)


def checkpoint_entry(paths: Sequence[Path]) -> dict[str, str | list[str]]:
    """The entry of a JSON object for the checkpoint, or for several averaged ones."""
    names = [str(path) for path in paths]
    return {"checkpoint": names[0]} if len(names) == 1 else {"checkpoints": names}


def line_row(line: str | bytes, score: Score, unknown: int, as_json: bool) -> str | bytes:
    """One line of ``eval --per-line``; an empty line has nan bits per character, null in JSON."""
    if as_json:
        shown = line if isinstance(line, str) else line.decode("utf-8", "replace")
        result = {"text": shown, "chars": score.chars, "unknown_chars": unknown,
                  "nats_per_char": json_number(score.nats_per_char),
                  "bits_per_char": json_number(score.bits_per_char)}
        return json_line(result)
    numbers = f"{score.bits_per_char:.4f}\t{score.chars}\t{score.nats:.4f}\t"
    return f"{numbers}{line}\n" if isinstance(line, str) else numbers.encode() + line + b"\n"


def novelty_lines(
    samples: Collection[list[ndarray]], text: Text, vocabulary: Vocabulary
) -> Iterator[str]:
    """For each sample, given in pieces, a line on what it has copied from ``text``."""
    from charrnn.analysis import novelty  # only where it is needed

    for number, pieces in enumerate(samples, start=1):
        sample = np.concatenate(pieces)
        result = novelty.copied(sample, text.ids)
        passage = vocabulary.decode(sample[result.start : result.start + result.longest])
        if isinstance(passage, bytes):
            passage = passage.decode("utf-8", "replace")
        name = f"sample {number}: " if len(samples) > 1 else ""
        shown = quoted(passage[:PASSAGE]) + " ..." * (len(passage) > PASSAGE)
        yield (
            f"{name}the longest passage that also occurs in {text.name} has "
            f"{counted(result.longest, 'character')}: {shown}"
            + (f"; windows of {novelty.WIDTH} characters that occur there: {result.found:,} of "
               f"{result.windows:,} ({result.share:.1%})"
               if result.windows else "")
        )
