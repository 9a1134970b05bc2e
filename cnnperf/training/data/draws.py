"""Random draws that are the same on every machine and with every version of numpy and torch.

Records are comparable only if they learned from the same images. numpy guarantees the raw output
of a bit generator, but not the results of `permutation` or `integers` (NEP 19), and torch
guarantees neither. So all draws here come from raw output.

    python -c "from cnnperf.training.data.draws import permutation; print(permutation(10, seed=0))"

Shapes: N rows.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Rows: TypeAlias = npt.NDArray[np.int64]


def raw_draws(count: int, *, seed: int) -> npt.NDArray[np.uint64]:
    """Return `count` draws, uniform over all 64-bit numbers."""
    return np.asarray(np.random.PCG64(seed).random_raw(count), dtype=np.uint64)


def permutation(count: int, *, seed: int) -> Rows:
    """Return the numbers 0 to `count - 1` in an order fixed by the seed."""
    # Stable, so that even two equal draws would have a fixed order.
    return np.argsort(raw_draws(count, seed=seed), kind="stable").astype(np.int64)


def random_bytes(count: int, *, seed: int) -> npt.NDArray[np.uint8]:
    """Return `count` bytes, uniform over 0..255."""
    words = raw_draws(-(-count // 8), seed=seed).astype("<u8")
    return words.view(np.uint8)[:count]


def stratified_rows(labels_N: npt.NDArray[np.int64], count: int, *, seed: int) -> Rows:
    """Draw `count` rows, in which each class has its share to within one row.

    Rows are shuffled, sorted by class, and taken at even steps (systematic sampling). Rounding
    class by class could miss the total.
    """
    shuffled = permutation(len(labels_N), seed=seed)
    by_class = shuffled[np.argsort(labels_N[shuffled], kind="stable")]
    steps = np.arange(len(labels_N) + 1, dtype=np.int64) * count // len(labels_N)
    return np.sort(by_class[np.diff(steps) == 1])
