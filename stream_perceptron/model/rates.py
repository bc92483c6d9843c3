"""Learning rates, and one that falls with the updates of each feature."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import SampleError
from stream_perceptron.model.arrays import Floats

if TYPE_CHECKING:
    from river.optim.base import Scheduler


@dataclass(frozen=True)
class FallingRate:
    """A learning rate that falls for each feature with the number of its updates.

    The weights of a feature are updated with the rate $\\max(end, start / \\sqrt{1 + n / 30})$,
    where $n$ is its update count: the number of earlier updates, made with a falling rate, in which
    the feature was nonzero. The bias counts all updates with a falling rate. The rate of a rare
    feature is therefore still high when the rate of a common one has reached `end`.

    From $n = \\lceil 30 ((start / end)^2 - 1) \\rceil$ on, which is 720 by default, the rate is
    `end` itself, and the count stops.

    Parameters
    ----------
    start
        The rate of a feature without updates.
    end
        The lowest rate: a positive number that is not above `start`.

    Raises
    ------
    ValueError
        Unless `start` and `end` are finite, and start >= end > 0.

    Examples
    --------
    The rates of a feature after 0, 10, 90 and 720 updates:

    >>> from stream_perceptron import FallingRate
    >>> FallingRate(start=0.5, end=0.1).compute_rates([0, 10, 90, 720]).round(3).tolist()
    [0.5, 0.433, 0.25, 0.1]

    """

    start: float = 0.5
    end: float = 0.1
    n_falling: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.end <= self.start < math.inf:
            raise ValueError(
                f"a learning rate cannot fall from {self.start} to {self.end}: choose finite "
                "numbers above 0, the first at least as large as the second"
            )
        ratio = float(self.start) / float(self.end)
        object.__setattr__(self, "n_falling", float(np.ceil(30.0 * (ratio * ratio - 1.0))))

    def compute_rates(self, update_counts: object) -> Floats:
        """Return the rates of features with these update counts, an array of the same shape."""
        n = np.asarray(update_counts, np.float64)
        return np.where(
            n < self.n_falling, np.maximum(self.end, self.start / np.sqrt(1.0 + n / 30.0)), self.end
        )

    def multiply_end_rate(self, factor: float) -> FallingRate:
        """Return a rate with a multiple of the end, up to the start.

        It stops the counts where this one does.
        """
        rate = FallingRate(self.start, min(self.end * factor, self.start))
        object.__setattr__(rate, "n_falling", self.n_falling)
        return rate


LearningRate: TypeAlias = "float | Scheduler | FallingRate"


def format_number(number: float) -> str:
    """Return a number as people type it, exactly.

    Examples
    --------
    >>> format_number(3e-06), format_number(1.0)
    ('3e-6', '1')

    """
    return repr(number).removesuffix(".0").replace("e-0", "e-")


def format_lr(lr: LearningRate) -> str:
    """Return a learning rate as it is typed on the command line; a scheduler as its repr.

    Examples
    --------
    >>> format_lr(1.0), format_lr(FallingRate())
    ('1', '0.5:0.1')

    """
    if isinstance(lr, FallingRate):
        return f"{format_number(lr.start)}:{format_number(lr.end)}"
    return format_number(lr) if isinstance(lr, float | int) else repr(lr)


def compute_rates_of_next_samples(lr: LearningRate, n_updates: int, n: int) -> NDArray[np.float64]:
    """Return the rates that all weights share in the next n updates; for a falling rate, its end.

    Raises
    ------
    SampleError
        If a scheduler fails, or returns a rate that is negative or not finite.

    """
    if isinstance(lr, FallingRate | int | float):
        return np.full(n, lr.end if isinstance(lr, FallingRate) else lr, np.float64)
    try:
        rates = np.array([float(lr.get(n_updates + t)) for t in range(n)])
    except ArithmeticError as error:
        raise SampleError(
            f"{lr!r} gives no learning rate after {n_updates:,} updates: {error}"
        ) from None
    if not ((rates >= 0) & (rates < math.inf)).all():
        raise SampleError(
            f"{lr!r} gives a learning rate that is not a finite number greater than or equal to 0"
        )
    return rates
