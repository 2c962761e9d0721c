"""Files that come with charrnn: the presets and the example text.

They are inside the package if it was installed from a wheel. In the repository they are in
``configs/`` and ``corpora/`` beside it; setup.cfg maps these folders into the wheel.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def presets() -> dict[str, Path]:
    """The file of each preset, by the name of the preset, in alphabetical order."""
    folder = _folder("presets", "configs")
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def example() -> Path:
    """The example text: a short play."""
    return _folder("texts", "corpora") / "tide_clock.txt"


def _folder(in_wheel: str, in_repository: str) -> Path:
    folder = PACKAGE / in_wheel
    return folder if folder.is_dir() else PACKAGE.parent / in_repository
