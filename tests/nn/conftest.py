"""Fixtures of the tests of charrnn.nn."""

from __future__ import annotations

import pytest
from nn_case import B, H

from charrnn.nn import matmul


@pytest.fixture(params=["whole", "in blocks"])
def kernel(request, monkeypatch):
    """W_hh whole, and split into blocks as in large networks on some processors."""
    monkeypatch.setattr(matmul, "small_products_are_fast", lambda: request.param != "whole")
    monkeypatch.setattr(matmul, "REGISTER", 3)  # 3 + 1 of the 4 columns
    monkeypatch.setattr(matmul, "SMALL", 3 * B * (H + 1))  # H + 1: see Stepper
