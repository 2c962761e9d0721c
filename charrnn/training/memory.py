"""The memory that a run takes, estimated before it is taken.

Counted is what grows with the settings and the text, beside what Python and NumPy take. What is
not in memory at the same time counts as the largest of it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from charrnn.inference import scoring
from charrnn.nn.network import Activations
from charrnn.nn.parameters import Architecture
from charrnn.text.batches import Batches
from charrnn.training.run import shard_count
from charrnn.training.validation import COUNTED

PER_THREAD = 500_000  # bytes of its stack, and of its share of the heap and of BLAS
MANY_SYMBOLS = 1000  # of a vocabulary; what larger ones cost, a higher min_count may save


@dataclass(frozen=True)
class Demand:
    """What the memory of a run depends on; ``bytes`` is the estimate, of each process."""

    arch: Architecture
    batches: Batches
    moments: int  # vectors that the optimizer keeps
    threads: int = 1
    processes: int = 1
    deterministic: bool = False
    train: int = 0  # symbols to learn from
    validation: int = 0  # symbols to validate on
    texts: int = 0  # bytes of the texts themselves
    inherited: int = 0  # bytes of the checkpoint that the run begins from

    @property
    def bytes(self) -> int:
        """The parameters (last, best, moments, a gradient for each shard), the activations of
        each thread, and the most that anything takes for a while."""
        arch, item = self.arch, np.dtype(self.arch.dtype).itemsize
        of_all = shard_count(self.batches, self.threads, self.processes, self.deterministic)
        shards, B = of_all // self.processes, self.batches.B // self.processes
        widest, threads = -(-B // shards), min(self.threads, shards)
        gradients = shards * (3 if self.deterministic and self.processes > 1 else 1)  # allreduce
        kept = (2 + self.moments + gradients) * arch.size
        kept += threads * Activations.entries(arch, self.batches.T, widest)
        for_a_while = max(
            2 * arch.size,  # of the optimizer
            threads * self._pass(self.batches.T * widest) + 4 * B * arch.output_size,  # dropout
            self._scoring(),
            self._sampling(),
            self._counting() // item,
        )
        training = item * (kept + for_a_while) + self.threads * PER_THREAD
        return self.texts + max(training, self._beginning() + self.inherited)

    def remedies(self) -> str:
        """The settings to change where there is not so much, those first that cost most of it."""
        arch, options = self.arch, []
        few = dataclasses.replace(arch, vocabulary_size=min(MANY_SYMBOLS, arch.vocabulary_size))
        half = self.bytes / 2
        if dataclasses.replace(self, arch=few).bytes < half:
            options.append(f"a higher --min-count (the text has {arch.vocabulary_size:,} different "
                           "characters)")
        if dataclasses.replace(self, threads=1).bytes < half:
            options.append(f"fewer --threads (now {self.threads})")
        if dataclasses.replace(self, deterministic=False).bytes < half:
            options.append("--no-deterministic")
        options.append("a smaller --hidden-size, --layers, --batch-size or --seq-length")
        return ", or ".join(options)

    @property
    def _block(self) -> int:
        return self.arch.cell.n_blocks * self.arch.hidden_size

    def _pass(self, N: int) -> int:
        """Numbers that reading N symbols forward and backward takes besides: W_xh and the biases
        added up, W_hh laid out anew, the gradient by each symbol sorted."""
        H, kH, V = self.arch.hidden_size, self._block, self.arch.vocabulary_size
        return max(V * kH, H * kH + N * (kH + V * (V <= 128)))

    def _scoring(self) -> int:
        """Numbers that validation takes: activations, and scores, for each thread with a block."""
        arch = self.arch
        segments, width = scoring.shares(self.validation)
        threads = min(self.threads, -(-segments // width))
        steps, widths = scoring.steps_at_once(arch.vocabulary_size), Activations.widths(arch)
        read = sum(widths[name] for name in ("states", "saved", "a", "logits"))
        scores = 4 * width * scoring.SEGMENT  # of double precision, and the symbols
        return threads * ((steps + 1) * width * read + scores + self._pass(0))

    def _sampling(self) -> int:
        """Numbers that a sample takes: the weights laid out anew, and copies on the way there."""
        arch = self.arch
        H, V, kH = arch.hidden_size, arch.vocabulary_size, self._block
        return (arch.layers + 2) * (H + 1) * (2 * kH + V) + V * kH

    def _counting(self) -> int:
        """Bytes that the n-grams take with which validation is compared."""
        if self.validation == 0:
            return 0
        counted = min(self.train, COUNTED) + min(self.validation, COUNTED)
        return 96 * counted + 24 * min(self.arch.vocabulary_size**3, 8 * counted)

    def _beginning(self) -> int:
        """Bytes that the first parameters take, drawn in double precision, matrix by matrix."""
        arch, item = self.arch, np.dtype(self.arch.dtype).itemsize
        V, H = arch.vocabulary_size, arch.hidden_size
        return 2 * item * arch.size + 8 * max(V * arch.output_size, 5 * H * H)
