"""An estimate of a run's memory, before any of it is allocated.

It counts what grows with the settings and the text, but not what Python and NumPy themselves
take. Of buffers that are never in memory at the same time, only the largest counts.
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

PER_THREAD = 500_000  # bytes: a thread's stack, and its part of the heap and of BLAS
MANY_SYMBOLS = 1000  # a larger vocabulary may be reduced by a higher min_count


@dataclass(frozen=True)
class Demand:
    """What a run's memory depends on; ``bytes`` is the estimate per process."""

    arch: Architecture
    batches: Batches
    moments: int  # vectors of moments that the optimizer keeps
    threads: int = 1
    processes: int = 1
    deterministic: bool = False
    train: int = 0  # symbols of the training text
    validation: int = 0  # symbols of the validation text
    texts: int = 0  # bytes of the texts themselves
    inherited: int = 0  # bytes of the checkpoint that the run starts from

    @property
    def bytes(self) -> int:
        """Bytes of the parameters (last, best, moments, a gradient per shard), the activations of
        each thread, and the largest of the temporary buffers."""
        arch, item = self.arch, np.dtype(self.arch.dtype).itemsize
        of_all = shard_count(self.batches, self.threads, self.processes, self.deterministic)
        shards, B = of_all // self.processes, self.batches.B // self.processes
        widest, threads = -(-B // shards), min(self.threads, shards)
        gradients = shards * (3 if self.deterministic and self.processes > 1 else 1)  # allreduce
        kept = (2 + self.moments + gradients) * arch.size
        kept += threads * Activations.entries(arch, self.batches.T, widest)
        temporary = max(
            2 * arch.size,  # the optimizer
            threads * self._pass(self.batches.T * widest) + 4 * B * arch.output_size,  # dropout
            self._scoring(),
            self._sampling(),
            self._counting() // item,
        )
        training = item * (kept + temporary) + self.threads * PER_THREAD
        return self.texts + max(training, self._initializing() + self.inherited)

    def remedies(self) -> str:
        """The settings to change if memory is too small: first those that would halve it."""
        arch, options = self.arch, []
        few = dataclasses.replace(arch, vocabulary_size=min(MANY_SYMBOLS, arch.vocabulary_size))
        half = self.bytes / 2
        if dataclasses.replace(self, arch=few).bytes < half:
            options.append(f"a higher --min-count (the text has {arch.vocabulary_size:,} distinct "
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
        """Numbers in the temporary buffers of one forward and backward pass over N symbols: the
        sum of W_xh and the biases, which is copied block by block if there are several, copies
        of W_hh, and the sorted or one-hot input gradient."""
        H, kH, V = self.arch.hidden_size, self._block, self.arch.vocabulary_size
        copies = min(2, self.arch.cell.n_blocks)
        return max(copies * V * kH, copies * H * kH + N * (kH + V * (V <= 128)))

    def _scoring(self) -> int:
        """Numbers that validation takes: activations and scores, for each thread with a block."""
        arch = self.arch
        segments, width = scoring.shares(self.validation)
        threads = min(self.threads, -(-segments // width))
        steps, widths = scoring.steps_at_once(arch.vocabulary_size), Activations.widths(arch)
        read = sum(widths[name] for name in ("states", "saved", "a", "logits"))
        scores = 4 * width * scoring.SEGMENT  # double precision, and the symbols
        return threads * ((steps + 1) * width * read + scores + self._pass(0))

    def _sampling(self) -> int:
        """Numbers that sampling takes: the joined weights, and the copies made to join them."""
        arch = self.arch
        H, V, kH = arch.hidden_size, arch.vocabulary_size, self._block
        return (arch.layers + 2) * (H + 1) * (2 * kH + V) + V * kH

    def _counting(self) -> int:
        """Bytes of the n-gram models to which the validation score is compared."""
        if self.validation == 0:
            return 0
        counted = min(self.train, COUNTED) + min(self.validation, COUNTED)
        return 96 * counted + 24 * min(self.arch.vocabulary_size**3, 8 * counted)

    def _initializing(self) -> int:
        """Bytes of the initial parameters, drawn in double precision, matrix by matrix."""
        arch, item = self.arch, np.dtype(self.arch.dtype).itemsize
        V, H = arch.vocabulary_size, arch.hidden_size
        return 2 * item * arch.size + 8 * max(V * arch.output_size, 5 * H * H)
