"""Blocks of tested samples, which the tests for drift examine one by one."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.model.arrays import Floats

BLOCK_SIZE = 50  # samples
NUMBER_TYPE = "<f8"  # the type of each number in the state of the tests
MAX_CLASSES = 1000  # classes with their own counts; those of the last one include all later classes

_LOG_2 = 0.6931471805599453


@dataclass
class Blocks:
    """The counts of n blocks of 50 samples, for k classes."""

    rows: Floats  # the row of the last sample of each block; shape (n,)
    samples: Floats  # the number of tested samples up to the end of each block; shape (n,)
    seen: Floats  # samples by class; shape (n, k)
    wrong: Floats  # wrongly predicted samples by class; shape (n, k)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> Blocks:
        return Blocks(self.rows[part], self.samples[part], self.seen[part], self.wrong[part])


def define_group_state(n_classes: int) -> list[tuple[object, ...]]:
    """Return the fields of the state of `group_blocks`, for a structured array."""
    return [
        # The blocks in the group that is not full, and their samples and mistakes by class.
        ("n_blocks", NUMBER_TYPE),
        ("seen", NUMBER_TYPE, (n_classes,)),
        ("wrong", NUMBER_TYPE, (n_classes,)),
    ]


def group_blocks(state: np.void, blocks: Blocks, length: int) -> tuple[Blocks, slice]:
    """Combine blocks into groups of `length` blocks.

    Returns
    -------
    The full groups, and the indices of their last blocks. `state` keeps the remaining blocks.

    """
    n_open, n_classes = int(state["n_blocks"]), blocks.seen.shape[1]
    n_full, state["n_blocks"] = divmod(n_open + len(blocks), length)
    first = length - 1 - n_open
    ends = slice(first, first + n_full * length, length)
    groups = []
    for name, counts in (("seen", blocks.seen), ("wrong", blocks.wrong)):
        padded = np.zeros(((n_full + 1) * length, n_classes))
        padded[n_open : n_open + len(blocks)] = counts
        sums = padded.reshape(n_full + 1, length, n_classes).sum(axis=1)
        sums[0] += state[name]
        state[name] = sums[n_full]
        groups.append(sums[:n_full])
    return Blocks(blocks.rows[ends], blocks.samples[ends], *groups), ends


def accumulate(first: Floats, added: Floats) -> Floats:
    """Return running sums that begin at `first`; they have one more row than `added`."""
    sums = np.empty((len(added) + 1, *added.shape[1:]))
    sums[0], sums[1:] = first, added
    return sums.cumsum(axis=0, out=sums)


def sum_classes(counts: Floats) -> Floats:
    """Sum each row from left to right, so that new classes leave the result bit-identical."""
    return counts.cumsum(axis=1)[:, -1]


def find_minima(
    previous_minima: Floats, sums: Floats, is_counted: NDArray[np.bool_] | bool = True
) -> tuple[Floats, NDArray[np.intp]]:
    """Return the running minima of sums, and the index at which each was last attained.

    The index is that of a row where `is_counted` is true, or -1 if the minimum precedes these rows.
    """
    minima = sums.copy()
    minima[0] = previous_minima
    np.minimum.accumulate(minima, axis=0, out=minima)
    numbers = np.arange(len(sums)).reshape(-1, *[1] * (sums.ndim - 1))
    indices = np.where((sums <= minima) & is_counted, numbers, -1)
    return minima, np.maximum.accumulate(indices, axis=0)


def portable_log(x: Floats) -> Floats:
    """Return logarithms that are accurate to ten digits and bit-identical on every machine."""
    part, power = np.frexp(x)
    s = (part - sqrt(0.5)) / (part + sqrt(0.5))
    t = s * s
    series = ((((t / 11 + 1 / 9) * t + 1 / 7) * t + 1 / 5) * t + 1 / 3) * t + 1
    return np.asarray((power - 0.5) * _LOG_2 + 2 * s * series)
