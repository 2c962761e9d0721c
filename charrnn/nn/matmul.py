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

    ``W`` is read here, not when the function is called. Every call overwrites and returns the
    same array.
    """
    H, K = W.shape
    if H > K and H * K * B > SMALL and small_products_are_fast():
        return sum_of_products(W, B)
    width = block_width(B, H, K)
    if width == K:  # dot is half a microsecond faster than matmul
        whole, out = np.ascontiguousarray(W), np.empty((B, K), W.dtype)
        return lambda h: np.dot(h, whole, out=out)
    blocks = -(-K // width)
    split = np.zeros((blocks, H, width), W.dtype)
    for i in range(blocks):
        columns = W[:, i * width : (i + 1) * width]
        split[i, :, : columns.shape[1]] = columns
    out = np.empty((B, blocks * width), W.dtype)
    parts, product = out.reshape(B, blocks, width).swapaxes(0, 1), out[:, :K]

    def multiply(h: ndarray) -> ndarray:
        np.matmul(h, split, out=parts)
        return product

    return multiply


def sum_of_products(W: ndarray, B: int) -> Callable[[ndarray], ndarray]:
    """``repeated_product`` of a matrix with more rows than columns, as gates have on the way back.

    It is cut into parts of at most K rows, and few enough for blocks of columns that are two
    registers wide; each part has its product, and the products are summed.
    """
    H, K = W.shape
    parts = next(n for n in range(-(-H // K), H + 1)
                 if (H % n == 0 and SMALL // (B * (H // n)) >= 2 * REGISTER) or n == H)
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
