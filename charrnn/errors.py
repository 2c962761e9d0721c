"""The errors a user may see, with their exit codes: the fact, the numbers and the remedy.

They are raised where the fact is known and caught once, in ``cli.main``. Anything else that is
raised is a bug in charrnn.
"""

from __future__ import annotations


class CharrnnError(Exception):
    """The base class of all errors; raised directly for other failures, such as a full disk."""

    exit_code = 1
    raised_by_all = False  # whether all processes of a run raise it


class UsageError(CharrnnError):
    """A usage error: a wrong option, a wrong config, a file that does not exist."""

    exit_code = 2


class CorpusError(CharrnnError):
    """A text that cannot be read, or cannot be used for training or scoring."""


class CheckpointError(CharrnnError):
    """A file that is not a complete checkpoint, or not one that this version can read."""


class LockedError(CharrnnError):
    """Another run is writing the same checkpoint."""


class DivergedError(CharrnnError):
    """The loss is not finite, or far above that of guessing."""


def overflowed(where: str) -> DivergedError:
    """The error to raise where a trained model overflows, as one with relu units may."""
    return DivergedError(f"the model overflows {where}: train with a lower --learning-rate and, "
                         "if it has relu units, with --activation tanh")


def no_threads(count: int) -> CharrnnError:
    """The error to raise where the system refuses to start ``count`` threads."""
    return CharrnnError(f"the system refuses to start {count:,} threads: choose fewer with "
                        "--threads or OMP_NUM_THREADS, or raise the limit (ulimit -u)")
