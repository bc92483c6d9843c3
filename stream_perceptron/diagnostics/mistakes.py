"""The most confident mistakes of a model."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stream_perceptron.errors import SourceError
from stream_perceptron.live.driver import drive

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import LiveModel


@dataclass(order=True)
class Mistake:
    """A sample that was predicted wrongly; the more confident, the larger."""

    probability: float  # that of the prediction
    row: int  # its number in its source, from 1
    label: Any = field(compare=False)
    prediction: Any = field(compare=False)
    x: dict[Hashable, float] = field(compare=False)  # its features, in the order of the source


def mistakes_in(live: LiveModel, source: Source, most: int = 12) -> tuple[list[Mistake], int, int]:
    """Return the most confident mistakes on a labelled source, most confident first.

    Returns
    -------
    The mistakes, the number of labelled samples, and of those that were predicted correctly.

    """
    worst: list[Mistake] = []
    labelled = right = 0
    for batch in live.batches(source):
        (result,) = drive([batch], live.predict)
        for i, prediction in enumerate(result.predictions):
            label = batch.labels[i]
            labelled += label is not None
            right += label is not None and label == prediction
            if label in (None, prediction) or prediction is None:
                continue
            sureness = float(result.probabilities[i])
            if len(worst) == most and sureness <= worst[0].probability:
                continue
            (x,) = batch.features[i : i + 1].dicts()
            row = int(result.rows[i])
            mistake = Mistake(sureness, row, label, prediction, x)
            (heapq.heappush if len(worst) < most else heapq.heapreplace)(worst, mistake)
    if not labelled:
        raise SourceError(f"{source.name}: no labels to compare predictions with")
    return sorted(worst, reverse=True), labelled, right
