"""n-gram models with interpolated, modified Kneser-Ney smoothing.

Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling". From
the counts a of the k-grams, the probability of a symbol s after a context of k-1 symbols is

    p_k(s | context) = (a(context s) - D(a(context s))) / a(context .)
                       + (sum over s' of D(a(context s'))) / a(context .) * p_(k-1)(s)

The discounts D for a = 1, a = 2 and a >= 3 are estimated from the numbers of k-grams with each
count. For the highest order, a is the number of occurrences; for the orders below, it is the
number of different symbols that precede the k-gram. The lowest order, p_0, is 1/V.

There is no dictionary of strings: a k-gram is represented by its rank among all k-grams of the
text, which one sort computes from the rank of its first k-1 symbols and its last symbol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from charrnn.text.split import Split

MAX_COUNTED = 20_000_000  # symbols; of a longer text, only the last ones are counted
DENSE = 8  # largest table of all possible k-grams, in multiples of the text's length


@dataclass
class Grams:
    """The G different k-grams of a text of N symbols, ordered by code."""

    codes: ndarray  # (G,) int64, ascending: V * rank of the first k-1 symbols + the last symbol
    counts: ndarray  # (G,) occurrences of each
    first: ndarray  # (G,) position of each one's first occurrence
    at: ndarray  # (N-k+1,) rank of the k-gram that begins at each position
    parents: int  # number of different (k-1)-grams


def nats_by_order(train: ndarray, part: Split, V: int, order: int) -> Iterator[ndarray]:
    """Yield -ln p of each symbol of ``part``, (N,), for the orders 1 .. ``order`` in turn.

    Counts come from ``train``, which needs at least one symbol; symbols are 0 .. V-1.
    """
    text, before = part.ids, part.context
    train = train[-MAX_COUNTED:].astype(np.int64)
    passage = np.concatenate([before[len(before) - min(len(before), order - 1) :], text])
    places = np.arange(len(passage) - len(text), len(passage))  # of the symbols to be scored
    known = np.zeros(len(passage) + 1, np.int64)  # rank of the (k-1)-gram that begins there
    below = np.full(len(text), 1 / V)  # p of the order below, from its continuation counts
    table = Grams(np.zeros(1, np.int64), np.array([len(train)]), np.zeros(1, np.int64),
                  np.zeros(len(train) + 1, np.int64), 1)
    # The order below can only be computed one order later, which gives its continuation counts.
    pending: tuple[ndarray, ndarray] | None = None
    for k in range(1, min(order, len(train)) + 1):
        table, shorter = _longer(table, train, V, k), table
        if pending is not None:
            # Continuation count of a (k-1)-gram: the number of different k-grams that end with it.
            ends = np.bincount(shorter.at[table.first + 1], minlength=len(shorter.codes))
            below = _interpolated(ends, shorter.parents, shorter.codes // V, *pending, below)
        context = known[: max(0, len(passage) - k + 1)]
        gram = _ranks(table.codes, np.where(context < 0, -1, context * V + passage[k - 1 :]))
        # A symbol near the beginning has no context of this length and keeps the order below.
        inside = places >= k - 1
        begins = places[inside] - k + 1
        grams, contexts = np.full((2, len(text)), -1)
        grams[inside], contexts[inside] = gram[begins], context[begins]
        pending = grams, contexts
        p = _interpolated(table.counts, table.parents, table.codes // V, *pending, below)
        yield -np.log(p)
        known = gram


def _longer(table: Grams, train: ndarray, V: int, k: int) -> Grams:
    """The k-grams of ``train``, from ``table``, its (k-1)-grams."""
    places, parents = len(train) - k + 1, len(table.codes)
    codes = table.at[:places] * V + train[k - 1 :]
    if parents * V <= DENSE * places:  # a table of all possible codes needs no sort
        counts = np.bincount(codes, minlength=parents * V)
        found = np.flatnonzero(counts)
        ranks = np.zeros(parents * V, np.int64)
        ranks[found] = np.arange(len(found))
        first = np.zeros(parents * V, np.int64)
        first[codes[::-1]] = np.arange(places)[::-1]  # the last value assigned is kept
        return Grams(found, counts[found], first[found], ranks[codes], parents)
    found, first, at, counts = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    return Grams(found, counts, first, at.ravel(), parents)


def _ranks(codes: ndarray, wanted: ndarray) -> ndarray:
    """The position of each of ``wanted`` in the ascending ``codes``, -1 if it is not in it."""
    ranks = np.searchsorted(codes, wanted).clip(max=len(codes) - 1)
    return np.where(codes[ranks] == wanted, ranks, -1)


def _interpolated(
    a: ndarray, parents: int, parent: ndarray, gram: ndarray, context: ndarray, below: ndarray
) -> ndarray:
    """p of each symbol (N,), from the counts ``a`` (G,) and ``below`` (N,), p of the order below.

    ``parent`` (G,) is the context of each k-gram, a number below ``parents``. ``gram`` and
    ``context``, (N,), are the ranks of each symbol's k-gram and context, -1 if never counted.
    """
    discount = discounts(a)[np.minimum(a, 3)]
    total = np.bincount(parent, a, parents)
    kept = np.bincount(parent, discount, parents)
    seen = (context >= 0) & (total[context] > 0)
    own = np.where(gram >= 0, (a - discount)[gram], 0.0)
    scale = np.where(seen, total[context], 1.0)
    return np.where(seen, (own + kept[context] * below) / scale, below)


def discounts(a: ndarray) -> ndarray:
    """The discounts D of counts 0, 1, 2 and 3 or more, (4,), by Chen & Goodman's estimate."""
    n1, n2, n3, n4 = (np.count_nonzero(a == count) for count in (1, 2, 3, 4))
    if n1 == 0 or n2 == 0 or n3 == 0:  # too little text for an estimate
        return np.array([0.0, 0.5, 0.5, 0.5])
    Y = n1 / (n1 + 2 * n2)
    estimates = np.array([0, 1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3])
    # Unusual counts can give estimates out of range. Unseen symbols need some probability.
    return estimates.clip([0, 0.1, 0.1, 0.1], [0, 1, 2, 3])
