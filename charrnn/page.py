"""One HTML page on what a run learned: the numbers of ``insight``, drawn by page.html."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import charrnn
from charrnn import config, insight
from charrnn.checkpoint import Checkpoint
from charrnn.console import printable
from charrnn.lanes import Resets

Array = NDArray[Any]

TEMPLATE = Path(__file__).with_name("page.html")
UNITS = 512  # that can be picked; of more, the most telling and then the first


def page(run: Checkpoint, path: Path, text: Array, before: Array, source: str,
         baselines: list[tuple[str, float]], resets: Resets | None = None) -> str:
    """The page on ``run``, which was read from ``path``, reading ``text`` after ``before``.

    Both have at least one symbol; at ``resets`` the network begins anew. ``source`` is a
    sentence on what the text is; ``baselines`` are names and nats per character to compare the
    curves with.
    """
    data = {**about(run, path), **seen(run, text, before, resets), "source": source,
            "baselines": baselines}
    # In a script element "<" could end it; JSON may write it as an escape everywhere.
    written = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    written = written.replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("DATA", written, 1)


def about(run: Checkpoint, path: Path) -> dict[str, Any]:
    """What the file says of the run."""
    progress, arch = run.progress, run.best.arch
    changed = [(key, run.settings[key]) for key in run.changed]
    options = [f"{config.option(key)} {shlex.quote(str(value))}" for key, value in changed]
    given = [shlex.quote(printable(run.corpus))]
    given += ["--val FILE"] * bool(run.origin["val"])
    given += ["--init-from FILE"] * bool(run.origin["init_from"])
    return {
        "name": printable(path.stem),
        "version": charrnn.__version__,
        "step": progress.step,
        "best": progress.best_nats,
        "best_step": progress.best_step,
        "changed": [(key, str(value)) for key, value in changed],
        "command": " ".join(["charrnn train", *given, *options]),
        "facts": [
            ("text", printable(run.corpus)),
            ("its SHA-256", run.origin["corpus"]),
            ("symbols", f"{len(run.vocabulary):,} {run.settings['level']}s"),
            ("network", f"{arch.layers} x {arch.hidden_size} {arch.activation} units, "
                        f"{arch.size:,} parameters"),
            ("steps", f"{progress.step:,} of {progress.steps:,}"),
            ("seed, threads", f"{run.settings['seed']}, {run.threads}"),
            ("digest of the file", run.digest),
        ],
        "history": run.history,
        "samples": run.samples,
        "tanh": arch.activation == "tanh",
        "bytes": run.vocabulary.level == "byte",
        "symbols": insight.shown(run.vocabulary, np.arange(len(run.vocabulary))),
    }


def seen(
    run: Checkpoint, text: Array, before: Array, resets: Resets | None = None
) -> dict[str, Any]:
    """What reading a text shows."""
    arch, vocabulary = run.best.arch, run.vocabulary
    reading = insight.look(run.best, text, before, resets)
    characters = insight.shown(vocabulary, reading.ids)
    order, p = insight.likeliest(reading.p)
    telling = insight.telling_units(reading.states, insight.features("".join(characters)))
    first = [unit for _, unit, _ in telling]
    units = list(dict.fromkeys([*first, *range(arch.state_size)]))[:UNITS]
    if arch.state_size <= UNITS:
        units.sort()
    packed, scale = insight.packed(reading.states[: insight.PASSAGE, units])
    return {
        "looked_at": len(reading.ids),
        "text": characters[: insight.PASSAGE],
        "bits": np.round(reading.bits[: insight.PASSAGE], 2).tolist(),
        "top": [[(symbol, round(chance, 4)) for symbol, chance in zip(*row, strict=True)]
                for row in zip(order.tolist(), p.tolist(), strict=True)],
        "units": {
            "count": len(units),
            "which": [divmod(unit, arch.hidden_size) for unit in units],
            "telling": [(name, units.index(unit), round(r, 3)) for name, unit, r in telling
                        if unit in units],
            "packed": base64.b64encode(packed).decode(),
            "scale": scale,
        },
        "confusions": insight.confusions(reading),
        "hardest": insight.hardest(reading),
        "worst": [
            ("".join(characters[max(0, place - 30) : place]), characters[place],
             "".join(characters[place + 1 : place + 11]), float(reading.bits[place]),
             int(reading.guess[place]))
            for place in insight.worst(reading)
        ],
        "saturated": insight.SATURATED,
        "saturation": insight.saturation(reading.states, arch.layers),
        "reach": insight.reach(run.best, reading.ids),
    }
