"""Optimizers, clipping and schedules. All of them act on one flat vector.

An optimizer is a function ``(theta, grad, moments, step, rate)`` that updates ``theta`` (P,)
and its running averages ``moments`` (rows of length P) in place; it may overwrite ``grad`` (P,).
``step`` counts from 1, ``rate`` is the learning rate. The letters are those of the papers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy import ndarray

MOMENTUM = 0.9
BETA1 = 0.9
BETA2 = 0.99  # not the paper's 0.999: a shorter average allows a higher learning rate
RMSPROP_DECAY = 0.95
EPSILON = 1e-8


def adam(theta: ndarray, grad: ndarray, moments: ndarray, step: int, rate: float) -> None:
    """Kingma & Ba 2015, algorithm 1, both bias corrections folded into the rate and epsilon."""
    m, v = moments
    m += (1 - BETA1) * (grad - m)
    np.multiply(grad, grad, out=grad)
    v += (1 - BETA2) * (grad - v)
    np.sqrt(v, out=grad)
    grad += EPSILON * math.sqrt(1 - BETA2**step)
    np.divide(m, grad, out=grad)
    grad *= rate * math.sqrt(1 - BETA2**step) / (1 - BETA1**step)
    theta -= grad


def rmsprop(theta: ndarray, grad: ndarray, moments: ndarray, step: int, rate: float) -> None:
    """Tieleman & Hinton 2012: divide by a running root mean square of the gradient."""
    (r,) = moments
    r += (1 - RMSPROP_DECAY) * (grad * grad - r)
    theta -= rate * grad / (np.sqrt(r) + EPSILON)


def adagrad(theta: ndarray, grad: ndarray, moments: ndarray, step: int, rate: float) -> None:
    """Duchi et al. 2011: divide by the root of the sum of all squared gradients so far."""
    (s,) = moments
    s += grad * grad
    theta -= rate * grad / (np.sqrt(s) + EPSILON)


def sgd(theta: ndarray, grad: ndarray, moments: ndarray, step: int, rate: float) -> None:
    """Stochastic gradient descent with classical momentum (Polyak 1964)."""
    (velocity,) = moments
    velocity *= MOMENTUM
    velocity += grad
    theta -= rate * velocity


class Optimizer(NamedTuple):
    """An optimizer, and how many vectors of length P it keeps as moments."""

    update: Callable[[ndarray, ndarray, ndarray, int, float], None]
    moments: int


OPTIMIZERS = {
    "adam": Optimizer(adam, 2),
    "rmsprop": Optimizer(rmsprop, 1),
    "adagrad": Optimizer(adagrad, 1),
    "sgd": Optimizer(sgd, 1),
}


def norm(grad: ndarray) -> float:
    """Euclidean norm of ``grad``; NaN or infinite only if one of its entries is."""
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(grad))
    if math.isinf(length):  # in float32 the squares may overflow although the entries do not
        length = float(np.linalg.norm(grad.astype(np.float64)))
    return length


def clip(grad: ndarray, clip_norm: float, clip_value: float) -> float:
    """Limit ``grad`` in place, by value first, then by global norm; 0 turns either off.

    Scaling to the norm is Pascanu et al. 2013, algorithm 1. Returns the norm of the gradient
    before clipping.
    """
    before = norm(grad)
    if clip_value > 0:
        np.clip(grad, -clip_value, clip_value, out=grad)
    if clip_norm > 0:
        length = norm(grad) if clip_value > 0 else before
        if length > clip_norm:
            grad *= clip_norm / length
    return before


EXPONENTIAL_END = 0.01  # of the peak, at the end of the exponential schedule


def learning_rate(
    step: int, peak: float, schedule: str, warmup: int, total_steps: int
) -> float:
    """The learning rate of ``step`` (1 .. total_steps): linear warm-up to ``peak``, then decay.

    One step after the last, ``cosine`` would reach 0 (Loshchilov & Hutter 2017, without
    restarts) and ``exponential`` EXPONENTIAL_END times the peak; ``constant`` stays at the peak.
    The warm-up takes ``warmup`` steps, but at most a tenth of the run, so that short runs reach
    their peak.
    """
    warmup = min(warmup, total_steps // 10)
    if step <= warmup:
        return peak * step / warmup
    done = (step - 1 - warmup) / max(1, total_steps - warmup)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    if schedule == "exponential":
        return peak * math.pow(EXPONENTIAL_END, done)
    return peak
