"""Checks of ``charrnn eval``: conflicting options, and texts that the model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn.errors import UsageError

if TYPE_CHECKING:  # NumPy is imported inside the command: see cli.main
    from charrnn.api.loaded import LoadedModel as Model
    from charrnn.text.corpus import Text
    from charrnn.text.reader import TextStream


def check_combination(
    split: str | None, per_line: bool, dynamic: bool, surprisal: bool, baselines: bool,
    train_text: str | None, as_json: bool, models: int = 1,
) -> None:
    """Raise UsageError for options that exclude or need each other."""
    if dynamic and models > 1:
        raise UsageError("--dynamic trains one model: give -m once")
    if per_line and split:
        raise UsageError("--per-line scores every line; leave out --split")
    if per_line and dynamic:
        raise UsageError("--per-line scores every line on its own, but --dynamic trains from one "
                         "line to the next; use one of them")
    if surprisal and (per_line or as_json or baselines):
        raise UsageError("--surprisal shows the text itself; it can be combined only with --split "
                         "and --dynamic")
    if baselines and (per_line or dynamic):
        raise UsageError("--baselines compares scores of a whole text under fixed weights; leave "
                         "out --per-line and --dynamic")
    if baselines and split != "val" and train_text is None:
        raise UsageError("--baselines needs the text that the model was trained on: name it with "
                         "--train-text, or use --split val")
    if train_text is not None and not baselines:
        raise UsageError("--train-text can be used only with --baselines")


def training_note(model: Model, text: Text | TextStream, size: int) -> list[str]:
    """A note if a model was trained or validated on this text, which has ``size`` symbols."""
    notes = [note for each in model.members for note in _note(each, text, size)]
    return list(dict.fromkeys(notes))


def _note(model: Model, text: Text | TextStream, size: int) -> list[str]:
    from charrnn.text.split import training_size

    validated_on = model.checkpoint.origin["val"]
    if model.trained_on(text):
        fraction = model.settings["val_fraction"]
        if validated_on == text.digest:
            return ["note: the model was trained and validated on this text"]
        if validated_on:
            more = "this text; it was validated on another file"
        elif training_size(size, None if fraction is None else float(fraction)) == size:
            more = "all of this text"
        else:
            more = "this text; --split val scores only the validation part"
        return [f"note: the model was trained on {more}"]
    if validated_on == text.digest:
        return ["note: this is the validation text, which was used to choose the best weights"]
    return []
