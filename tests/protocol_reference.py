"""charrnn rebuilt from docs/protocol.md alone: a naive reference implementation in plain NumPy.

It imports nothing of charrnn. ``C`` holds the numbers of that page by name; every other rule is
written out here as the page has it. All arithmetic is float64.
"""

from __future__ import annotations

import lzma
import math
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np

# Random numbers, vocabulary, split, batches.


def random(seed, purpose, number=0):
    key, counter = [seed, int(purpose)], [0, 0, number, 0]
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def vocabulary(text):
    """The code points in ascending order, and the id of the start symbol."""
    codes = sorted(set(map(ord, text)))
    return codes, codes.index(10) if 10 in codes else 0


def training_size(C, N, fraction=None):
    if fraction is None:
        fraction = min(C["val share"], C["val most"] / N)
    train = math.floor(N * (1 - fraction) + C["val rounding"])
    return N if N - train < C["val least"] else train


def batches(C, N_train, seq_length, batch_size):
    """O, T, B, n and W of the page."""
    M = N_train - 1
    O = min(seq_length - 1, M // int(C["offset share"]))  # noqa: E741 - as on the page
    T = min(seq_length, M - O)
    B = min(batch_size, (M - O) // T)
    n = (M - O) // B
    return O, T, B, n, math.ceil(n / T)


# The model.


BLOCKS = {"rnn": 1, "gru": 3, "lstm": 4}  # k


def initial(C, seed, V, H, L, cell):
    """All parameters by name."""
    rng, p, k = random(seed, C["nn.rng.Purpose.PARAMETERS"]), {}, BLOCKS[cell]
    for layer in range(L):
        rows, deviation = (H, H**-0.5) if layer else (V, 1)
        p[f"W_xh{layer}"] = deviation * rng.standard_normal((rows, k * H))
        blocks = []
        for _ in range(k):
            Q, R = np.linalg.qr(rng.standard_normal((H, H)))
            blocks.append(Q * np.sign(np.diag(R))[None, :])
        p[f"W_hh{layer}"] = np.hstack(blocks)
        p[f"b_h{layer}"] = np.zeros(k * H)
        if cell == "lstm":
            p[f"b_h{layer}"][H : 2 * H] = 1
    p["W_hy"] = (L * H) ** -0.5 * rng.standard_normal((L * H, V))
    p["b_y"] = np.zeros(V)
    return p


def zero_state(p, B, L):
    """The states (B, L, H) before a text; in an lstm (B, L, 2H), h and then c."""
    H, kH = p["W_hh0"].shape
    return np.zeros((B, L, 2 * H if kH == 4 * H else H))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer_step(a, W_hh, before):
    """One layer from its input part ``a`` (B, kH) and its states ``before``.

    Returns the new states, and what ``layer_back`` needs.
    """
    H = len(W_hh)
    h, product = before[:, :H], before[:, :H] @ W_hh
    if W_hh.shape[1] == H:
        new = np.tanh(a + product)
        return new, (new,)
    if W_hh.shape[1] == 3 * H:
        r, z = np.split(sigmoid((a + product)[:, : 2 * H]), 2, axis=1)
        n = np.tanh(a[:, 2 * H :] + r * product[:, 2 * H :])
        return (1 - z) * n + z * h, (r, z, n, product[:, 2 * H :], h)
    i, f, g, o = np.split(a + product, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * before[:, H:] + i * g
    return np.hstack([o * np.tanh(c), c]), (i, f, g, o, c, before[:, H:])


def layer_back(dnew, W_hh, saved):
    """Derivatives of ``layer_step``: by a, by the product with W_hh, by the states before."""
    if len(saved) == 1:
        da = dnew * (1 - saved[0] ** 2)
        return da, da, da @ W_hh.T
    if len(saved) == 5:
        r, z, n, product, h = saved
        dn = dnew * (1 - z) * (1 - n**2)
        dz, dr = dnew * (h - n) * z * (1 - z), dn * product * r * (1 - r)
        dproduct = np.hstack([dr, dz, dn * r])
        return np.hstack([dr, dz, dn]), dproduct, dproduct @ W_hh.T + dnew * z
    i, f, g, o, c, c_before = saved
    dh, dc = np.split(dnew, 2, axis=1)
    dc = dc + dh * o * (1 - np.tanh(c) ** 2)
    da = np.hstack([dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g**2),
                    dh * np.tanh(c) * o * (1 - o)])
    return da, da, np.hstack([da @ W_hh.T, dc * f])


def forward(p, x, h, mask=1.0, trace=None):
    """Read the symbols ``x`` (B,) from the states ``h``, as ``zero_state`` has them.

    Returns the logits (B, V), the new states, and what dropout leaves of the outputs (B, L, H).
    Appends what ``layer_back`` needs of each layer to ``trace``.
    """
    B, L, H = *h.shape[:2], len(p["W_hh0"])
    new, kept = np.empty_like(h), np.empty((B, L, H))
    below, masks = np.eye(len(p["b_y"]))[x], np.broadcast_to(mask, kept.shape)
    for layer in range(L):
        a = below @ p[f"W_xh{layer}"] + p[f"b_h{layer}"]
        new[:, layer], saved = layer_step(a, p[f"W_hh{layer}"], h[:, layer])
        if trace is not None:
            trace.append(saved)
        below = kept[:, layer] = new[:, layer, :H] * masks[:, layer]
    return kept.reshape(B, -1) @ p["W_hy"] + p["b_y"], new, kept


def log_softmax(z):
    return z - np.logaddexp.reduce(z, axis=-1)[..., None]


def gradient(p, xs, ys, h, mask=1.0, resets=None):
    """Loss and gradient of a window (T, B) from the states ``h``, and the states after it."""
    (T, B), L, H = xs.shape, h.shape[1], len(p["W_hh0"])
    g, loss, steps = {name: np.zeros_like(value) for name, value in p.items()}, 0.0, []
    masks = np.broadcast_to(mask, (B, L, H))
    for t in range(T):
        if resets is not None:
            h = np.where(resets[t][:, None, None], 0, h)
        z, new, kept = forward(p, xs[t], h, masks, saved := [])
        logs = log_softmax(z)
        loss -= logs[np.arange(B), ys[t]].sum() / (T * B)
        steps.append((h, saved, kept, (np.exp(logs) - np.eye(z.shape[1])[ys[t]]) / (T * B)))
        h = new
    later = np.zeros_like(h)  # the gradient of the states, from the step after
    for t in reversed(range(T)):
        before, saved, kept, dz = steps[t]
        g["W_hy"] += kept.reshape(B, -1).T @ dz
        g["b_y"] += dz.sum(axis=0)
        dkept = (dz @ p["W_hy"].T).reshape(B, L, H)
        for layer in reversed(range(L)):
            dnew = later[:, layer]
            dnew[:, :H] += dkept[:, layer] * masks[:, layer]
            da, dproduct, later[:, layer] = layer_back(dnew, p[f"W_hh{layer}"], saved[layer])
            below = kept[:, layer - 1] if layer else np.eye(z.shape[1])[xs[t]]
            g[f"W_xh{layer}"] += below.T @ da
            g[f"W_hh{layer}"] += before[:, layer, :H].T @ dproduct
            g[f"b_h{layer}"] += da.sum(axis=0)
            if resets is not None:
                later[resets[t], layer] = 0
            if layer:
                dkept[:, layer - 1] += da @ p[f"W_xh{layer}"].T
    return loss, g, h


# Training.


def learning_rate(C, s, S, peak, schedule, warmup):
    w = min(warmup, S // int(C["warm-up share"]))
    if s <= w:
        return peak * s / w
    d = (s - 1 - w) / max(1, S - w)
    return peak * {"constant": 1.0, "cosine": (1 + math.cos(math.pi * d)) / 2,
                   "exponential": C["nn.optimizers.EXPONENTIAL_END"] ** d}[schedule]


def optimize(C, name, p, g, moments, s, rate):
    beta1, beta2 = C["nn.optimizers.BETA1"], C["nn.optimizers.BETA2"]
    epsilon, rho = C["nn.optimizers.EPSILON"], C["nn.optimizers.RMSPROP_DECAY"]
    for key in p:
        first, second = moments.setdefault(key, [np.zeros_like(p[key]), np.zeros_like(p[key])])
        if name == "adam":
            first[:] = beta1 * first + (1 - beta1) * g[key]
            second[:] = beta2 * second + (1 - beta2) * g[key] ** 2
            corrected = np.sqrt(second / (1 - beta2**s)) + epsilon
            p[key] -= rate * first / (1 - beta1**s) / corrected
        elif name == "sgd":
            first[:] = C["nn.optimizers.MOMENTUM"] * first + g[key]
            p[key] -= rate * first
        else:
            kept, new = (rho, 1 - rho) if name == "rmsprop" else (1, 1)
            first[:] = kept * first + new * g[key] ** 2
            p[key] -= rate * g[key] / (np.sqrt(first) + epsilon)


def train(C, text, s):
    """Loss, gradient norm and rate of every step, and the parameters after the last.

    ``s`` holds all settings by name; ``files`` are the positions of file borders, if they reset.
    """
    codes, start = vocabulary(text)
    ids = np.array([codes.index(ord(c)) for c in text])
    N = training_size(C, len(ids), s["val_fraction"])
    O, T, B, n, W = batches(C, N, s["seq_length"], s["batch_size"])  # noqa: E741
    H, L, seed = s["hidden_size"], s["layers"], s["seed"]
    p, moments, rows = initial(C, seed, len(codes), H, L, s["cell"]), {}, []
    for step in range(1, s["steps"] + 1):
        epoch, window = divmod(step - 1, W)
        if window == 0:
            h = zero_state(p, B, L)
            offset = int(random(seed, C["nn.rng.Purpose.WINDOW_OFFSET"], epoch).integers(O + 1))
        at = offset + np.arange(B) * n + np.arange(window * T, min(n, window * T + T))[:, None]
        resets = np.isin(at + 1, s["files"])
        xs, ys = np.where(resets, start, ids[at]), ids[at + 1]
        mask, drop = 1.0, s["dropout"]
        if drop:
            u = random(seed, C["nn.rng.Purpose.DROPOUT"], step).random((B, L * H), np.float32)
            mask = (np.where(u < np.float32(drop), 0, 1 / (1 - drop))).reshape(B, L, H)
        loss, g, h = gradient(p, xs, ys, h, mask, resets)
        before = norm(g)
        if s["clip_value"]:
            g = {key: np.clip(value, -s["clip_value"], s["clip_value"]) for key, value in g.items()}
        if s["clip_norm"] and norm(g) > s["clip_norm"]:
            factor = s["clip_norm"] / norm(g)
            g = {key: value * factor for key, value in g.items()}
        rate = learning_rate(C, step, s["steps"], s["learning_rate"], s["schedule"], s["warmup"])
        for key in p:
            if key.startswith("W_"):
                p[key] *= 1 - rate * s["weight_decay"]
        optimize(C, s["optimizer"], p, g, moments, step, rate)
        rows.append((loss, before, rate))
    return rows, p


def norm(g):
    return math.sqrt(sum(float((value**2).sum()) for value in g.values()))


# Scores.


def surprisals(p, L, start, before, ids, files=()):
    """-log p of each of ``ids``, and whether it was the most likely, from the zero state.

    ``before`` is read first; ``files`` are positions in ``ids`` (negative: before them) at which
    the state is reset.
    """
    h, read, found = zero_state(p, 1, L), [*before, *ids], []
    for i, (x, y) in enumerate(pairwise(read), start=1 - len(before)):
        if i in files:
            h, x = np.zeros_like(h), start
        z, h, _ = forward(p, np.array([x]), h)
        if i >= 0:
            found.append((-log_softmax(z)[0, y], z[0].argmax() == y))
    return found


def score(C, p, L, start, context, ids, files=()):
    """``surprisals`` in segments."""
    segment, reach, found = C["inference.scoring.SEGMENT"], C["text.split.CONTEXT"], []
    everything = [*context, *ids]
    for at in range(0, len(ids), segment):
        end = len(context) + at
        shifted = {position - at for position in files}
        found += surprisals(p, L, start, everything[max(0, end - reach) : end],
                            ids[at : at + segment], shifted)
    return found


def dynamic(C, p, L, context, ids):
    """-log p of each of ``ids`` in dynamic evaluation."""
    every, rate = C["inference.dynamic.UPDATE_EVERY"], C["inference.dynamic.RATE"]
    p, nats = {key: value.copy() for key, value in p.items()}, []
    squares = {key: np.zeros_like(value) for key, value in p.items()}
    h, context = zero_state(p, 1, L), context[-C["text.split.CONTEXT"] :]
    for x in context[:-1]:
        _, h, _ = forward(p, np.array([x]), h)
    inputs = [context[-1], *ids[:-1]]
    for k, t in enumerate(range(0, len(ids), every), start=1):
        xs, ys = (np.array(part[t : t + every])[:, None] for part in (inputs, ids))
        loss, g, h = gradient(p, xs, ys, h)
        nats.append(loss * len(xs))
        for key in p:
            squares[key] += (g[key] ** 2 - squares[key]) / k
            p[key] -= rate * g[key] / (np.sqrt(squares[key]) + C["inference.dynamic.EPSILON"])
    return sum(nats) / len(ids)


# Baselines.


def kneser_ney(C, train, context, ids, V, order):
    """Mean -log p of ``ids`` under n-grams of one ``order``."""
    grams = {k: Counter(zip(*(train[i:] for i in range(k)), strict=False))
             for k in range(1, order + 1)}
    tables = {}
    for k in range(1, order + 1):
        a = grams[k] if k == order else Counter(gram[1:] for gram in grams[k + 1])
        n1, n2, n3, n4 = (sum(count == i for count in a.values()) for i in (1, 2, 3, 4))
        D = [0] + [C["discount few"]] * 3
        if n1 and n2 and n3:
            Y = n1 / (n1 + 2 * n2)
            D = [0, 1 - 2 * Y * n2 / n1, 2 - 3 * Y * n3 / n2, 3 - 4 * Y * n4 / n3]
            D = [0] + [min(max(D[i], C["discount least"]), i) for i in (1, 2, 3)]
        after = defaultdict(Counter)
        for gram, count in a.items():
            after[gram[:-1]][gram[-1]] = count
        tables[k] = after, D

    def p(k, c, s):
        if k == 0:
            return 1 / V
        below = p(k - 1, c[1:], s)
        counts, D = tables[k][0].get(c, Counter()), tables[k][1]
        total = sum(counts.values())
        if len(c) < k - 1 or total == 0:
            return below
        own = counts[s] - D[min(counts[s], 3)]
        return (own + sum(D[min(count, 3)] for count in counts.values()) * below) / total

    everything = [*context, *ids]
    nats = 0.0
    for i in range(len(context), len(everything)):
        c, k = tuple(everything[max(0, i - order + 1) : i]), min(order, i + 1)
        if k < order:  # fewer symbols precede: the lower order, with the counts of lower orders
            c = c[len(c) - k + 1 :]
        nats -= math.log(p(k, c, everything[i]))
    return nats / len(ids)


def dictionary(C, size):
    power = max(int(C["lzma least"]), math.ceil(math.log2(max(1, size))))
    return 2 ** min(power, int(C["lzma most"]))


def lzma_nats(C, train, text):
    def size(data):
        filters = [{"id": lzma.FILTER_LZMA2, "preset": int(C["lzma preset"]),
                    "dict_size": dictionary(C, len(data))}]
        return len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters))

    more = size((train + text).encode()) - size(train.encode())
    return math.log(2) * 8 * more / len(text)


# Sampling.


def sample(C, p, L, start, prime, length, seed, number=0, **how):
    """The symbols of one sample."""
    rng, drawn = random(seed, C["nn.rng.Purpose.SAMPLING"], number), []
    h = zero_state(p, 1, L)
    for x in (start, *prime):
        z, h, _ = forward(p, np.array([x]), h)
    for _ in range(length):
        drawn.append(draw(z[0], rng.random(), **how))
        z, h, _ = forward(p, np.array(drawn[-1:]), h)
    return drawn


def draw(z, u, temperature=1.0, top_k=0, top_p=1.0):
    if temperature == 0:
        return int(z.argmax())
    w = np.exp((z - z.max()) / temperature)
    order = sorted(range(len(z)), key=lambda i: (-z[i], i))
    for i in order[top_k:] if top_k else ():
        w[i] = 0
    total, before = w.sum(), 0.0
    for i in sorted(range(len(z)), key=lambda i: (-w[i], i)) if top_p < 1 else ():
        weight = w[i]
        if before >= top_p * total:
            w[i] = 0
        before += weight
    return next(i for i, edge in enumerate(w.cumsum()) if edge > u * w.sum())
