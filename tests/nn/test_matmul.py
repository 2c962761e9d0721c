"""Products in blocks equal whole products for all shapes."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.nn import matmul
from charrnn.nn.matmul import REGISTER, SMALL, block_width, repeated_product, sum_of_products


@pytest.fixture(params=[True, False], ids=["in blocks", "whole"])
def kernel(request, monkeypatch):
    monkeypatch.setattr(matmul, "small_products_are_fast", lambda: request.param)
    return request.param


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("B", "H", "K"), [
    (1, 3, 5), (25, 128, 128), (32, 256, 256), (16, 512, 512), (32, 100, 577), (7, 331, 2000),
    (64, 256, 321), (2000, 40, 40),
])
def test_a_repeated_product_equals_the_product(kernel, B, H, K, dtype):
    rng = np.random.default_rng(B)
    W = rng.normal(size=(H, K)).astype(dtype)
    multiply = repeated_product(W, B)
    for _ in range(2):
        h = rng.normal(size=(B, H)).astype(dtype)
        product = multiply(h)
        assert product.shape == (B, K)
        assert product.dtype == dtype
        np.testing.assert_allclose(product, h @ W, rtol=0, atol=H * np.finfo(dtype).eps * 10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("k", "B", "H", "K"), [
    (3, 1, 3, 5), (4, 25, 64, 64), (3, 32, 256, 256), (3, 32, 320, 320), (4, 64, 512, 512),
    (2, 7, 331, 2000), (4, 64, 331, 331), (1, 32, 256, 256), (3, 2000, 40, 40),
])
def test_a_stack_of_matrices_gives_a_stack_of_products(kernel, k, B, H, K, dtype):
    rng = np.random.default_rng(B)
    W = rng.normal(size=(k, H, K)).astype(dtype)
    multiply, summed = repeated_product(W, B), sum_of_products(W.swapaxes(1, 2), B)
    close = {"rtol": 0, "atol": k * max(H, K) * np.finfo(dtype).eps * 10}
    for _ in range(2):
        h, d = rng.normal(size=(B, H)).astype(dtype), rng.normal(size=(k, B, K)).astype(dtype)
        product = multiply(h)
        assert product.shape == (k, B, K)
        assert product.dtype == dtype
        np.testing.assert_allclose(product, h @ W, **close)
        expected = sum(d[j] @ W[j].T for j in range(k))
        assert summed(d).shape == (B, H)
        assert summed(d).dtype == dtype
        np.testing.assert_allclose(summed(d), expected, **close)
    each = rng.normal(size=(k, B, H)).astype(dtype)
    np.testing.assert_allclose(multiply(each), each @ W, **close)


@pytest.mark.parametrize(("B", "H", "parts"), [
    (32, 256, 1), (64, 512, 2), (64, 500, 2), (64, 331, 1), (64, 613, 613), (2000, 40, 1),
])
def test_a_sum_is_cut_into_parts_whose_blocks_are_two_registers_wide(monkeypatch, B, H, parts):
    monkeypatch.setattr(matmul, "small_products_are_fast", lambda: True)
    shapes = []
    monkeypatch.setattr(matmul, "repeated_product", lambda W, B: shapes.append(W.shape))
    matmul.sum_of_products(np.zeros((3, H, H), np.float32), B)
    assert shapes == [(3, parts, H // parts, H)]


def test_transposed_matrices_and_rows_with_gaps_are_accepted(kernel):
    rng = np.random.default_rng(1)
    W, hs = rng.normal(size=(300, 256)), rng.normal(size=(64, 512))
    np.testing.assert_allclose(repeated_product(W.T, 64)(hs[:, 256:]), hs[:, 256:] @ W.T)


def test_the_matrix_is_read_once():
    W = np.eye(3)
    multiply = repeated_product(W.T, 2)
    W[:] = 0
    np.testing.assert_array_equal(multiply(np.ones((2, 3))), np.ones((2, 3)))


@pytest.mark.parametrize(("B", "H", "K"), [
    (1, 100, 100), (16, 256, 256), (32, 256, 256), (32, 384, 384), (32, 512, 512),
    (16, 1024, 1024), (32, 1024, 1024), (32, 256, 577), (33, 331, 331), (8, 4096, 4096),
])
def test_blocks_are_small_fill_whole_registers_and_have_little_padding(monkeypatch, B, H, K):
    monkeypatch.setattr(matmul, "small_products_are_fast", lambda: True)
    width = block_width(B, H, K)
    assert B * H * width <= SMALL
    if B * H * K > SMALL:
        assert width % REGISTER == 0
        assert -(-K // width) * width <= 1.13 * K
        if K % 64 == 0:
            assert K % width == 0
    else:
        assert width == K


@pytest.mark.parametrize(("B", "H", "K"), [
    (32, 256, 577), (16, 256, 600), (64, 200, 700), (48, 300, 1000), (10, 999, 1234),
])
def test_the_block_width_with_the_least_padding_is_chosen(monkeypatch, B, H, K):
    monkeypatch.setattr(matmul, "small_products_are_fast", lambda: True)
    widest = SMALL // (B * H)
    widths = [width for width in range(REGISTER, widest + 1, REGISTER)
              if width >= widest // REGISTER * REGISTER // 2]
    padding = {width: -(-K // width) * width - K for width in widths}
    least = min(padding.values())
    assert block_width(B, H, K) == max(w for w in widths if padding[w] == least)


def test_a_product_of_exactly_the_limit_is_not_split(monkeypatch):
    monkeypatch.setattr(matmul, "small_products_are_fast", lambda: True)
    assert block_width(100, 100, 100) == 100


def test_the_matrix_is_not_split_on_other_kernels_or_where_no_block_would_be_small(monkeypatch):
    monkeypatch.setattr(matmul, "small_products_are_fast", lambda: True)
    assert block_width(512, 1024, 1024) == 1024
    monkeypatch.setattr(matmul, "small_products_are_fast", lambda: False)
    assert block_width(32, 1024, 1024) == 1024


def test_the_kernel_is_detected_and_openblas_coretype_is_respected(monkeypatch):
    detect = matmul.small_products_are_fast.__wrapped__

    def build(blas, *simd):
        monkeypatch.setattr(np, "show_config", lambda mode: {
            "SIMD Extensions": {"found": list(simd)}, "Build Dependencies": {"blas": {"name": blas}}
        })

    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    build("scipy-openblas", "X86_V3", "X86_V4")
    assert detect()
    build("openblas64", "AVX2", "AVX512F", "AVX512_SKX")
    assert detect()
    build("scipy-openblas", "X86_V3")
    assert not detect()
    build("accelerate", "X86_V4")
    assert not detect()
    build("scipy-openblas", "X86_V4")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert not detect()
