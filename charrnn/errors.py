"""The errors a user may see: one line with the fact, the numbers and the remedy.

They are raised where the fact is known and caught once, in ``cli``. Anything else that is
raised is a mistake in charrnn.
"""

from __future__ import annotations


class CharrnnError(Exception):
    """It failed: bad data, a full disk."""

    exit_code = 1
    agreed = False  # whether all processes of a run raise it


class UsageError(CharrnnError):
    """It was asked wrongly: an option, a config, a file that is not there."""

    exit_code = 2


class CorpusError(CharrnnError):
    """A text that cannot be read or learned from."""


class CheckpointError(CharrnnError):
    """A file that is not a whole checkpoint, or not one that this version reads."""


class LockedError(CharrnnError):
    """Another run is writing the same checkpoint."""


class DivergedError(CharrnnError):
    """The loss is no number any more, or far above that of guessing."""


def overflowed(where: str) -> DivergedError:
    """The error to raise where a trained model's states overflow, as those of relu units may."""
    return DivergedError(f"the states of the model overflow {where}: train with a lower "
                         "--learning-rate, or with tanh")
