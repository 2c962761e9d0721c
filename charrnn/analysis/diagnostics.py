"""Diagnostics: what a network predicts, what its units respond to, how its gates stand.

``trace`` reads a text once, from the zero state, and keeps what the report page shows.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from charrnn.errors import overflowed
from charrnn.nn.loss import quiet_overflow, surprisal
from charrnn.nn.network import WINDOW, Activations, forward
from charrnn.nn.parameters import Parameters
from charrnn.text.split import Split

LOOKED_AT = 12_000  # symbols of the text that are analyzed, at most
PASSAGE = 1_000  # the first of them, which are shown
AT_ONCE = 1 << 24  # logits that are in memory at once: 64 MB
LARGE = 4_096  # symbols of a vocabulary; with a larger one, fewer symbols are analyzed
MOST_LIKELY = 5  # symbols that are shown as predictions
OPEN, CLOSED = 0.9, 0.1  # a gate above or below is counted, as in Karpathy et al. 2015
SATURATED = 0.97  # |h| beyond which the slope of tanh is below 6 % of its maximum


@dataclass
class Trace:
    """What the network computed at each of the N analyzed symbols of a text."""

    ids: ndarray  # (N,) the symbols
    bits: ndarray  # (N,) -log2 p of each symbol
    most_likely: ndarray  # (PASSAGE, MOST_LIKELY) the most likely symbols, in descending order
    probabilities: ndarray  # (PASSAGE, MOST_LIKELY) their p
    prediction: ndarray  # (N,) the most likely symbol
    states: ndarray  # (N, L*H) h after the symbol
    cells: ndarray | None  # (N, L*H) in an LSTM tanh(c) after the symbol
    gates: ndarray  # (G, L, 2, H) the share of symbols at which a unit's gate is OPEN, and CLOSED


def looked_at(V: int) -> int:
    """How many symbols are analyzed: fewer for a large vocabulary, to bound the time."""
    return max(PASSAGE, min(LOOKED_AT, LOOKED_AT * LARGE // V))


@quiet_overflow
def trace(params: Parameters, part: Split) -> Trace:
    """Read the context of ``part`` and trace its first symbols.

    Raises DivergedError if a state overflows, as those of relu units may.
    """
    arch, first = params.arch, len(part.context)
    ids = part.ids[: looked_at(arch.vocabulary_size)].astype(np.intp)
    text = np.concatenate([part.context, ids]).astype(np.intp)
    activations, state = Activations(arch, WINDOW, 1), params.zero_state(1)
    states = np.empty((arch.cell.n_states, len(ids), arch.output_size), arch.dtype)
    gates = np.zeros((len(arch.cell.gates), arch.layers, 2, arch.hidden_size))
    summaries = []  # of up to ``rows`` rows of logits each
    rows = max(WINDOW, AT_ONCE // arch.vocabulary_size)
    logits, filled = np.empty((min(rows, len(ids)), arch.vocabulary_size), arch.dtype), 0
    for t in range(0, len(text), WINDOW):
        x, reset = text[t : t + WINDOW, None].copy(), None
        if part.resets is not None:
            reset = part.resets.apply(x, t + 1 - first + np.arange(len(x))[:, None])
        z, state = forward(params, x, state, activations, reset=reset)
        # Reading symbol i of the part gives state i and the logits of symbol i + 1.
        read = slice(max(0, first - t), None)
        states[:, max(0, t - first) : max(0, t - first + len(x))] = (
            activations.states[:, 1:, 0][:, read])
        for counts, block in zip(gates, arch.cell.gates.values(), strict=True):
            gate = activations.saved[:, block, read, 0]  # (L, T, H)
            counts[:, 0] += (gate > OPEN).sum(axis=1)
            counts[:, 1] += (gate < CLOSED).sum(axis=1)
        z = z[max(0, first - 1 - t) : len(text) - 1 - t]
        if filled + len(z) > len(logits):
            summaries.append(_summarize(logits[:filled], ids, max(0, t + 1 - first) - filled))
            filled = 0
        logits[filled : filled + len(z)] = z
        filled += len(z)
    summaries.append(_summarize(logits[:filled], ids, len(ids) - filled))
    nats, prediction, order, p = map(np.concatenate, zip(*summaries, strict=True))
    h, *c = states
    cells = np.tanh(c[0]) if c else None
    return Trace(ids, nats / math.log(2), order, p, prediction, h, cells, gates / len(ids))


def _summarize(z: ndarray, ids: ndarray, start: int) -> tuple[ndarray, ...]:
    """What ``Trace`` keeps of the logits ``z`` (n, V) of ``ids[start : start + n]``.

    Returns nats and predictions, (n,), and for the symbols that are in the passage the most
    likely symbols and their p. Overwrites ``z``.
    """
    prediction = z.argmax(axis=1)
    nats, totals = surprisal(z, ids[start : start + len(z)])
    bad = ~np.isfinite(nats)
    if bad.any():
        raise overflowed(f"at symbol {start + int(bad.argmax()) + 1:,} of the text")
    shown = len(z[: max(0, PASSAGE - start)])
    windows = []
    for i in range(0, max(1, shown), WINDOW):
        rows = slice(i, min(i + WINDOW, shown))
        windows.append(most_likely(z[rows] / totals[rows, None]))
    order, p = map(np.concatenate, zip(*windows, strict=True))
    return nats, prediction, order, p


def most_likely(p: ndarray) -> tuple[ndarray, ndarray]:
    """The MOST_LIKELY symbols with the largest ``p`` (N, V) of each row, and their p.

    In descending order of p; ties are broken in favor of the lowest ids.
    """
    count = min(MOST_LIKELY, p.shape[1])
    least = np.partition(p, -count, axis=1)[:, -count]
    order = np.empty((len(p), count), np.intp)
    for row, p_row, lowest in zip(order, p, least, strict=True):
        among = np.flatnonzero(p_row >= lowest)  # more than ``count`` if there are ties
        row[:] = among[np.argsort(-p_row[among], kind="stable")[:count]]
    return order, np.take_along_axis(p, order, axis=1)


def features(text: str) -> dict[str, ndarray]:
    """Features that a reader sees in each character of a text: name and values (N,).

    Features that are constant in the text are left out.
    """
    line = indentation = depth = 0
    quoted = in_indentation = False
    rows = []
    for c, following in itertools.zip_longest(text, text[1:], fillvalue=" "):
        if c == "\n":
            line, indentation, in_indentation = 0, 0, True
            quoted = quoted and following != "\n"  # an empty line closes an open quotation
        else:
            line += 1
            in_indentation = in_indentation and c in " \t"
            indentation += in_indentation
        quoted = (not quoted if c == '"' else (quoted or c in "“«„") and c not in "”»")
        depth = max(0, depth + (c in "([{") - (c in ")]}"))
        rows.append((
            min(line, 120), min(indentation, 40), quoted, depth > 0,
            c.isalpha() and not following.isalpha(), not c.isalpha() and following.isalpha(),
            c.isupper(), c.isdigit(), c.isspace(), c.lower() in "aeiouyäöüéèáíóú",
        ))
    names = ("position in the line", "indentation", "inside quotes", "inside brackets",
             "end of a word", "before a word", "capital letter", "digit", "whitespace", "vowel")
    columns = np.array(rows, np.float32).T if rows else np.zeros((len(names), 0), np.float32)
    return {name: column for name, column in zip(names, columns, strict=True)
            if len(column) and column.std() > 0}


def correlated_units(
    states: ndarray, features: dict[str, ndarray]
) -> list[tuple[str, int, float]]:
    """For each feature the unit with the highest |r|: (name, unit, Pearson's r).

    ``states`` is (N, L*H), each feature (N,). The highest |r| comes first.
    """
    centered = states - states.mean(axis=0)
    spread = centered.std(axis=0)
    found = []
    for name, column in features.items():
        covariance = (column - column.mean()) @ centered / len(column)
        scale = spread * column.std()
        r = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
        unit = int(np.abs(r).argmax())
        found.append((name, unit, float(r[unit])))
    return sorted(found, key=lambda row: -abs(row[2]))


def packed(states: ndarray) -> tuple[bytes, float]:
    """The ``states`` (N, U) as 4-bit numbers, two per byte, unit by unit; and their scale.

    0 means -scale, 15 means +scale. Each unit takes a whole number of bytes.
    """
    scale = max(1e-6, float(np.abs(states).max()))
    levels = np.rint((states.T / scale + 1) * 7.5).astype(np.uint8)
    if levels.shape[1] % 2:
        levels = np.pad(levels, ((0, 0), (0, 1)))
    return (levels[:, ::2] << 4 | levels[:, 1::2]).tobytes(), scale


def confusions(trace: Trace, top: int = 12) -> list[tuple[int, int, int]]:
    """The most frequent wrong predictions: (symbol, prediction, times)."""
    wrong = trace.ids != trace.prediction
    pairs, counts = np.unique(
        np.stack([trace.ids[wrong], trace.prediction[wrong]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:top]
    return [(int(a), int(b), int(n)) for (a, b), n in zip(pairs[order], counts[order],
                                                          strict=True)]


def hardest(trace: Trace, top: int = 12) -> list[tuple[int, float, int]]:
    """The symbols with the most bits in total: (symbol, mean bits, times)."""
    total = np.bincount(trace.ids, trace.bits)
    times = np.bincount(trace.ids)
    order = np.argsort(-total, kind="stable")[:top]
    return [(int(i), float(total[i] / times[i]), int(times[i])) for i in order if times[i]]


def worst(trace: Trace, top: int = 10, apart: int = 40) -> list[int]:
    """The positions of the symbols with the most bits, at least ``apart`` symbols apart."""
    places: list[int] = []
    for place in np.argsort(-trace.bits, kind="stable").tolist():
        if all(abs(place - other) >= apart for other in places):
            places.append(place)
            if len(places) == top:
                break
    return places


def saturation(states: ndarray, layers: int) -> list[dict[str, Any]]:
    """For each layer, a histogram of |h| with 20 bins, and the share of |h| above SATURATED.

    ``states`` is (N, L*H); L is ``layers``.
    """
    found = []
    for states_of_layer in np.split(np.abs(states), layers, axis=1):
        counts, _ = np.histogram(states_of_layer.clip(max=1), bins=20, range=(0, 1))
        found.append({
            "share": float((states_of_layer > SATURATED).mean()),
            "histogram": (counts / counts.sum()).tolist(),
        })
    return found
