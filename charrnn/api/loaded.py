"""A loaded model, and what can be done with it: read texts, score, sample.

The commands and the public ``Model`` are built on it. Since this module imports NumPy, the
commands import it only when they run. The methods import what only some commands need, so that
sampling starts fast.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy import ndarray

from charrnn.config.settings import Value
from charrnn.errors import CorpusError, UsageError
from charrnn.inference import sampling
from charrnn.inference.ensemble import Ensemble, Network
from charrnn.storage import checkpoint as storage
from charrnn.storage.checkpoint import Checkpoint
from charrnn.system.encodings import canonical
from charrnn.text import reader
from charrnn.text.corpus import Text
from charrnn.text.display import count, symbol
from charrnn.text.reader import TextStream
from charrnn.text.source import READ_PAST
from charrnn.text.split import Split, split, whole
from charrnn.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from charrnn.inference.scoring import Score, Scored


class Decoding(NamedTuple):
    """How bytes become characters."""

    encoding: str = "utf-8"
    errors: str = "strict"  # or "replace" or "skip": what to do with undecodable bytes


DEFAULT = Decoding()


class Piece(NamedTuple):
    """Some symbols of a sample, or of the prime that it continues."""

    number: int  # of the sample, from 0
    ids: ndarray
    is_prime: bool


def load(path: Path, *others: Path) -> LoadedModel:
    """The model of a checkpoint; with ``others``, their probabilities are averaged.

    Raises UsageError if there is no such file, or if models have different vocabularies;
    CheckpointError if a file is not a checkpoint.
    """
    return LoadedModel(path, storage.load(path), [load(other) for other in others])


def same_encoding(one: str, other: str) -> bool:
    """Whether two names mean the same encoding; utf-8-sig counts as utf-8."""
    return canonical(one).removesuffix("-sig") == canonical(other).removesuffix("-sig")


class LoadedModel:
    """The best weights of a checkpoint, with their vocabulary and settings.

    Scores and samples average the probabilities of this model and of the ``others``. How texts
    are read is a matter of this model alone.
    """

    def __init__(
        self, path: Path, checkpoint: Checkpoint, others: Sequence[LoadedModel] = ()
    ) -> None:
        self.path, self.checkpoint = path, checkpoint
        self.parameters, self.settings = checkpoint.best, checkpoint.settings
        self.vocabulary = checkpoint.vocabulary
        self.decoding = Decoding(str(self.settings["encoding"]), str(self.settings["errors"]))
        self.resets_at_borders = self.settings["borders"] == "reset"
        self.start = np.array([self.vocabulary.start], self.vocabulary.dtype)
        self.others = others
        self.network: Network = self.parameters
        for other in others:
            self._check_alike(other)
        if others:
            self.network = Ensemble([self.parameters, *(other.parameters for other in others)])

    @property
    def members(self) -> list[LoadedModel]:
        """This model and the others."""
        return [self, *self.others]

    def _check_alike(self, other: LoadedModel) -> None:
        """Raise UsageError if the probabilities of this and another model cannot be averaged."""
        mine, its = self.vocabulary, other.vocabulary
        if (mine.level, mine.replaces) != (its.level, its.replaces) or not np.array_equal(
            mine.codes, its.codes
        ):
            sizes = [count(len(each), symbol(each.level)) for each in (mine, its)]
            raise UsageError(f"{self.path} ({sizes[0]}) and {other.path} ({sizes[1]}) have "
                             "different vocabularies, so their probabilities cannot be averaged: "
                             "train both on texts with the same characters")
        if self.resets_at_borders != other.resets_at_borders:
            raise UsageError(f"{self.path} and {other.path} were trained with different --borders, "
                             "so they read texts differently: average models with the same")

    # Texts, read with the vocabulary of the model. ``decoding_of`` gives the default decoding.

    def read(
        self, paths: Sequence[str], skip_unknown: bool = False, decoding: Decoding | None = None,
        mark_unknown: bool = False,
    ) -> Text:
        """Files as one text in memory, or mapped from the cache next to the checkpoint.

        With ``mark_unknown``, unknown characters become V, which is the id of no symbol.
        """
        encoding, errors = decoding or self.decoding_of(paths)
        return reader.read(paths, self.vocabulary, encoding, skip_unknown, mark_unknown,
                           self.path.parent, self._remedy(encoding), errors)

    def stream(
        self, paths: Sequence[str], skip_unknown: bool = False, decoding: Decoding | None = None
    ) -> TextStream:
        """Files as a stream, which may be endless."""
        encoding, errors = decoding or self.decoding_of(paths)
        return TextStream(paths, self.vocabulary, encoding, skip_unknown,
                          remedy=self._remedy(encoding), errors=errors)

    def lines(
        self, paths: Sequence[str], skip_unknown: bool = False, decoding: Decoding | None = None
    ) -> Iterator[tuple[str | bytes, ndarray, int]]:
        """The lines of files: text, symbols, number of unknown characters."""
        return self.stream(paths, skip_unknown, decoding).lines()

    def decoding_of(self, paths: Sequence[str], otherwise: Decoding = DEFAULT) -> Decoding:
        """The run's decoding for its own corpus and validation text, else ``otherwise``.

        These texts are recognized by the digest of their bytes. Standard input and other pipes
        can be read only once, so they are not checked.
        """
        own, errors = self.decoding, otherwise.errors
        if self.vocabulary.level == "byte":
            return own
        if same_encoding(otherwise.encoding, own.encoding):
            otherwise = Decoding(own.encoding, errors)
        if otherwise == own:
            return own
        digest, origin = reader.digest(paths), self.checkpoint.origin
        return own if digest and digest in (origin["corpus"], origin["val"]) else otherwise

    def _remedy(self, encoding: str) -> str:
        """What to do about a text that is not in ``encoding``."""
        if same_encoding(encoding, self.decoding.encoding):
            return READ_PAST
        return f"{READ_PAST}; the model was trained on {self.decoding.encoding} text"

    def trained_on(self, text: Text | TextStream) -> bool:
        """Whether a text is the corpus of the run, by its digest."""
        return text.digest == self.checkpoint.origin["corpus"]

    @property
    def parts_of(self) -> tuple[str | None, str | None, Value]:
        """What decides which symbols are the training and the validation part of this model."""
        origin = self.checkpoint.origin
        return origin["corpus"], origin["val"], self.settings["val_fraction"]

    def part(self, text: Text, name: str = "all") -> Split:
        """A part of a text: "all" of it, or "train" or "val", which only the corpus has.

        Raises UsageError if the text has no such part.
        """
        if name == "all":
            return whole(text, self.resets_at_borders)
        for other in self.others:
            if other.parts_of != self.parts_of:
                raise UsageError(f"{self.path} and {other.path} were trained on different texts or "
                                 f"parts of a text, so they have no --split {name} in common")
        if not self.trained_on(text):
            if text.digest == self.checkpoint.origin["val"]:
                raise UsageError(f"{text.name} is the validation text of the model: score it "
                                 "without --split")
            raise UsageError(f"{text.name} is not the text that the model was trained on, so it "
                             f"has no --split {name}; leave out --split")
        if self.checkpoint.origin["val"]:
            if name == "val":
                raise UsageError("this model was validated on a separate file: score that file "
                                 "without --split")
            return whole(text, self.resets_at_borders)
        fraction = self.settings["val_fraction"]
        train, validation = split(text, None if fraction is None else float(fraction),
                                  self.resets_at_borders)
        return train if name == "train" else validation

    # Scores.

    def score_blocks(self, part: Split, threads: int = 1) -> Iterator[Scored]:
        """The symbols of a part scored by fixed weights, block by block, as in validation.

        Segments are counted from the beginning of the part; if the state is reset between files,
        it is reset inside segments. ``score_text`` and ``score_stream`` count the segments of each
        file from its own beginning.
        """
        from charrnn.inference import scoring

        return scoring.score_blocks(self.network, part, threads)

    def score_text(self, text: Text, threads: int = 1) -> Iterator[Scored]:
        """The symbols of a whole text; their scores equal those of ``score_stream`` bit by bit."""
        from charrnn.inference import scoring

        return scoring.score_stream(self.network, text.chunks(), self.start, threads,
                                    restart=self.resets_at_borders)

    def evaluate_dynamically(self, part: Split) -> Iterator[Scored]:
        """The symbols of a part, scored by weights that are trained on the symbols before them."""
        from charrnn.inference import dynamic

        return dynamic.evaluate(self.parameters, part)

    def score_stream(self, stream: Iterable[ndarray], threads: int = 1) -> Iterator[Scored]:
        """The symbols of a stream scored as they are read, in constant memory."""
        from charrnn.inference import scoring

        return scoring.score_stream(self.network, stream, self.start, threads,
                                    restart=self.resets_at_borders)

    def score_lines(self, lines: list[ndarray]) -> list[Score]:
        """The score of each line, read from the zero state."""
        from charrnn.inference import scoring

        return scoring.score_lines(self.network, lines, self.vocabulary.start)

    def baselines(self, train: ndarray, part: Split) -> Iterator[tuple[str, float]]:
        """The name of each baseline, and the nats per character that it needs for ``part``."""
        from charrnn.analysis.baselines import baselines

        return baselines(train, part, self.vocabulary)

    # Samples.

    def encode_prime(self, text: str, skip_unknown: bool = False) -> ndarray:
        """The symbols of a prime; UsageError if the vocabulary lacks some."""
        try:
            return self.vocabulary.encode_text(text, skip_unknown)
        except CorpusError as error:
            raise UsageError(f"the prime: {error}") from None

    def encode_stop(self, text: str) -> ndarray:
        """The symbols of a text that ends samples; UsageError if it never could."""
        exact = Vocabulary(self.vocabulary.codes, self.vocabulary.level)  # replaces nothing
        try:
            return exact.encode_text(text)
        except CorpusError as error:
            reason = str(error).removesuffix("; skip unknown characters with --unknown skip")
            raise UsageError(f"--stop would never stop a sample: {reason}") from None

    def sample(
        self,
        prime: Iterable[ndarray] = (),
        *,
        count: int = 1,
        length: int = 1000,
        seed: int,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: ndarray | None = None,
        threads: int = 1,
    ) -> Iterator[Piece]:
        """Every sample in order, piece by piece as it is drawn, each with the prime before it.

        The prime is passed on as it is read; it may have many pieces.
        """
        prefix = sampling.PrimeReader(self.network)
        prefix.read(self.start)
        again: list[ndarray] = []  # the prime, if it is needed more than once
        for ids in prime:
            yield Piece(0, ids, True)
            if count > 1:
                again.append(ids)
            prefix.read(ids)
        pieces = sampling.samples(
            self.network, prefix, count=count, length=length, seed=seed,
            temperature=temperature, top_k=top_k, top_p=top_p, stop=stop, threads=threads,
        )
        current = 0
        for number, ids in pieces:
            if number != current:
                current = number
                yield from (Piece(number, part, True) for part in again)
            yield Piece(number, ids, False)
