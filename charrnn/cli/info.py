"""``charrnn info``: show what a checkpoint contains."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from charrnn.cli.checkpoints import checkpoint_argument, checkpoint_option, choose_checkpoint
from charrnn.cli.console import fitted, write, write_text
from charrnn.cli.guesses import Command
from charrnn.cli.options import quiet_option, start_numpy
from charrnn.config.settings import FIELDS, ONCE_NULL, Value, shown

if TYPE_CHECKING:  # NumPy is imported inside the command: see cli.main
    from charrnn.api.loaded import LoadedModel

NOT_RECORDED = "not recorded"
SYMBOLS = 80  # of the vocabulary that are shown
ROWS = 5  # of the history that are shown


@click.command(cls=Command)
@checkpoint_argument
@checkpoint_option()
@click.option("--json", "as_json", is_flag=True,
              help="Print JSON, with the complete vocabulary, history and samples.")
@quiet_option
def info(named: tuple[str, ...], checkpoints: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Show what a checkpoint contains: model, text, score, settings and history.

    FILE is the checkpoint; -m FILE means the same.
    """
    path = choose_checkpoint(*checkpoints, *named)
    start_numpy()

    from charrnn.api.loaded import load
    from charrnn.cli.format import json_line

    facts = contents(load(path))
    if as_json:
        write(json_line(facts))
    else:
        write_text(fitted("".join(f"{line}\n" for line in lines(facts))))


def contents(model: LoadedModel) -> dict[str, Any]:
    """What ``--json`` prints: everything in the file but the arrays of the run."""
    import numpy as np

    path, run = model.path, model.checkpoint
    arch, progress = run.best.arch, run.progress
    symbols = run.vocabulary.decode(np.arange(len(run.vocabulary)))
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "digest": run.digest,
        "format_version": run.format_version,
        "versions": run.versions or None,
        "model": {
            "cell": arch.cell_type, "activation": arch.activation, "layers": arch.layers,
            "hidden_size": arch.hidden_size, "vocabulary_size": arch.vocabulary_size,
            "parameters": arch.size, "dtype": arch.dtype,
        },
        "text": {
            "name": run.corpus, "digest": run.origin["corpus"],
            "validation_digest": run.origin["val"], "init_from_digest": run.origin["init_from"],
            "undecodable": run.undecodable,
        },
        "vocabulary": {
            "level": run.vocabulary.level,
            "symbols": symbols if isinstance(symbols, str) else None,
            "codes": run.vocabulary.codes.tolist(),
            "replaces_unknown": run.vocabulary.replaces,
        },
        "settings": settings_of(model),
        "explicit": run.explicit if run.explicit_recorded else None,
        "changed": run.changed,
        "not_recorded": not_recorded(settings_of(model), run.origin),
        "used": used(model),
        "progress": {
            "step": progress.step, "steps": progress.steps,
            "best_step": progress.best_step if progress.best_nats is not None else None,
            "best_nats_per_char": progress.best_nats,
            "best_bits_per_char": in_bits(progress.best_nats),
            "validations_since_best": progress.stale,
            "threads": run.threads, "processes": run.processes,
        },
        "history": [
            {"step": step, "training_nats_per_char": loss,
             "training_bits_per_char": in_bits(loss), "validation_nats_per_char": nats,
             "validation_bits_per_char": in_bits(nats), "grad_norm": norm, "learning_rate": rate}
            for step, loss, nats, norm, rate in run.history
        ],
        "samples": [{"step": step, "text": text} for step, text in run.samples],
    }


def settings_of(model: LoadedModel) -> dict[str, Value]:
    """The settings of a run, with the steps, which older files have only in the progress."""
    run = model.checkpoint
    return {**run.settings, "steps": run.settings["steps"] or run.progress.steps}


