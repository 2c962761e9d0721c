"""Diagnostics: what a network predicts, what its units respond to, how far back it looks.

``trace`` reads a text once, from the zero state, and keeps what the report shows of it.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from charrnn.errors import overflowed
from charrnn.nn.loss import quiet_overflow, surprisal
from charrnn.nn.network import WINDOW, Activations, backward, forward
from charrnn.nn.parameters import Parameters
from charrnn.text.split import Split

LOOKED_AT = 12_000  # symbols of a text that the figures are about, at most
PASSAGE = 1_000  # of them that are shown
AT_ONCE = 1 << 24  # logits that are held at once, 64 MB of them
LARGE = 4_096  # symbols of a vocabulary; with a larger one, fewer of a text are looked at
LIKELIEST = 5
REACH = 64  # steps back that gradients are followed
PLACES = 32  # in the text from which they are
SATURATED = 0.97  # |h| beyond which tanh has less than 6 % of its slope left


@dataclass
class Trace:
    """A text as the network read it; row t is before or after its symbol t."""

    ids: ndarray  # (N,)
    bits: ndarray  # (N,) of each symbol
    likeliest: ndarray  # (PASSAGE, LIKELIEST) symbols, likeliest first
    chances: ndarray  # (PASSAGE, LIKELIEST) their p
    guess: ndarray  # (N,) the likeliest symbol
    states: ndarray  # (N, L*H) h after the symbol


def looked_at(V: int) -> int:
    """Symbols of a text that the figures are about: so many that each report is made in time."""
    return max(PASSAGE, min(LOOKED_AT, LOOKED_AT * LARGE // V))


@quiet_overflow
def trace(params: Parameters, part: Split) -> Trace:
    """Read the first symbols of ``part`` after its context, keeping what was seen.

    DivergedError where a state overflows, as those of relu units may.
    """
    arch, first = params.arch, len(part.context)
    ids = part.ids[: looked_at(arch.vocabulary_size)].astype(np.intp)
    stretch = np.concatenate([part.context, ids]).astype(np.intp)
    activations, state = Activations(arch, WINDOW, 1), params.zero_state(1)
    states = np.empty((len(ids), arch.output_size), arch.dtype)
    seen = []  # what ``_digest`` makes of so many logits at once
    rows = max(WINDOW, AT_ONCE // arch.vocabulary_size)
    logits, filled = np.empty((min(rows, len(ids)), arch.vocabulary_size), arch.dtype), 0
    for t in range(0, len(stretch), WINDOW):
        x, reset = stretch[t : t + WINDOW, None].copy(), None
        if part.resets is not None:
            reset = part.resets.apply(x, t + 1 - first + np.arange(len(x))[:, None])
        z, state = forward(params, x, state, activations, reset=reset)
        # After symbol i of the part come state i and the logits of symbol i + 1.
        states[max(0, t - first) : max(0, t - first + len(x))] = (
            activations.hs[1:, 0][max(0, first - t) :])
        z = z[max(0, first - 1 - t) : len(stretch) - 1 - t]
        if filled + len(z) > len(logits):
            seen.append(_digest(logits[:filled], ids, max(0, t + 1 - first) - filled))
            filled = 0
        logits[filled : filled + len(z)] = z
        filled += len(z)
    seen.append(_digest(logits[:filled], ids, len(ids) - filled))
    nats, guess, order, chances = map(np.concatenate, zip(*seen, strict=True))
    return Trace(ids, nats / math.log(2), order, chances, guess, states)


def _digest(z: ndarray, ids: ndarray, start: int) -> tuple[ndarray, ...]:
    """What is kept of the logits ``z`` (n, V) of the symbols from ``start`` on; they are lost.

    Nats and guess (n,); and of those that are of the passage the likeliest and their p.
    """
    guess = z.argmax(axis=1)
    nats, totals = surprisal(z, ids[start : start + len(z)])
    bad = ~np.isfinite(nats)
    if bad.any():
        raise overflowed(f"at symbol {start + int(bad.argmax()) + 1:,} of the text")
    shown = len(z[: max(0, PASSAGE - start)])
    pieces = []
    for i in range(0, max(1, shown), WINDOW):
        rows = slice(i, min(i + WINDOW, shown))
        pieces.append(likeliest(z[rows] / totals[rows, None]))
    order, chances = map(np.concatenate, zip(*pieces, strict=True))
    return nats, guess, order, chances


def likeliest(p: ndarray) -> tuple[ndarray, ndarray]:
    """The LIKELIEST symbols of each row of ``p`` (N, V), likeliest first, and their p."""
    count = min(LIKELIEST, p.shape[1])
    least = np.partition(p, -count, axis=1)[:, -count]
    order = np.empty((len(p), count), np.intp)
    for row, chances, lowest in zip(order, p, least, strict=True):
        among = np.flatnonzero(chances >= lowest)  # more than they are, where some are equal
        row[:] = among[np.argsort(-chances[among], kind="stable")[:count]]
    return order, np.take_along_axis(p, order, axis=1)


def features(text: str) -> dict[str, ndarray]:
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


def telling_units(states: ndarray, seen: dict[str, ndarray]) -> list[tuple[str, int, float]]:
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


def packed(states: ndarray) -> tuple[bytes, float]:
    """Activations (N, U) as numbers of four bits, two in a byte, unit after unit; the scale.

    0 stands for -scale, 15 for +scale.
    """
    scale = max(1e-6, float(np.abs(states).max()))
    levels = np.rint((states.T / scale + 1) * 7.5).astype(np.uint8)
    if levels.shape[1] % 2:
        levels = np.pad(levels, ((0, 0), (0, 1)))
    return (levels[:, ::2] << 4 | levels[:, 1::2]).tobytes(), scale


def confusions(trace: Trace, top: int = 12) -> list[tuple[int, int, int]]:
    """What is taken for what most often: (symbol, guess, times)."""
    wrong = trace.ids != trace.guess
    pairs, counts = np.unique(
        np.stack([trace.ids[wrong], trace.guess[wrong]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-counts, kind="stable")[:top]
    return [(int(a), int(b), int(n)) for (a, b), n in zip(pairs[order], counts[order],
                                                          strict=True)]


def hardest(trace: Trace, top: int = 12) -> list[tuple[int, float, int]]:
    """The symbols that cost most bits together: (symbol, mean bits, times)."""
    total = np.bincount(trace.ids, trace.bits)
    times = np.bincount(trace.ids)
    order = np.argsort(-total, kind="stable")[:top]
    return [(int(i), float(total[i] / times[i]), int(times[i])) for i in order if times[i]]


def worst(trace: Trace, top: int = 10, apart: int = 40) -> list[int]:
    """The places of the most surprising symbols, some way apart from each other."""
    places: list[int] = []
    for place in np.argsort(-trace.bits, kind="stable").tolist():
        if all(abs(place - other) >= apart for other in places):
            places.append(place)
            if len(places) == top:
                break
    return places


def saturation(states: ndarray, layers: int) -> list[dict[str, Any]]:
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
def reach(params: Parameters, ids: ndarray) -> list[list[float]]:
    """How strongly a loss still depends on the state k steps before, for each layer.

    Row k is the norm of dL_t/dh_(t-k), the root of its mean square over PLACES in the text,
    relative to that of k = 1: the vanishing gradient, seen. Empty for too short a text.
    """
    context = REACH
    if len(ids) < context + REACH + 2:
        return []
    ends = np.linspace(context + REACH, len(ids) - 2, PLACES).astype(np.intp)
    stretch = np.stack([ids[end - context - REACH : end + 1] for end in ends], axis=1)
    narrow = params.arch.vocabulary_size > LARGE
    if narrow:
        params, stretch = _narrowed(params, stretch)
    arch = params.arch
    activations, grad = Activations(arch, context + REACH, PLACES), Parameters(arch)
    forward(params, stretch[:-1], params.zero_state(PLACES), activations)
    states = [activations.state(t) for t in range(context, context + REACH)]
    norms = []
    for k in range(1, REACH + 1):
        x = stretch[-1 - k : -1]
        logits, _ = forward(params, x, states[-k], activations)
        last = logits[-PLACES:]
        if narrow:
            last[:] = np.eye(PLACES, arch.vocabulary_size)
        else:
            _to_gradient(last, stretch[-1])
        logits[:-PLACES] = 0  # the loss is that of the last step alone
        dstate = backward(params, x, logits, activations, grad)
        norms.append([math.sqrt(float((dstate[:, arch.columns(layer)] ** 2).sum(axis=1).mean()))
                      for layer in range(arch.layers)])
    if not np.isfinite(norms).all():
        return []
    first = [max(norm, 1e-30) for norm in norms[0]]
    return [[norm / one for norm, one in zip(row, first, strict=True)] for row in norms]


def _to_gradient(logits: ndarray, y: ndarray) -> None:
    """Turn logits (N, V) into the gradients, p - onehot(y), of the losses of their rows."""
    _, totals = surprisal(logits, y)
    logits /= totals[:, None]
    logits[np.arange(len(y)), y] -= 1


def _narrowed(params: Parameters, stretch: ndarray) -> tuple[Parameters, ndarray]:
    """For a large vocabulary, a network of few symbols in which the same gradients flow.

    What ``stretch`` (T+1, B) reads are its symbols, numbered anew. The loss is that of the last
    step, so its gradient by the last h, (B, L*H), is computed here: row b of it is column b of
    the new W_hy, which the backward pass is to be given a one for.
    """
    T, B = len(stretch) - 1, stretch.shape[1]
    found, x = np.unique(stretch[:-1], return_inverse=True)
    arch = dataclasses.replace(params.arch, vocabulary_size=max(len(found), B))
    narrowed = Parameters(arch)
    for name, new in narrowed.named.items():
        if name == "W_xh0":
            new[: len(found)] = params.W_xh[0][found]
        elif name not in ("W_hy", "b_y"):
            new[:] = params.named[name]
    x = x.reshape(T, B)
    activations = Activations(arch, T, B)
    forward(narrowed, x, narrowed.zero_state(B), activations)
    logits = activations.hs[-1] @ params.W_hy + params.b_y
    _to_gradient(logits, stretch[-1])
    narrowed.W_hy[:, :B] = (logits @ params.W_hy.T).T
    return narrowed, np.concatenate([x, np.zeros((1, B), x.dtype)])
