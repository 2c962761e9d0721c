"""What a network has learned, in numbers: what it expects, what its units see, how far back.

``look`` reads a text once, from the zero state, and notes what the report shows of it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import overflowed
from charrnn.lanes import Resets
from charrnn.model import Tape, backward, forward, quiet_overflow, surprisal
from charrnn.parameters import Parameters
from charrnn.vocabulary import Vocabulary

Array = NDArray[Any]

LOOKED_AT = 12_000  # symbols of a text that the figures are about
PASSAGE = 1_000  # of them that are shown
LIKELIEST = 5
WINDOW = 64  # steps read at once
REACH = 64  # steps back that gradients are followed
PLACES = 32  # in the text from which they are
SATURATED = 0.97  # |h| beyond which tanh has less than 6 % of its slope left


@dataclass
class Reading:
    """A text as the network read it; row t is before or after its symbol t."""

    ids: Array  # (N,)
    bits: Array  # (N,) of each symbol
    p: Array  # (PASSAGE, V) what was expected at the symbols of the passage
    guess: Array  # (N,) the likeliest symbol
    states: Array  # (N, L*H) after the symbol


@quiet_overflow
def look(
    params: Parameters, text: Array, before: Array, resets: Resets | None = None
) -> Reading:
    """Read the first symbols of ``text`` after ``before`` (at least one), keeping what was seen.

    At ``resets`` the network begins anew. DivergedError where a state overflows, as those of
    relu units may.
    """
    ids, V = text[:LOOKED_AT].astype(np.intp), params.arch.vocabulary_size
    stretch = np.concatenate([before, ids]).astype(np.intp)
    tape, h = Tape(params.arch, WINDOW, 1), params.zero_state(1)
    logits, states = [], []
    for t in range(0, len(stretch), WINDOW):
        x, fresh = stretch[t : t + WINDOW, None].copy(), None
        if resets is not None:
            fresh = resets.begin(x, t + 1 - len(before) + np.arange(len(x))[:, None])
        z, h = forward(params, x, h, tape, fresh=fresh)
        logits.append(z.copy())
        states.append(tape.hs[1:, 0].copy())
    z = np.concatenate(logits)[len(before) - 1 : -1]  # row t expects symbol t of the text
    guess = z.argmax(axis=1)
    nats, totals = surprisal(z, ids)
    p = z[:PASSAGE] / totals[:PASSAGE, None]
    assert z.shape == (len(ids), V)
    bad = ~np.isfinite(nats)
    if bad.any():
        raise overflowed(f"at symbol {int(bad.argmax()) + 1:,} of the text")
    return Reading(ids, nats / math.log(2), p, guess, np.concatenate(states)[len(before) :])


def likeliest(p: Array) -> tuple[Array, Array]:
    """The LIKELIEST symbols of each row of ``p`` (N, V), likeliest first, and their p."""
    order = np.argsort(-p, axis=1, kind="stable")[:, :LIKELIEST]
    return order, np.take_along_axis(p, order, axis=1)


def features(text: str) -> dict[str, Array]:
    """What a person sees at each character of a text, (N,) each; those that vary."""
    line = indentation = depth = 0
    quoted = in_indentation = False
    rows = []
    for c, following in itertools.zip_longest(text, text[1:], fillvalue=" "):
        if c == "\n":
            line, indentation, in_indentation = 0, 0, True
            quoted = quoted and following != "\n"  # a paragraph ends what was left open
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
    names = ("place in the line", "indentation", "inside quotes", "inside brackets",
             "end of a word", "before a word", "capital", "digit", "white space", "vowel")
    columns = np.array(rows, np.float32).T if rows else np.zeros((len(names), 0), np.float32)
    return {name: column for name, column in zip(names, columns, strict=True)
            if len(column) and column.std() > 0}


def telling_units(states: Array, seen: dict[str, Array]) -> list[tuple[str, int, float]]:
    """For each feature the unit of the highest correlation: (name, unit, Pearson's r).

    The most telling first.
    """
    centred = states - states.mean(axis=0)
    spread = centred.std(axis=0)
    found = []
    for name, column in seen.items():
        covariance = (column - column.mean()) @ centred / len(column)
        scale = spread * column.std()
        r = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
        unit = int(np.abs(r).argmax())
        found.append((name, unit, float(r[unit])))
    return sorted(found, key=lambda row: -abs(row[2]))


def packed(states: Array) -> tuple[bytes, float]:
    """Activations (N, U) as numbers of four bits, two in a byte, unit after unit; the scale.

    0 stands for -scale, 15 for +scale.
    """
    scale = max(1e-6, float(np.abs(states).max()))
    levels = np.rint((states.T / scale + 1) * 7.5).astype(np.uint8)
    if levels.shape[1] % 2:
        levels = np.pad(levels, ((0, 0), (0, 1)))
    return (levels[:, ::2] << 4 | levels[:, 1::2]).tobytes(), scale


def confusions(reading: Reading, top: int = 12) -> list[tuple[int, int, int]]:
    """What is taken for what most often: (symbol, guess, times)."""
    wrong = reading.ids != reading.guess
    pairs, counts = np.unique(
        np.stack([reading.ids[wrong], reading.guess[wrong]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:top]
    return [(int(a), int(b), int(n)) for (a, b), n in zip(pairs[order], counts[order],
                                                          strict=True)]


def hardest(reading: Reading, top: int = 12) -> list[tuple[int, float, int]]:
    """The symbols that cost most bits together: (symbol, mean bits, times)."""
    total = np.bincount(reading.ids, reading.bits)
    times = np.bincount(reading.ids)
    order = np.argsort(-total, kind="stable")[:top]
    return [(int(i), float(total[i] / times[i]), int(times[i])) for i in order if times[i]]


def worst(reading: Reading, top: int = 10, apart: int = 40) -> list[int]:
    """The places of the most surprising symbols, some way apart from each other."""
    places: list[int] = []
    for place in np.argsort(-reading.bits, kind="stable").tolist():
        if all(abs(place - other) >= apart for other in places):
            places.append(place)
            if len(places) == top:
                break
    return places


def saturation(states: Array, layers: int) -> list[dict[str, Any]]:
    """For each layer the distribution of |h| in twenty steps, and the share beyond SATURATED."""
    found = []
    for states_of_layer in np.split(np.abs(states), layers, axis=1):
        counts, _ = np.histogram(states_of_layer.clip(max=1), bins=20, range=(0, 1))
        found.append({
            "share": float((states_of_layer > SATURATED).mean()),
            "histogram": (counts / counts.sum()).tolist(),
        })
    return found


@quiet_overflow
def reach(params: Parameters, ids: Array) -> list[list[float]]:
    """How strongly a loss still depends on the state k steps before, for each layer.

    Row k is the norm of dL_t/dh_(t-k), the root of its mean square over PLACES in the text,
    relative to that of k = 1: the vanishing gradient, seen. Empty for too short a text.
    """
    arch, context = params.arch, REACH
    if len(ids) < context + REACH + 2:
        return []
    ends = np.linspace(context + REACH, len(ids) - 2, PLACES).astype(np.intp)
    stretch = np.stack([ids[end - context - REACH : end + 1] for end in ends], axis=1)
    tape, grad = Tape(arch, context + REACH, PLACES), Parameters(arch)
    forward(params, stretch[:-1], params.zero_state(PLACES), tape)
    states = tape.hs.copy()  # row t: after t symbols
    norms = []
    for k in range(1, REACH + 1):
        x = stretch[-1 - k : -1]
        logits, _ = forward(params, x, states[context + REACH - k], tape)
        last = logits[-PLACES:]
        _, totals = surprisal(last, stretch[-1])
        last /= totals[:, None]
        last[np.arange(PLACES), stretch[-1]] -= 1
        logits[:-PLACES] = 0  # the loss is that of the last step alone
        dh0 = backward(params, x, logits, tape, grad)
        norms.append([math.sqrt(float((part**2).sum(axis=1).mean()))
                      for part in np.split(dh0, arch.layers, axis=1)])
    if not np.isfinite(norms).all():
        return []
    first = [max(norm, 1e-30) for norm in norms[0]]
    return [[norm / one for norm, one in zip(row, first, strict=True)] for row in norms]


def shown(vocabulary: Vocabulary, ids: Array) -> list[str]:
    """Each symbol as a string of one character; bytes beyond ASCII as that of their number."""
    if vocabulary.level == "byte":
        return [chr(i) for i in ids.tolist()]
    return [chr(code) for code in vocabulary.codes[ids].tolist()]
