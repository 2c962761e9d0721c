"""Repeated products of a few rows with the same matrix: where an RNN spends its time.

BLAS makes large products fast by first copying the matrices into an order that suits the
processor. In the loop over time that is a bad bargain: (B, H) times (H, H) with 32 rows
spends up to a third of its time on copying W_hh, again at every step. With AVX-512,
OpenBLAS takes products of up to SMALL multiplications as they lie in memory. So the matrix
is cut, once for the whole loop, into blocks of columns that are narrow enough for that.

That gains 20 to 50 percent from 256 units up (docs/benchmarks.md). OpenBLAS's other kernels
copy in any case; for them the matrix stays whole.
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

    ``W`` is read now, not when the function is called. Every call writes to the same array.
    """
    H, K = W.shape
    if H > K and H * K * B > SMALL and small_products_are_fast():
        return sum_of_products(W, B)
    width = block_width(B, H, K)
    if width == K:  # dot is half a microsecond quicker than matmul
        whole, out = np.ascontiguousarray(W), np.empty((B, K), W.dtype)
        return lambda h: np.dot(h, whole, out=out)
    blocks = -(-K // width)
    cut = np.zeros((blocks, H, width), W.dtype)
    for i in range(blocks):
        columns = W[:, i * width : (i + 1) * width]
        cut[i, :, : columns.shape[1]] = columns
    out = np.empty((B, blocks * width), W.dtype)
    parts, product = out.reshape(B, blocks, width).swapaxes(0, 1), out[:, :K]

    def multiply(h: ndarray) -> ndarray:
        np.matmul(h, cut, out=parts)
        return product

    return multiply


def sum_of_products(W: ndarray, B: int) -> Callable[[ndarray], ndarray]:
    """``repeated_product`` of a matrix with more rows than columns, as gates have on the way back.

    It is cut into parts of at most K rows, and few enough for blocks of columns that are two
    registers wide; each part has its product, and the products are summed.
    """
    H, K = W.shape
    parts = next(n for n in range(-(-H // K), H + 1)
                 if H % n == 0 and SMALL // (B * (H // n)) >= 2 * REGISTER or n == H)
    inner = H // parts
    width = block_width(B, inner, K)
    blocks = -(-K // width)
    cut = np.zeros((parts, blocks, inner, width), W.dtype)
    for i in range(blocks):
        columns = W[:, i * width : (i + 1) * width]
        cut[:, i, :, : columns.shape[1]] = columns.reshape(parts, inner, -1)
    products = np.empty((parts, B, blocks * width), W.dtype)
    by_block = products.reshape(parts, B, blocks, width).swapaxes(1, 2)
    out = np.empty((B, blocks * width), W.dtype)
    product = out[:, :K]

    def multiply(h: ndarray) -> ndarray:
        np.matmul(h.reshape(B, parts, 1, inner).transpose(1, 2, 0, 3), cut, out=by_block)
        np.add.reduce(products, axis=0, out=out)
        return product

    return multiply


def block_width(B: int, H: int, K: int) -> int:
    """Columns of a block: K, or so few that a block is small and little of the last is empty."""
    widest = SMALL // (B * H) // REGISTER * REGISTER
    if B * H * K <= SMALL or widest == 0 or not small_products_are_fast():
        return K
    narrowest = max(REGISTER, widest // 2)  # below that, calls and borders cost more
    return min(range(widest, narrowest - 1, -REGISTER), key=lambda width: -K % width)


@functools.cache
def small_products_are_fast() -> bool:
    """Whether NumPy multiplies by OpenBLAS with its kernels for AVX-512."""
    built: Any = np.show_config(mode="dicts")
    found = built["SIMD Extensions"].get("found", ())
    return (
        "openblas" in built["Build Dependencies"]["blas"]["name"]
        and not {"X86_V4", "AVX512_SKX"}.isdisjoint(found)  # as NumPy 2.4 says, and before
        and not os.environ.get("OPENBLAS_CORETYPE")  # other kernels were asked for
    )
