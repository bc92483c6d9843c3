"""A model's most confident mistakes on labelled samples, and whether it was trained on them."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from stream_perceptron.data.naming import shortened
from stream_perceptron.errors import SourceError
from stream_perceptron.live.driver import drive
from stream_perceptron.live.lineage import ROWS, Entry
from stream_perceptron.live.ranking import Ranking

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import LiveModel

_SHOWN_FEATURES = 6


@dataclass(order=True)
class Mistake:
    """A sample that was predicted wrongly; mistakes compare by confidence."""

    probability: float  # of the prediction
    row: int  # counted from 1 in the source
    label: Any = field(compare=False)
    prediction: Any = field(compare=False)
    x: dict[Hashable, float] = field(compare=False)  # features in the source's order


class Examples(NamedTuple):
    """The results of a model on a labelled source."""

    worst: list[Mistake]  # most confident first
    rows: int  # rows read
    labelled: int
    right: int  # labelled rows predicted correctly
    ranking: Ranking  # by the scores of the model's classes


def mistakes_in(live: LiveModel, source: Source, most: int = 12) -> Examples:
    """Return the most confident mistakes on a labelled source."""
    worst: list[Mistake] = []
    rows = labelled = right = 0
    numbers = {label: j for j, label in enumerate(live.model.classes_)}
    ranking = Ranking(len(numbers))
    for batch in live.batches(source, joins_labels=True):
        (result,) = drive([batch], partial(live.predict, with_every=True))
        rows += len(batch)
        known = [i for i, label in enumerate(batch.labels) if label is not None]
        targets = [numbers.get(batch.labels[i], len(numbers)) for i in known]
        if result.every_probability is not None:
            ranking.update(np.array(targets, np.intp), result.every_probability[known])
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
    return Examples(sorted(worst, reverse=True), rows, labelled, right, ranking)


def misleading(live: LiveModel, mistake: Mistake) -> Sequence[tuple[str, float]]:
    """Return the features and values that most favour the wrong prediction over the label."""
    model = live.model
    numbers = {label: j for j, label in enumerate(model.classes_)}
    toward = model.weights[numbers[mistake.prediction]]
    if mistake.label in numbers:
        toward = toward - model.weights[numbers[mistake.label]]
    known = [name for name in mistake.x if name in model.network.features.numbers]
    feature_ids = model.network.features.numbers_of(known)
    x = np.array([mistake.x[name] for name in known], np.float64)
    scaler = model.network.scaler
    spoken = toward[feature_ids] * (x if scaler is None else scaler.standardize(feature_ids, x))
    order = np.argsort(-spoken, kind="stable")[:_SHOWN_FEATURES]
    return [(str(known[i]), float(x[i])) for i in order if spoken[i] > 0]


def training_on(live: LiveModel, source: Source, n_rows: int) -> str:
    """Return a sentence on whether a model was trained on a source, according to its lineage."""
    entries = list(_flat(live.lineage.entries))
    known = {each for entry in entries for each in entry.sources if not each.is_stream}
    same = set() if source.is_stream else set(source.matching(known))
    learned = [entry for entry in entries if same.intersection(entry.sources)]
    if any(entry.unit != ROWS for entry in learned):
        return "The model was trained on rows of this file, in another order"
    parts: list[tuple[int, int]] = []
    for start, end in sorted((entry.start, entry.end) for entry in learned):
        if parts and start <= parts[-1][1]:
            start, end = parts[-1][0], max(end, parts.pop()[1])
        parts.append((start, end))
    if parts and parts[0][0] == 0 and parts[0][1] >= n_rows:
        return "The model was trained on them"
    if parts:
        shown = shortened([f"{start + 1:,} to {end:,}" for start, end in parts])
        return f"The model was trained on rows {shown} of them"
    is_known = live.lineage.is_complete and not any(entry.is_stream for entry in entries)
    if not is_known or source.is_stream:
        return "Whether the model was trained on them is not known"
    return "The model was not trained on this file"


def _flat(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield lineage entries, and below each average those of its models."""
    for entry in entries:
        yield entry
        for part in entry.models:
            yield from _flat(part)
