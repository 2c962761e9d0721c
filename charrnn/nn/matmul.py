"""Repeated products of a few rows with the same matrix: where an RNN spends its time.

BLAS makes large products fast by first packing the matrices into an order that suits the
processor. In the loop over time that does not pay off: (B, H) times (H, H) with 32 rows
spends up to a third of its time on packing W_hh again at every step. With AVX-512,
OpenBLAS does not pack for products of up to SMALL multiplications. So the matrix is split,
once for the whole loop, into blocks of columns that are narrow enough to stay below SMALL.

This makes products with 256 units or more 20 to 50 percent faster (docs/benchmarks.md).
OpenBLAS's other kernels always pack; for them the matrix is not split.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

SMALL = 100**3  # rows * inner * columns, as in OpenBLAS's sgemm_small_matrix_permit
REGISTER = 16  # float32 in one register of AVX-512


def repeated_product(W: ndarray, B: int) -> Callable[[ndarray], ndarray]:
    """A function that maps ``h`` (B, H) to ``h W`` (B, K); ``W`` is (H, K).

    If ``W`` is a stack of k matrices, (k, H, K), so is the product: (k, B, K), of ``h`` with each
    of them, or of k different ``h``, (k, B, H). ``W`` is read here, not when the function is
    called. Every call overwrites and returns the same array.
    """
    *k, H, K = W.shape
    width = block_width(B, H, K)
    if width == K and not k:  # dot is half a microsecond faster than matmul
        whole, out = np.ascontiguousarray(W), np.empty((B, K), W.dtype)
        return lambda h: np.dot(h, whole, out=out)
    blocks = -(-K // width)
    split = np.zeros((*k, blocks, H, width), W.dtype)
    for i in range(blocks):
        columns = W[..., i * width : (i + 1) * width]
        split[..., i, :, : columns.shape[-1]] = columns
    out = np.empty((*k, B, blocks * width), W.dtype)
    parts, product = out.reshape(*k, B, blocks, width).swapaxes(-3, -2), out[..., :K]

    def multiply(h: ndarray) -> ndarray:
        np.matmul(h[..., None, :, :], split, out=parts)
        return product

    return multiply


def sum_of_products(W: ndarray, B: int) -> Callable[[ndarray], ndarray]:
    """A function that maps ``h`` (k, B, H) to the sum of ``h[j] W[j]``, (B, K); W is (k, H, K).

    Otherwise like ``repeated_product``. Since the products are summed in any case, each of them
    may be a sum of ``parts``: of fewer rows of W, whose blocks can then be two registers wide.
    """
    k, H, K = W.shape
    parts = 1
    if block_width(B, H, K) < K:
        parts = next(n for n in range(1, H + 1)
                     if H % n == 0 and (SMALL // (B * H // n) >= 2 * REGISTER or n == H))
    products = repeated_product(W.reshape(k, parts, H // parts, K), B)
    out = np.empty((B, K), W.dtype)

    def multiply(h: ndarray) -> ndarray:
        in_parts = h.reshape(k, B, parts, H // parts).swapaxes(1, 2)
        np.add.reduce(products(in_parts), axis=(0, 1), out=out)
        return out

    return multiply


def block_width(B: int, H: int, K: int) -> int:
    """The columns of a block of W (H, K): K if splitting does not help, else fewer.

    Blocks are then small for ``h`` (B, H), and the last one has as little padding as possible.
    """
    widest = SMALL // (B * H) // REGISTER * REGISTER
    if B * H * K <= SMALL or widest == 0 or not small_products_are_fast():
        return K
    narrowest = max(REGISTER, widest // 2)  # narrower blocks cost more in calls and edges
    return min(range(widest, narrowest - 1, -REGISTER), key=lambda width: -K % width)


@functools.cache
def small_products_are_fast() -> bool:
    """Whether NumPy uses OpenBLAS with its AVX-512 kernels."""
    built: Any = np.show_config(mode="dicts")
    found = built["SIMD Extensions"].get("found", ())
    return (
        "openblas" in built["Build Dependencies"]["blas"]["name"]
        and not {"X86_V4", "AVX512_SKX"}.isdisjoint(found)  # the name since NumPy 2.4, and before
        and not os.environ.get("OPENBLAS_CORETYPE")  # selects other kernels
    )
