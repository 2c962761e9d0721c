"""The public model: what ``charrnn.load`` and ``charrnn.train`` return. See docs/python.md."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np
from numpy import ndarray

from charrnn.api import arguments, loaded
from charrnn.api.arguments import AnyPath, Unknown
from charrnn.api.blas import one_blas_thread, own_threads
from charrnn.api.history import HistoryRow
from charrnn.api.lookup import find_checkpoint
from charrnn.api.spelling import in_arguments
from charrnn.errors import CorpusError, UsageError, overflowed
from charrnn.inference.sampling import PrimeReader
from charrnn.text.corpus import Text
from charrnn.text.display import count as counted
from charrnn.text.display import symbol

if TYPE_CHECKING:
    from charrnn.inference.scoring import Score, Scored

# What a model reads and generates: str, or bytes at byte level. The Any in it lets type checkers
# accept the methods of str, since most models return one.
AnyText: TypeAlias = str | Any
LN2 = math.log(2)
MAX_SEED = 2**63 - 1


def load(path: AnyPath, *others: AnyPath) -> Model:
    """The model of a checkpoint that ``charrnn train`` or ``charrnn.train`` wrote.

    With ``others``, the model that predicts the mean of their probabilities; what it *is*, such
    as ``settings`` and ``parameters``, is that of the first. As on the command line, the ending
    .npz and the folder checkpoints/ may be left out. Raises UsageError if there is no such file or
    the vocabularies differ, CheckpointError if a file is not a complete checkpoint.
    """
    with in_arguments():
        files = [find_checkpoint(Path(arguments.path("path", each)),
                                 advice="; charrnn train writes one") for each in (path, *others)]
        return Model(loaded.load(*files))


class Model:
    """The best weights of a checkpoint, ready to sample, score and predict.

    ``charrnn.load`` and ``charrnn.train`` return it. It never changes, so several threads may use
    it. Its methods raise CharrnnError; for a text of the wrong type, TypeError.
    """

    def __init__(self, model: loaded.LoadedModel) -> None:
        if not isinstance(model, loaded.LoadedModel):
            raise TypeError("a Model is made by charrnn.load(path) or charrnn.train(paths)")
        self._model = model

    def __repr__(self) -> str:
        run, arch = self._model.checkpoint, self._model.parameters.arch
        symbols = counted(len(self.vocabulary), symbol(self._model.vocabulary.level))
        bits, step, models = self.best_bits_per_char, self.best_step, len(self._model.members)
        score = "" if bits is None else f", validation {bits:.4f} bits/char at step {step:,}"
        mean = f"mean of {models} models, the first " if models > 1 else ""
        return (f"<charrnn.Model {mean}{str(self.path)!r}: {arch.layers} x {arch.hidden_size} "
                f"{arch.cell_type} units, {arch.size:,} parameters, {symbols}; "
                f"step {self.step:,} of {run.progress.steps:,}{score}>")

    # What it is.

    @property
    def path(self) -> Path:
        """The checkpoint that the model was loaded from."""
        return self._model.path

    @property
    def members(self) -> list[Model]:
        """The models whose probabilities are averaged; of a single model, itself."""
        return [Model(each) for each in self._model.members] if self._model.others else [self]

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of the run by name; a new dictionary each time."""
        return dict(self._model.settings)

    @property
    def vocabulary(self) -> AnyText:
        """The V symbols in the order of their ids: a str, or bytes at byte level."""
        return self._decode(np.arange(len(self._model.vocabulary)))

    @property
    def parameters(self) -> Mapping[str, ndarray]:
        """The weights by the names in docs/checkpoint.md: ``W_xh0`` (V, H), ``W_hh0``, ... ``b_y``.

        They are read-only views of the model's own memory: copy those that you want to change.
        """
        named = {name: array.view() for name, array in self._model.parameters.named.items()}
        for array in named.values():
            array.flags.writeable = False
        return MappingProxyType(named)

    @property
    def history(self) -> list[HistoryRow]:
        """One row per validation; of a long run, at most 1,000 rows that span it."""
        rows: list[Any] = self._model.checkpoint.history
        return [HistoryRow(step, loss / LN2, loss, None if nats is None else nats / LN2, nats,
                           norm, rate) for step, loss, nats, norm, rate in rows]

    @property
    def step(self) -> int:
        """How many steps the run has taken."""
        return self._model.checkpoint.progress.step

    @property
    def best_step(self) -> int:
        """The step of these weights: that of the best validation, or without one the last step."""
        return self._model.checkpoint.progress.best_step

    @property
    def best_bits_per_char(self) -> float | None:
        """The validation score of these weights; None in a run without validation."""
        nats = self._model.checkpoint.progress.best_nats
        return None if nats is None else nats / LN2

    # What it can do.

    @overload
    def sample(
        self, prime: str | bytes = ..., length: int = ..., *, temperature: float = ...,
        top_k: int = ..., top_p: float = ..., seed: int | None = ...,
        stop: str | bytes | None = ..., count: None = ..., stream: Literal[False] = ...,
        unknown: Unknown = ...,
    ) -> AnyText: ...
    @overload
    def sample(
        self, prime: str | bytes = ..., length: int = ..., *, temperature: float = ...,
        top_k: int = ..., top_p: float = ..., seed: int | None = ...,
        stop: str | bytes | None = ..., count: int, stream: Literal[False] = ...,
        unknown: Unknown = ...,
    ) -> list[AnyText]: ...
    @overload
    def sample(
        self, prime: str | bytes = ..., length: int = ..., *, temperature: float = ...,
        top_k: int = ..., top_p: float = ..., seed: int | None = ...,
        stop: str | bytes | None = ..., count: None = ..., stream: Literal[True],
        unknown: Unknown = ...,
    ) -> Iterator[AnyText]: ...
    @overload
    def sample(
        self, prime: str | bytes = ..., length: int = ..., *, temperature: float = ...,
        top_k: int = ..., top_p: float = ..., seed: int | None = ...,
        stop: str | bytes | None = ..., count: None = ..., stream: bool, unknown: Unknown = ...,
    ) -> AnyText | Iterator[AnyText]: ...
    def sample(
        self, prime: str | bytes = "", length: int = 1000, *, temperature: float = 1.0,
        top_k: int = 0, top_p: float = 1.0, seed: int | None = None,
        stop: str | bytes | None = None, count: int | None = None, stream: bool = False,
        unknown: Unknown = "error",
    ) -> AnyText | list[AnyText] | Iterator[AnyText]:
        """Generate up to ``length`` characters that follow ``prime``; the result includes it.

        Returns a str, or bytes at byte level; with ``count``, a list of that many; with
        ``stream``, an iterator of the parts as they are drawn, the prime first. The same ``seed``
        gives the same text as ``charrnn sample``; by default, every call draws a new seed.
        ``temperature`` 0 takes the most likely character; ``top_k`` > 0 draws from the k most
        likely characters; ``top_p`` < 1 from the fewest characters that together have this
        probability. A sample ends just before the text ``stop`` would appear. With
        ``unknown="skip"``, unknown characters of ``prime`` are skipped.

        Raises UsageError for unknown characters of ``prime`` otherwise, for those of ``stop``, and
        for a number out of range; DivergedError if the states of the model overflow.
        """
        with in_arguments():
            if stream and count is not None:
                raise UsageError("stream=True gives the parts of one sample: leave out count")
            samples = arguments.whole("count", 1 if count is None else count, 1)
            start = self._model.encode_prime(
                self._as_str(prime, "prime"), arguments.skips(unknown))
            end = "" if stop is None else self._as_str(stop, "stop")
            seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
            pieces = self._model.sample(
                [start],
                count=samples,
                length=arguments.whole("length", length, 0),
                seed=arguments.whole("seed", seed, 0, MAX_SEED),
                temperature=arguments.real("temperature", temperature),
                top_k=arguments.whole("top_k", top_k, 0),
                top_p=arguments.real("top_p", top_p, high=1, above=True),
                stop=self._model.encode_stop(end) if end else None,
                threads=own_threads(),
            )
            if stream:
                return self._parts(pieces)
            found: list[list[ndarray]] = [[] for _ in range(samples)]
            for piece in one_blas_thread.run(lambda: list(pieces)):
                found[piece.number].append(piece.ids)
        texts = [self._decode(np.concatenate(ids)) for ids in found]
        return texts[0] if count is None else texts

    def score(self, text: str | bytes, *, unknown: Unknown = "error") -> Score:
        """The score of ``text``, as ``charrnn eval`` computes it for a file with that text.

        With ``unknown="skip"``, characters that the model does not know are skipped. Raises
        CorpusError for them otherwise, and for an empty text; DivergedError if the states of the
        model overflow.
        """
        from charrnn.inference.scoring import total

        with in_arguments():
            score = one_blas_thread.run(lambda: total(self._scored(text, unknown)))
        if score.chars == 0:
            raise CorpusError("the text is empty: there is nothing to score")
        return score

    def surprisal(self, text: str | bytes, *, unknown: Unknown = "error") -> ndarray:
        """-log2 p of each character: float64 (N,). The mean is the bits/char of ``score``.

        ``unknown`` and the errors are those of ``score``, but an empty text gives an empty array.
        """
        with in_arguments():
            nats = one_blas_thread.run(
                lambda: [block.nats for block in self._scored(text, unknown)])
        return np.concatenate([np.zeros(0), *nats]) / LN2

    def predict(self, text: str | bytes = "", *, unknown: Unknown = "error") -> ndarray:
        """The probability that each symbol of ``vocabulary`` follows ``text``: float64 (V,).

        ``sample`` draws from these probabilities at temperature 1. The model first reads a
        newline, then all of ``text``, which may be empty. ``unknown`` and the errors are those of
        ``score``.
        """
        def read() -> ndarray:
            reader = PrimeReader(self._model.network)
            reader.read(self._model.start)
            reader.read(self._encode(text, unknown))
            logits: ndarray = reader.finish()[1][0].astype(np.float64)
            return logits

        with in_arguments():
            logits = one_blas_thread.run(read)
            if not np.isfinite(logits).all():
                raise overflowed("after the text")
        p: ndarray = np.exp(logits - logits.max())
        p /= p.sum()
        return p

    # Texts.

    @property
    def _at_byte_level(self) -> bool:
        return self._model.vocabulary.level == "byte"

    def _as_str(self, text: str | bytes, name: str = "text") -> str:
        """An argument as a str; bytes, accepted only by byte-level models, use surrogates."""
        if isinstance(text, str):
            return text
        if not isinstance(text, (bytes, bytearray)):
            raise TypeError(f"{name} must be a str, not {type(text).__name__}")
        if not self._at_byte_level:
            raise TypeError(f"{name} is bytes, but this model reads characters: decode the bytes "
                            "to a str")
        return text.decode("utf-8", "surrogateescape")

    def _encode(self, text: str | bytes, unknown: Unknown) -> ndarray:
        """The ids of a text (N,)."""
        return self._model.vocabulary.encode_text(self._as_str(text), arguments.skips(unknown))

    def _scored(self, text: str | bytes, unknown: Unknown) -> Iterator[Scored]:
        """The scored blocks of a text, which equal those of a file with that text."""
        from charrnn.inference.scoring import check_finite

        whole = Text("the text", self._encode(text, unknown), self._model.vocabulary, digest="")
        return check_finite(self._model.score_text(whole, own_threads()), whole.name)

    def _decode(self, ids: ndarray) -> AnyText:
        return self._model.vocabulary.decode(ids)

    def _parts(self, pieces: Iterator[loaded.Piece]) -> Iterator[AnyText]:
        """The pieces of one sample as text. Between them, BLAS has the caller's threads again."""
        while True:
            with in_arguments():
                piece = one_blas_thread.run(lambda: next(pieces, None))
            if piece is None:
                return
            if len(piece.ids):
                yield self._decode(piece.ids)
