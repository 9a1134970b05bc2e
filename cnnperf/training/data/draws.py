"""Random draws that never change: not with the version of numpy or torch, nor with the machine.

Two records can be compared only if they learned from the same images. numpy promises that the
raw output of a bit generator stays as it is, but not what `permutation` or `integers` make of it
(NEP 19), and torch promises neither; so everything here is made from raw output.

    python -c "from cnnperf.training.data.draws import permutation; print(permutation(10, seed=0))"
"""

# Shapes: N rows.

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Rows: TypeAlias = npt.NDArray[np.int64]


def raw_draws(count: int, *, seed: int) -> npt.NDArray[np.uint64]:
    """`count` draws, uniform over all 64-bit numbers."""
    return np.asarray(np.random.PCG64(seed).random_raw(count), dtype=np.uint64)


def permutation(count: int, *, seed: int) -> Rows:
    """The numbers 0 to `count - 1` in an order fixed by the seed."""
    # Two equal draws among a few thousand 64-bit numbers do not occur; a stable sort would settle
    # even them.
    return np.argsort(raw_draws(count, seed=seed), kind="stable").astype(np.int64)


def random_bytes(count: int, *, seed: int) -> npt.NDArray[np.uint8]:
    """`count` bytes, uniform over 0..255."""
    words = raw_draws(-(-count // 8), seed=seed).astype("<u8")
    return words.view(np.uint8)[:count]


def stratified_rows(labels_N: npt.NDArray[np.int64], count: int, *, seed: int) -> Rows:
    """Rows, `count` in all, drawn so that every class has its share of them to within one.

    Rows are shuffled, sorted by class, and taken at even steps (systematic sampling): that keeps
    both the total and every class exact, which rounding class by class would not.
    """
    shuffled = permutation(len(labels_N), seed=seed)
    by_class = shuffled[np.argsort(labels_N[shuffled], kind="stable")]
    steps = np.arange(len(labels_N) + 1, dtype=np.int64) * count // len(labels_N)
    return np.sort(by_class[np.diff(steps) == 1])