def used(model: LoadedModel) -> dict[str, int]:
    """What the run used for settings that are upper limits or stand for an automatic choice."""
    run = model.checkpoint
    return {"batch_size": len(run.state), "threads": run.threads,
            "warmup": min(int(run.settings["warmup"] or 0), run.progress.steps // 10)}


def not_recorded(settings: dict[str, Value], origin: dict[str, str | None]) -> list[str]:
    """The settings whose values an older file lacks because they were defaults."""
    unused = {"val_fraction"} if origin["val"] else set()
    return [key for key in ONCE_NULL if settings[key] is None and key not in unused]


def in_bits(nats: float | None) -> float | None:
    """Nats as bits; None stays None."""
    from charrnn.cli.format import bits

    return None if nats is None else bits(nats)


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """The contents as lines for people."""
    from charrnn.text.display import printable_name

    versions = facts["versions"] or {}
    written = ", ".join(f"{name} {printable_name(each)}" for name, each in versions.items())
    model, text = facts["model"], facts["text"]
    kind = f"RNN ({model['activation']})" if model["cell"] == "rnn" else model["cell"].upper()
    yield f"{printable_name(facts['file'])}: {facts['bytes'] / 1000:,.0f} kB"
    yield from table({
        "digest": facts["digest"],
        "written by": f"{written or NOT_RECORDED}; format {facts['format_version']}",
        "model": f"{kind}, {model['layers']} x "
                 f"{model['hidden_size']:,} units, {model['parameters']:,} parameters, "
                 f"{model['dtype']}",
        "text": printable_name(text["name"]),
        "": f"SHA-256 {text['digest']}",
        " ": undecodable(text["undecodable"], facts["settings"]["errors"]),
        "validation": validation(facts),
        "started from": text["init_from_digest"] and (
            f"the best weights of another checkpoint, SHA-256 {text['init_from_digest']}"),
        "vocabulary": symbols(facts["vocabulary"]),
        "progress": f"step {facts['progress']['step']:,} of {facts['progress']['steps']:,}",
        "best score": best(facts),
    })
    yield from settings(facts)
    yield from history(facts["history"], facts["vocabulary"]["level"])
    for sample in facts["samples"][-1:]:
        yield ""
        yield f"Sample at step {sample['step']:,}"
        yield from (f"  | {row}" for row in sample["text"].split("\n"))


def table(rows: dict[str, str | None]) -> Iterator[str]:
    """Names and values in two columns; a value of None is left out."""
    for name, value in rows.items():
        if value is not None:
            yield f"  {name:<13}{value}"


def validation(facts: dict[str, Any]) -> str:
    """What the model was validated on."""
    fraction, digest = facts["settings"]["val_fraction"], facts["text"]["validation_digest"]
    if digest:
        return f"a separate text, SHA-256 {digest}"
    if fraction is None:
        return "the end of the text; its size is not recorded"
    percent = 100 * Decimal(shown(fraction))  # decimal: 100 * 0.07 is 7.000000000000001
    return f"the last {percent.normalize():f} % of the text" if fraction else "none"


def undecodable(number: int, errors: str) -> str | None:
    """What was done with undecodable bytes of the text; None if there were none."""
    done = "replaced by U+FFFD" if errors == "replace" else "skipped"
    return f"{number:,} undecodable byte sequence{'s' * (number != 1)} {done}" if number else None


def symbols(vocabulary: dict[str, Any]) -> str:
    """The vocabulary in a line: its size, and the first of its characters."""
    from charrnn.text.display import quoted

    if vocabulary["symbols"] is None:
        return f"all {len(vocabulary['codes'])} bytes"
    known, count = vocabulary["symbols"], len(vocabulary["codes"])
    more = f" and {count - SYMBOLS:,} more" if count > SYMBOLS else ""
    replaced = "; others are read as U+FFFD" if vocabulary["replaces_unknown"] else ""
    return f"{count:,} character{'s' * (count != 1)}: {quoted(known[:SYMBOLS])}{more}{replaced}"


def best(facts: dict[str, Any]) -> str:
    """The best validation score and its step, or why there is none."""
    from charrnn.cli import format

    progress = facts["progress"]
    nats = progress["best_nats_per_char"]
    if nats is not None:
        return (f"{format.in_bits(nats, facts['vocabulary']['level'])} at step "
                f"{progress['best_step']:,}")
    if facts["settings"]["val_fraction"] == 0 and not facts["text"]["validation_digest"]:
        return "none: no validation part"
    return "none: no validation had a finite score" if facts["history"] else "not validated yet"


def settings(facts: dict[str, Any]) -> Iterator[str]:
    """Every setting in its group, with a mark where it was set."""
    explicit = facts["explicit"]
    marked = facts["changed"] if explicit is None else explicit
    legend = "* set by an option or a config file"
    if explicit is None:
        legend = "* differs from the default; explicit settings are not recorded"
    yield ""
    yield f"Settings ({legend})"
    for group, fields in groupby(FIELDS.values(), lambda field: field.metadata["group"]):
        yield f"  {group}"
        for field in fields:
            yield (f"  {'*' if field.name in marked else ' '} {field.name:<15}"
                   f"{setting(facts, field.name)}")


def setting(facts: dict[str, Any], key: str) -> str:
    """The value of a setting; one without a value is off, not used, or missing in the file."""
    from charrnn.text.display import printable_name

    value = facts["settings"][key]
    if key in facts["not_recorded"]:
        return NOT_RECORDED
    if value is None:
        return "not used" if key in ONCE_NULL else "not set"
    used = facts["used"].get(key, value)
    return printable_name(shown(value)) + (f" ({used} used)" if used != value else "")


def history(rows: list[dict[str, Any]], level: str) -> Iterator[str]:
    """The curve of the validations and the last rows of the history."""
    from charrnn.cli.format import sparkline

    scores = [row["validation_bits_per_char"] for row in rows]
    finite = [score for score in scores if score is not None]
    if rows:
        yield ""
        extent = f"last {ROWS} of {len(rows):,} rows" if len(rows) > ROWS else "all rows"
        yield f"History ({extent}; bits/{level})"
        if len(finite) > 1:
            yield f"  validation {sparkline(finite)} from {finite[0]:.4f} to {finite[-1]:.4f}"
        yield f"  {'step':>9}  training  validation  grad norm  learning rate"
    for row, score in list(zip(rows, scores, strict=True))[-ROWS:]:
        last = "-" if score is None else f"{score:.4f}"
        yield (f"  {row['step']:>9,}  {row['training_bits_per_char']:8.4f}  {last:>10}  "
               f"{row['grad_norm']:9.3g}  {row['learning_rate']:13.3g}")
