"""n-gram models with interpolated, modified Kneser-Ney smoothing.

Chen & Goodman 1999, "An empirical study of smoothing techniques for language modeling". The
probability of a symbol after its last k-1 is, from discounted counts a of the k-grams,

    p_k(s | context) = (a(context s) - D(a(context s))) / a(context .)
                       + (sum of D over what followed the context) / a(context .) * p_(k-1)

with D for a = 1, 2 and 3 or more estimated from how many k-grams there are of each count. The
highest order counts occurrences; the orders below count how many different symbols stood
before; below them all is 1/V.

Symbols make no dictionary of strings here: a k-gram is known by its rank among all k-grams of
the text, found from the rank of its first k-1 symbols and its last symbol by one sort.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from charrnn.text.split import Split

MAX_COUNTED = 20_000_000  # symbols; of a longer text the last are counted
DENSE = 8  # times the text's length: how large a table of all possible k-grams may be


@dataclass
class Grams:
    """The different k-grams of a text, in the order of their codes."""

    codes: ndarray  # (G,) int64, ascending: rank of the first k-1 symbols, times V, plus the last
    counts: ndarray  # (G,) how often each occurs
    first: ndarray  # (G,) where each occurs first
    at: ndarray  # (N-k+1,) the rank of the k-gram that begins at each place
    parents: int  # how many (k-1)-grams there are


def nats_by_order(train: ndarray, part: Split, V: int, order: int) -> Iterator[ndarray]:
    """-ln p of each symbol of ``part`` (N,), for the orders 1 .. ``order`` in turn.

    The counts are those of ``train``, at least one symbol. V symbols are possible, 0 .. V-1.
    """
    text, before = part.ids, part.context
    train = train[-MAX_COUNTED:].astype(np.int64)
    stretch = np.concatenate([before[len(before) - min(len(before), order - 1) :], text])
    places = np.arange(len(stretch) - len(text), len(stretch))  # of the symbols to be scored
    known = np.zeros(len(stretch) + 1, np.int64)  # rank of the (k-1)-gram that begins there
    below = np.full(len(text), 1 / V)  # p of the order below, from its continuations
    table = Grams(np.zeros(1, np.int64), np.array([len(train)]), np.zeros(1, np.int64),
                  np.zeros(len(train) + 1, np.int64), 1)
    # What the order below completes: its continuations are known one order later.
    pending: tuple[ndarray, ndarray] | None = None
    for k in range(1, min(order, len(train)) + 1):
        table, shorter = _longer(table, train, V, k), table
        if pending is not None:
            # The k-grams that differ in their first symbol alone are its continuations.
            ends = np.bincount(shorter.at[table.first + 1], minlength=len(shorter.codes))
            below = _interpolated(ends, shorter.parents, shorter.codes // V, *pending, below)
        context = known[: max(0, len(stretch) - k + 1)]
        gram = _ranks(table.codes, np.where(context < 0, -1, context * V + stretch[k - 1 :]))
        # A symbol near the beginning has no context of this length; there the order below stays.
        inside = places >= k - 1
        begins = places[inside] - k + 1
        grams, contexts = np.full((2, len(text)), -1)
        grams[inside], contexts[inside] = gram[begins], context[begins]
        pending = grams, contexts
        p = _interpolated(table.counts, table.parents, table.codes // V, *pending, below)
        yield -np.log(p)
        known = gram


def _longer(table: Grams, train: ndarray, V: int, k: int) -> Grams:
    """The k-grams, from the (k-1)-grams."""
    places, parents = len(train) - k + 1, len(table.codes)
    codes = table.at[:places] * V + train[k - 1 :]
    if parents * V <= DENSE * places:  # a table of all that there might be: no sort
        counts = np.bincount(codes, minlength=parents * V)
        found = np.flatnonzero(counts)
        ranks = np.zeros(parents * V, np.int64)
        ranks[found] = np.arange(len(found))
        first = np.zeros(parents * V, np.int64)
        first[codes[::-1]] = np.arange(places)[::-1]  # of several the last one stays
        return Grams(found, counts[found], first[found], ranks[codes], parents)
    found, first, at, counts = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )
    return Grams(found, counts, first, at.ravel(), parents)


def _ranks(codes: ndarray, wanted: ndarray) -> ndarray:
    """Where each of ``wanted`` stands in ``codes``, -1 where it does not."""
    ranks = np.searchsorted(codes, wanted).clip(max=len(codes) - 1)
    return np.where(codes[ranks] == wanted, ranks, -1)


def _interpolated(
    a: ndarray, parents: int, parent: ndarray, gram: ndarray, context: ndarray, below: ndarray
) -> ndarray:
    """p of each symbol from the counts ``a`` of k-grams and ``below``, p of the order below.

    ``parent`` is the context of each k-gram, one of so many ``parents``; ``gram`` and
    ``context`` say which k-gram and context each symbol completes, -1 for none of them.
    """
    discount = discounts(a)[np.minimum(a, 3)]
    total = np.bincount(parent, a, parents)
    kept = np.bincount(parent, discount, parents)
    seen = (context >= 0) & (total[context] > 0)
    own = np.where(gram >= 0, (a - discount)[gram], 0.0)
    scale = np.where(seen, total[context], 1.0)
    return np.where(seen, (own + kept[context] * below) / scale, below)


def discounts(a: ndarray) -> ndarray:
    """What is taken from counts of 0, 1, 2 and 3 or more, (4,)."""
    n1, n2, n3, n4 = (np.count_nonzero(a == count) for count in (1, 2, 3, 4))
    if n1 == 0 or n2 == 0 or n3 == 0:  # too little text to estimate it from
        return np.array([0.0, 0.5, 0.5, 0.5])
    Y = n1 / (n1 + 2 * n2)
    estimates = np.array([0, 1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3])
    # Odd counts give odd estimates; something has to be left for what was never seen.
    return estimates.clip([0, 0.1, 0.1, 0.1], [0, 1, 2, 3])
