"""charrnn: train, sample and evaluate character-level recurrent networks with NumPy.

``charrnn.load`` and ``charrnn.train`` return a ``Model``: docs/python.md. Importing the package
imports nothing else; each name is imported when it is used for the first time, so that the
command line starts fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.api.model import Model, load
    from charrnn.api.training import example, train
    from charrnn.errors import (
        CharrnnError,
        CheckpointError,
        CorpusError,
        DivergedError,
        LockedError,
        UsageError,
    )
    from charrnn.inference.scoring import Score
else:  # a type checker would accept every name
    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name.endswith("Error"):
            from charrnn import errors as module
        elif name in ("train", "example"):
            from charrnn.api import training as module
        elif name == "Score":
            from charrnn.inference import scoring as module
        else:
            from charrnn.api import model as module
        value = globals()[name] = getattr(module, name)
        return value

__version__ = "0.1.0"
__all__ = [  # noqa: RUF022 - functions, what they return, what they raise
    "load", "train", "example", "Model", "Score",
    "CharrnnError", "UsageError", "CorpusError", "CheckpointError", "LockedError", "DivergedError",
    "__version__",
]


def __dir__() -> list[str]:
    return sorted(__all__)
