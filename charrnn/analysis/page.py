"""The HTML page of a report: the numbers of ``diagnostics``, drawn by page.html."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

import charrnn
from charrnn.analysis import diagnostics
from charrnn.config.settings import option_name
from charrnn.storage.checkpoint import Checkpoint
from charrnn.text.display import as_strings, printable
from charrnn.text.split import Split

TEMPLATE = Path(__file__).with_name("page.html")
UNITS = 512  # that can be picked; of more, the most telling and then the first


def page(
    checkpoint: Checkpoint, path: Path, part: Split, source: str,
    baselines: list[tuple[str, float]],
) -> str:
    """The page on ``checkpoint``, which was read from ``path``, reading ``part``.

    ``source`` is a sentence on what the part is; ``baselines`` are names and nats per character
    to compare the curves with.
    """
    data = {**about(checkpoint, path), **seen(checkpoint, part), "source": source,
            "baselines": baselines}
    # In a script element "<" could end it; JSON may write it as an escape everywhere.
    written = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    written = written.replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("DATA", written, 1)


def about(checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    """What the file says of the checkpoint."""
    progress, arch = checkpoint.progress, checkpoint.best.arch
    changed = [(key, checkpoint.settings[key]) for key in checkpoint.changed]
    options = [f"{option_name(key)} {shlex.quote(str(value))}" for key, value in changed]
    given = [shlex.quote(printable(checkpoint.corpus))]
    given += ["--val FILE"] * bool(checkpoint.origin["val"])
    given += ["--init-from FILE"] * bool(checkpoint.origin["init_from"])
    return {
        "name": printable(path.stem),
        "version": charrnn.__version__,
        "step": progress.step,
        "best": progress.best_nats,
        "best_step": progress.best_step,
        "changed": [(key, str(value)) for key, value in changed],
        "command": " ".join(["charrnn train", *given, *options]),
        "facts": [
            ("text", printable(checkpoint.corpus)),
            ("its SHA-256", checkpoint.origin["corpus"]),
            ("symbols", f"{len(checkpoint.vocabulary):,} {checkpoint.settings['level']}s"),
            ("network", f"{arch.layers} x {arch.hidden_size} {arch.activation} units, "
                        f"{arch.size:,} parameters"),
            ("steps", f"{progress.step:,} of {progress.steps:,}"),
            ("seed, threads", f"{checkpoint.settings['seed']}, {checkpoint.threads}"),
            ("digest of the file", checkpoint.digest),
        ],
        "history": checkpoint.history,
        "samples": checkpoint.samples,
        "tanh": arch.activation == "tanh",
        "bytes": checkpoint.vocabulary.level == "byte",
        "symbols": as_strings(checkpoint.vocabulary.decode(np.arange(len(checkpoint.vocabulary)))),
    }


def seen(checkpoint: Checkpoint, part: Split) -> dict[str, Any]:
    """What reading a part of a text shows."""
    arch, vocabulary = checkpoint.best.arch, checkpoint.vocabulary
    trace = diagnostics.trace(checkpoint.best, part)
    characters = as_strings(vocabulary.decode(trace.ids))
    telling = diagnostics.telling_units(trace.states, diagnostics.features("".join(characters)))
    first = [unit for _, unit, _ in telling]
    units = list(dict.fromkeys([*first, *range(arch.output_size)]))[:UNITS]
    if arch.output_size <= UNITS:
        units.sort()
    packed, scale = diagnostics.packed(trace.states[: diagnostics.PASSAGE, units])
    return {
        "looked_at": len(trace.ids),
        "text": characters[: diagnostics.PASSAGE],
        "bits": np.round(trace.bits[: diagnostics.PASSAGE], 2).tolist(),
        "top": [[(symbol, round(chance, 4)) for symbol, chance in zip(*row, strict=True)]
                for row in zip(trace.likeliest.tolist(), trace.chances.tolist(), strict=True)],
        "units": {
            "count": len(units),
            "which": [divmod(unit, arch.hidden_size) for unit in units],
            "telling": [(name, units.index(unit), round(r, 3)) for name, unit, r in telling
                        if unit in units],
            "packed": base64.b64encode(packed).decode(),
            "scale": scale,
        },
        "confusions": diagnostics.confusions(trace),
        "hardest": diagnostics.hardest(trace),
        "worst": [
            ("".join(characters[max(0, place - 30) : place]), characters[place],
             "".join(characters[place + 1 : place + 11]), float(trace.bits[place]),
             int(trace.guess[place]))
            for place in diagnostics.worst(trace)
        ],
        "saturated": diagnostics.SATURATED,
        "saturation": diagnostics.saturation(trace.states, arch.layers),
        "reach": diagnostics.reach(checkpoint.best, trace.ids),
    }
