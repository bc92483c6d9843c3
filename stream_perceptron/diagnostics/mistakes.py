"""The most confident mistakes of a model."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.errors import SourceError

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import LiveModel

Array = NDArray[Any]


@dataclass(order=True)
class Mistake:
    """A sample that was predicted wrongly."""

    probability: float  # that of the prediction
    row: int  # its number in its source, from 1
    label: Any  # what it is, and what it was taken for
    prediction: Any
    x: Array  # its features, shape (d,), in the order of the source


def mistakes_in(live: LiveModel, source: Source, most: int = 12) -> tuple[list[Mistake], int, int]:
    """Return the most confident mistakes on a labelled source, the surest first.

    Returns
    -------
    The mistakes, the number of labelled samples, and of those that were predicted correctly.

    """
    worst: list[Mistake] = []
    labelled = right = 0
    for batch in live.batches(source):
        batch.require_usable()
        result = live.predict(batch)
        for i, prediction in enumerate(result.predictions):
            label = batch.labels[i]
            labelled += label is not None
            right += label is not None and label == prediction
            if label in (None, prediction):
                continue
            sureness = float(result.probabilities[i])
            if len(worst) == most and sureness <= worst[0].probability:
                continue
            (x,) = batch.features[i : i + 1].dicts()
            row = int(result.rows[i])
            mistake = Mistake(sureness, row, label, prediction, np.array(list(x.values())))
            (heapq.heappush if len(worst) < most else heapq.heapreplace)(worst, mistake)
    if not labelled:
        raise SourceError(f"{source.name}: has no labels to compare predictions with")
    return sorted(worst, reverse=True), labelled, right
