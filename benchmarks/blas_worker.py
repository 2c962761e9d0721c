"""The bound: the speed of matrix products (sgemm) in this NumPy.

Each thread multiplies its own matrices with BLAS on one thread, as charrnn's threads do.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from charrnn.system import machine

machine.use_one_blas_thread()

import numpy as np  # noqa: E402
from worker import Work, serve  # noqa: E402


def product(threads: int, rows: int, inner: int, columns: int, blocks: int) -> Work:
    """Products of (rows, inner) and ``blocks`` matrices (inner, columns), in every thread."""
    rng = np.random.default_rng(1)
    a = rng.normal(size=(threads, rows, inner)).astype(np.float32)
    b = rng.normal(size=(blocks, inner, columns)).astype(np.float32)
    out = np.empty((threads, blocks, rows, columns), np.float32)
    flops = 2 * rows * inner * columns * blocks
    times = max(1, 10**9 // flops)
    pool = ThreadPoolExecutor(threads)

    def multiply(thread: int) -> None:
        for _ in range(times):
            np.matmul(a[thread], b, out=out[thread])

    def work() -> int:
        list(pool.map(multiply, range(threads)))
        return flops * times * threads  # floating-point operations instead of characters

    return work


if __name__ == "__main__":
    serve({"product": product})
