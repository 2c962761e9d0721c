from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from charrnn import archive

settings.register_profile("charrnn", deadline=None, derandomize=True)
settings.load_profile("charrnn")


def sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).hexdigest().encode()


@pytest.fixture(scope="session")
def reseal() -> Callable[[bytes], bytes]:
    """Give the changed bytes of an archive the digest that fits them."""
    return lambda data: sealed(data[: -archive.SEAL])


@pytest.fixture(scope="session")
def forge() -> Callable[..., None]:
    """Write a zip of (name, bytes) with the right digest, as somebody else might."""

    def forge(
        path: Path, members: Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED
    ) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compression) as file:
            for name, data in members:
                file.writestr(zipfile.ZipInfo(name), data, compression)
            file.comment = b"0" * archive.SEAL
        path.write_bytes(sealed(buffer.getvalue()[: -archive.SEAL]))

    return forge


def step(params, x, h):
    """One step as the equations have it: symbols ``x`` (B,) and state ``h`` (B, L*H).

    Returns the logits (B, V) and the new state; the reference for what the package does in
    other ways.
    """
    arch, new = params.arch, np.empty_like(h)
    for layer in range(arch.layers):
        mine = arch.columns(layer)
        if layer == 0:
            a = params.W_xh[0][x]
        else:
            a = new[:, arch.columns(layer - 1)] @ params.W_xh[layer]
        a = a + h[:, mine] @ params.W_hh[layer] + params.b_h[layer]
        new[:, mine] = np.tanh(a) if arch.activation == "tanh" else np.maximum(a, 0)
    return new @ params.W_hy + params.b_y, new
