"""The HTML page on how a model predicts a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from charrnn.analysis.diagnostics import looked_at
from charrnn.analysis.page import page
from charrnn.api.loaded import Decoding, LoadedModel
from charrnn.errors import CorpusError
from charrnn.inference import sampling
from charrnn.text.display import undecodable_note
from charrnn.text.split import Split

SEED = 1  # of the text that the model generates if none is given
REPORTED = ("uniform", "1-gram", "3-gram", "5-gram", "7-gram", "lzma")  # of the baselines


def report(
    model: LoadedModel, paths: Sequence[str], skip_unknown: bool = False,
    decoding: Decoding | None = None, notes: list[str] | None = None,
) -> str:
    """The HTML page on how the model predicts a text; without ``paths``, one it generates.

    Anything unusual in the text is added to ``notes``.
    """
    if not paths:
        pieces = sampling.samples(model.parameters, model.start, count=1,
                                  length=looked_at(len(model.vocabulary)), seed=SEED)
        ids = np.concatenate([ids for _, ids in pieces])
        source = ("The model generated this text itself; charrnn report TEXT shows how well "
                  "it predicts another one.")
        return page(model.checkpoint, model.path, Split(ids, model.start), source, [])
    decoding = decoding or model.decoding_of(paths)
    text = model.read(paths, skip_unknown, decoding)
    if notes is not None:
        notes += [*text.notes, *undecodable_note(text.undecodable, decoding.errors)]
    name, part = text.name, model.part(text)
    source, compared = f"The beginning of {name}.", []
    validated_on = model.checkpoint.origin["val"]
    if model.trained_on(text):
        validation = None if validated_on else model.part(text, "val")
        if not validation:
            source = f"The beginning of {name}; the model was trained on all of it."
        else:
            part, source = validation, f"The beginning of the validation part of {name}."
            rows = model.baselines(model.part(text, "train").ids, part)
            compared = [(name, nats) for name, nats in rows if name in REPORTED]
    elif text.digest == validated_on:
        source = (f"The beginning of {name}, the validation text, which was used to choose "
                  "the best weights.")
    if len(part) == 0:
        raise CorpusError(f"{text.name}: there is nothing to score")
    return page(model.checkpoint, model.path, part, source, compared)
