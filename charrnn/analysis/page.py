"""The HTML page of a report: page.html, filled with a checkpoint's data and diagnostics."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

import charrnn
from charrnn.analysis import diagnostics, reach
from charrnn.config.settings import as_option, shown
from charrnn.storage.checkpoint import Checkpoint
from charrnn.text.display import as_strings, printable, printable_name
from charrnn.text.split import Split

TEMPLATE = Path(__file__).with_name("page.html")
UNITS = 512  # of h, and of tanh(c), that can be selected: the most correlated, then the first


def page(
    checkpoint: Checkpoint, path: Path, part: Split, source: str,
    baselines: list[tuple[str, float]],
) -> str:
    """The page for ``checkpoint``, the contents of ``path``, with diagnostics on ``part``.

    ``source`` is a sentence that describes the part; ``baselines`` are names and nats per
    character, to compare the curves with.
    """
    data = {**about(checkpoint, path), **analyzed(checkpoint, part), "source": source,
            "baselines": baselines}
    # A "<" could end the script element; in JSON it can be escaped everywhere.
    as_json = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    as_json = as_json.replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("DATA", as_json, 1)


def about(checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    """Facts about the run, from the checkpoint alone."""
    progress, arch = checkpoint.progress, checkpoint.best.arch
    units = arch.activation if arch.cell_type == "rnn" else arch.cell_type.upper()
    changed = [(key, checkpoint.settings[key]) for key in checkpoint.changed]
    values = [(key, printable_name(shown(value))) for key, value in changed]
    options = [as_option(key, shlex.quote(value)) for key, value in values]
    computed = [("dropout", "dropout"), ("weight decay", "weight_decay"),
                ("steps between validations", "eval_every")]
    given = [shlex.quote(printable_name(checkpoint.corpus))]
    given += ["--val FILE"] * bool(checkpoint.origin["val"])
    given += ["--init-from FILE"] * bool(checkpoint.origin["init_from"])
    return {
        "name": printable_name(path.stem),
        "version": charrnn.__version__,
        "step": progress.step,
        "best": progress.best_nats,
        "best_step": progress.best_step,
        "changed": values,
        "command": " ".join(["charrnn train", *given, *options]),
        "facts": [
            ("text", printable_name(checkpoint.corpus)),
            ("SHA-256 of the text", checkpoint.origin["corpus"]),
            ("vocabulary", f"{len(checkpoint.vocabulary):,} {checkpoint.settings['level']}s"),
            ("network", f"{arch.layers} x {arch.hidden_size} {units} units, "
                        f"{arch.size:,} parameters"),
            ("steps", f"{progress.step:,} of {progress.steps:,}"),
            # Older files do not record the values of computed defaults.
            *((name, shown(checkpoint.settings[key])) for name, key in computed
              if checkpoint.settings[key] is not None),
            ("seed, threads", f"{checkpoint.settings['seed']}, {checkpoint.threads}"),
            ("SHA-256 of the checkpoint", checkpoint.digest),
        ],
        "history": checkpoint.history,
        "samples": [(step, printable(text)) for step, text in checkpoint.samples],
        "activation": arch.activation if arch.cell_type == "rnn" else "",
        "bytes": checkpoint.vocabulary.level == "byte",
        "symbols": as_shown(checkpoint.vocabulary.decode(np.arange(len(checkpoint.vocabulary)))),
    }


def as_shown(text: str | bytes) -> list[str]:
    """Each symbol as page.html expects it; the page itself names C0 controls and bytes."""
    symbols = as_strings(text)
    return symbols if isinstance(text, bytes) else [
        c if c < "\x7f" else printable(c) for c in symbols]


def analyzed(checkpoint: Checkpoint, part: Split) -> dict[str, Any]:
    """The diagnostics of the best weights on a part of a text."""
    arch, vocabulary = checkpoint.best.arch, checkpoint.vocabulary
    trace = diagnostics.trace(checkpoint.best, part)
    text = vocabulary.decode(trace.ids)
    characters, symbols = as_strings(text), as_shown(text)
    around = [c if c == "\r" else printable(c) for c in characters]
    features = diagnostics.features("".join(characters))
    parts = [trace.states] if trace.cells is None else [trace.states, trace.cells]
    states = np.concatenate(parts, axis=1)
    correlated = diagnostics.correlated_units(states, features)
    first = [unit for _, unit, _ in correlated]
    units: list[int] = []
    for j in range(len(parts)):
        own = range(j * arch.output_size, (j + 1) * arch.output_size)
        units += sorted(list(dict.fromkeys([*(u for u in first if u in own), *own]))[:UNITS])
    shape = len(parts), arch.layers, arch.hidden_size
    packed, scale = diagnostics.packed(states[: diagnostics.PASSAGE, units])
    return {
        "looked_at": len(trace.ids),
        "text": symbols[: diagnostics.PASSAGE],
        "bits": np.round(trace.bits[: diagnostics.PASSAGE], 2).tolist(),
        "top": [[(symbol, round(p, 4)) for symbol, p in zip(*row, strict=True)] for row in
                zip(trace.most_likely.tolist(), trace.probabilities.tolist(), strict=True)],
        "units": {
            "count": len(units),
            # Of h and tanh(c), the layer, and the unit in it.
            "which": [[int(i) for i in np.unravel_index(unit, shape)] for unit in units],
            "correlated": [(name, units.index(unit), round(r, 3)) for name, unit, r in correlated
                           if unit in units],
            "packed": base64.b64encode(packed).decode(),
            "scale": scale,
        },
        "confusions": diagnostics.confusions(trace),
        "hardest": diagnostics.hardest(trace),
        "worst": [
            ("".join(around[max(0, place - 30) : place]), symbols[place],
             "".join(around[place + 1 : place + 11]), float(trace.bits[place]),
             int(trace.prediction[place]))
            for place in diagnostics.worst(trace)
        ],
        "gates": [
            {"name": name, "open": np.round(gate[:, 0], 3).tolist(),
             "closed": np.round(gate[:, 1], 3).tolist()}
            for name, gate in zip(arch.cell.gates, trace.gates, strict=True)
        ],
        "open": diagnostics.OPEN,
        "closed": diagnostics.CLOSED,
        "saturated": diagnostics.SATURATED,
        "saturation": diagnostics.saturation(trace.states, arch.layers),
        "reach": reach.reach(checkpoint.best, trace.ids),
    }
