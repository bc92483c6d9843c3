"""A model's most confident mistakes on labeled samples, and whether it was trained on them."""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stream_perceptron.data.naming import join_first
from stream_perceptron.errors import SourceError
from stream_perceptron.live.evaluation import Evaluation
from stream_perceptron.live.history import ROWS, Entry
from stream_perceptron.live.loop import predict

if TYPE_CHECKING:
    from stream_perceptron.data.schema import ReadOptions
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.model import LiveModel

_MAX_SHOWN_FEATURES = 6


@dataclass(order=True)
class Mistake:
    """A sample that was predicted wrongly; mistakes are ordered by confidence."""

    score: float  # of the prediction
    row: int  # counted from 1 in the source
    label: object = field(compare=False)
    prediction: object = field(compare=False)
    x: dict[Hashable, float] = field(compare=False)  # features in the source's order


class Mistakes(NamedTuple):
    """The results of a model on a labeled source."""

    worst: list[Mistake]  # most confident first
    n_rows: int  # rows read
    evaluation: Evaluation


def find_mistakes(
    live: LiveModel,
    source: Source,
    read_options: ReadOptions | None = None,
    max_mistakes: int = 12,
) -> Mistakes:
    """Return the most confident mistakes on a labeled source."""
    worst: list[Mistake] = []
    n_rows, evaluation = 0, Evaluation(live.model.classes_)
    results = predict(
        live, source, read_options=read_options, joins_labels=True, keeps_zeros=True,
        with_all_scores=True,
    )  # fmt: skip
    for result in results:
        n_rows += len(result.batch)
        evaluation.update(result)
        pairs = zip(result.labels, result.predictions, strict=True)
        for i, (label, prediction) in enumerate(pairs):
            if label in (None, prediction) or prediction is None:
                continue
            score = float(result.scores[i])
            if len(worst) == max_mistakes and score <= worst[0].score:
                continue
            batch = result.batch
            (x,) = batch.take(np.arange(len(batch))[batch.usable_rows][i : i + 1]).dicts()
            row = int(result.rows[i])
            mistake = Mistake(score, row, label, prediction, x)
            (heapq.heappush if len(worst) < max_mistakes else heapq.heapreplace)(worst, mistake)
    if not evaluation.confusion.tested:
        raise SourceError(f"{source.name}: no labels to compare predictions with")
    return Mistakes(sorted(worst, reverse=True), n_rows, evaluation)


def find_misleading_features(live: LiveModel, mistake: Mistake) -> Sequence[tuple[str, float]]:
    """Return the features that most favor the wrong prediction over the label, and their values."""
    model = live.model
    numbers = {label: j for j, label in enumerate(model.classes_)}
    weight_margin = model.weights[numbers[mistake.prediction]]
    if mistake.label in numbers:
        weight_margin = weight_margin - model.weights[numbers[mistake.label]]
    known = [name for name in mistake.x if name in model.network.features.ids_by_name]
    feature_ids = model.network.features.find_ids(known)
    x = np.array([mistake.x[name] for name in known], np.float64)
    contributions = weight_margin[feature_ids] * model.network.standardize(feature_ids, x)
    order = np.argsort(-contributions, kind="stable")[:_MAX_SHOWN_FEATURES]
    return [(str(known[i]), float(x[i])) for i in order if contributions[i] > 0]


def describe_training(live: LiveModel, source: Source, n_rows: int) -> str:
    """Describe in a sentence whether a model was trained on a source, according to its history."""
    entries = live.history.entries
    learned: list[Entry] = []
    if not source.is_stream:
        content = source.content
        learned = [entry for entry in entries if any(map(content.matches, entry.files))]
    if any(entry.unit != ROWS for entry in learned):
        return "The model was trained on rows of this file, in another order"
    parts: list[tuple[int, int]] = []
    for start, end in sorted((entry.start, entry.end) for entry in learned):
        if parts and start <= parts[-1][1]:
            start, end = parts[-1][0], max(end, parts.pop()[1])
        parts.append((start, end))
    if parts and parts[0][0] == 0 and parts[0][1] >= n_rows:
        return "The model was trained on these rows"
    if parts:
        shown = join_first([f"{start + 1:,} to {end:,}" for start, end in parts])
        return f"The model was trained on rows {shown} of this file"
    is_known = live.history.is_complete and not any(entry.is_stream for entry in entries)
    if not is_known or source.is_stream:
        return "It is not known whether the model was trained on these rows"
    return "The model was not trained on this file"
