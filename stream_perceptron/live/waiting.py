"""Samples that wait for their labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.labels import text_of
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.kernel.types import BlockResult
from stream_perceptron.model.rows import Names, Rows, joined
from stream_perceptron.model.vocabulary import doubled

Arrays = dict[str, NDArray[Any]]

# What is saved of the features of all samples, of their weights and of their predictions.
_ARRAYS = ("starts", "places", "values", "weights", "predicted")
ARRAYS = tuple(f"waiting_{name}" for name in _ARRAYS)


class Sample(NamedTuple):
    """A sample that waits, as it was read."""

    names: Names  # of its features
    values: NDArray[Any]  # float64; or uint8, to be multiplied by `scale`
    scale: float
    indicators: frozenset[Any]  # the features that stand for a text
    weight: float
    predicted: int  # the number of the label that was predicted, -1 for none


@dataclass(frozen=True, eq=False, repr=False)
class Joined:
    """A batch in which rows of labels have the features of the samples that waited for them."""

    batch: Batch
    old: dict[int, Sample]  # the samples of usable rows, if they were there before
    within: dict[int, int]  # the usable row that another one brings the label of
    begun: dict[str, int]  # the usable row of each sample that waits from now on
    gone: set[str]  # samples that were there before, and do not wait any more
    n_forgotten: int  # how many had to make room

    def settle(self, result: BlockResult) -> NDArray[np.bool_]:
        """Let samples have their first predictions; return which rows were labels of these."""
        n = len(result)
        answers = np.zeros(n, bool)
        for row, sample in self.old.items():
            if row < n:
                answers[row], result.predicted[row] = True, sample.predicted
        for row, first in self.within.items():
            if row < n:
                answers[row], result.predicted[row] = True, result.predicted[first]
        return answers


@dataclass(eq=False)
class Waiting:
    """Samples that wait for their labels, the oldest first, by the text that identifies each."""

    forgotten: int = 0  # samples that had to make room for others
    # Features that rows have had, beside those that the model has learned.
    names: list[str] = field(default_factory=list)
    # What is saved of the samples beside arrays.
    ids: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)  # the names of their features
    indicators: list[str] = field(default_factory=list)
    scale: float = 1.0
    samples: dict[str, Sample] = field(default_factory=dict, metadata={"saved": False})

    def joined(self, batch: Batch, name: str, most: int) -> Joined:
        """Return a batch in which labels have joined their samples; nothing is changed.

        `name` is the column by which they are joined, and at most `most` samples wait.
        """
        rejected: dict[int, str] = {}
        lengths, labels = batch.features.lengths.tolist(), batch.labels
        used: list[int] = []  # the usable rows that stay
        old: dict[int, Sample] = {}
        within: dict[int, int] = {}
        begun: dict[str, int] = {}
        gone: set[str] = set()
        n_waiting, n_forgotten, oldest = len(self.samples), 0, iter(self.samples)
        for i, place in enumerate(batch.rows.tolist()):
            key, row = _key(batch.kept[i][-1]), len(used)
            waits = key in begun or (key in self.samples and key not in gone)
            why = _why_not(key, name, waits, lengths[i] > 0, labels[i] is not None)
            if why is not None:
                rejected[place] = why
                continue
            used.append(i)
            if labels[i] is None:
                begun[key] = row
                n_waiting += 1
            elif key in begun:
                within[row] = begun.pop(key)
                n_waiting -= 1
            elif waits:
                old[row] = self.samples[key]
                gone.add(key)
                n_waiting -= 1
            if n_waiting > most:
                n_waiting, n_forgotten = n_waiting - 1, n_forgotten + 1
                first = next((each for each in oldest if each not in gone), None)
                if first is None:
                    del begun[next(iter(begun))]
                else:
                    gone.add(first)
        there = _joined(batch, used, old, within)
        held = {
            place: partial(_held, batch, i, name)
            for i, place in enumerate(batch.rows.tolist())
            if place in rejected
        }
        there = replace(there, rejected=batch.rejected | rejected, held=batch.held | held)
        return Joined(there, old, within, begun, gone, n_forgotten)

    def take(self, joined: Joined, predicted: NDArray[np.intp]) -> None:
        """Take in what a batch brought, with what was predicted of its usable rows."""
        batch, begun = joined.batch, joined.begun
        for key in joined.gone:
            del self.samples[key]
        self.forgotten += joined.n_forgotten
        rows = list(begun.values())
        features = self._cut(batch.features, rows, batch.indicators)
        weights, numbers = batch.weights[rows].tolist(), predicted[rows].tolist()
        self.samples |= {
            key: Sample(*each, weight, number)
            for key, each, weight, number in zip(begun, features, weights, numbers, strict=True)
        }

    def _cut(
        self, rows: Rows, wanted: Iterable[int], indicators: frozenset[Any]
    ) -> Iterator[tuple[Names, NDArray[Any], float, frozenset[Any]]]:
        """Yield what samples have of the features of some rows, in memory of their own."""
        last = next(reversed(self.samples.values())).names if self.samples else ()
        names = tuple(rows.names) if rows.columns is None else ()
        starts = rows.starts.tolist()
        for row in wanted:
            cells = slice(starts[row], starts[row + 1])
            if rows.columns is not None:
                names = tuple(map(rows.names.__getitem__, rows.columns[cells].tolist()))
            # Samples that are alike share one object.
            names = last = last if names == last else names
            ones = indicators and indicators.intersection(names)
            yield names, rows.values[cells].copy(), rows.scale, ones

    def arrays(self) -> Arrays:
        """Return what is saved as arrays, and take note of the rest."""
        samples = list(self.samples.values())
        rows = _rows_of(samples)
        self.ids, self.columns, self.scale = list(self.samples), list(map(str, rows.names)), 1.0
        self.indicators = sorted(frozenset().union(*(sample.indicators for sample in samples)))
        if rows.values.dtype == np.uint8:
            self.scale = rows.scale
        places = np.empty(0, np.int32) if rows.columns is None else rows.columns
        weights = np.array([sample.weight for sample in samples], np.float64)
        predicted = np.array([sample.predicted for sample in samples], np.intp)
        found = rows.starts, places, rows.values, weights, predicted
        return dict(zip(ARRAYS, found, strict=True))

    def restore(self, arrays: Arrays, most: int, n_labels: int) -> None:
        """Take over the samples that were saved; at most so many can be."""
        if arrays.keys() != set(ARRAYS):
            raise CheckpointError("waiting samples have other arrays")
        starts, places, values, weights, predicted = map(arrays.__getitem__, ARRAYS)
        n, d = len(self.ids), len(self.columns)
        if (
            n > most
            or doubled(self.ids)
            or doubled(self.columns)
            or values.dtype not in (np.uint8, np.float64)
            or [part.dtype for part in (starts, places, weights, predicted)]
            != [np.intp, np.int32, np.float64, np.intp]
            or [part.shape for part in (starts, weights, predicted)] != [(n + 1,), (n,), (n,)]
            or not values.ndim == places.ndim == 1
            or starts[0] != 0
            or starts[-1] != len(values)
            or not _are_in(np.diff(starts), 0 if len(places) else d, d)
            or len(places) not in (0, len(values))
            or not _are_in(places, 0, d - 1)
            or len(np.unique(_rows_in(starts)[: len(places)] * d + places)) < len(places)
            or not np.isfinite(values * self.scale).all()
            or not _are_in(weights, 0, np.finfo(np.float64).max)
            or not _are_in(predicted, -1, n_labels - 1)
        ):
            raise CheckpointError("waiting samples do not fit together")
        rows = Rows(self.columns, starts, places if len(places) else None, values, self.scale)
        features = self._cut(rows, range(n), frozenset(self.indicators))
        self.samples = {
            key: Sample(*each, weight, number)
            for key, each, weight, number in zip(
                self.ids, features, weights.tolist(), predicted.tolist(), strict=True
            )
        }


def _key(value: Any) -> Any:
    """Return what identifies a sample, as text; None for nothing."""
    if value is None or value != value or isinstance(value, list | dict):
        return None
    return text_of(value, is_text=False) or None


def _why_not(key: Any, name: str, waits: bool, has_features: bool, has_label: bool) -> str | None:
    """Say why a row cannot be used, None if it can."""
    if key is None:
        return f"it has no {name!r} that identifies a sample"
    if not has_features and not has_label:
        return "it has neither features nor a label"
    if has_features and waits:
        return f"{name!r} is {key[:50]!r}, whose sample waits for its label already"
    if not has_features and not waits:
        return f"{name!r} is {key[:50]!r}, of which no sample waits for a label"
    return None


def _joined(batch: Batch, used: list[int], old: dict[int, Sample], within: dict[int, int]) -> Batch:
    """Return the rows that stay of a batch, with the features of samples where labels are."""
    order, missing = np.arange(len(used)), batch.missing
    # As in rows that name their own, a sample brings the features that it has.
    features = replace(batch.features[np.array(used, np.intp)], n_columns=0)
    weights, indicators = batch.weights[used], batch.indicators
    missing = None if missing is None else missing[used]
    if old or within:
        samples = list(old.values())
        order[list(within)] = list(within.values())
        order[list(old)] = len(used) + np.arange(len(old))
        if samples:
            features = joined([features, _rows_of(samples)])
            weights = np.concatenate([weights, [sample.weight for sample in samples]])
            indicators = indicators.union(*(sample.indicators for sample in samples))
        features, weights = features[order], weights[order]
        if missing is not None:
            missing[[*old, *within]] = 0
    return replace(
        batch,
        rows=batch.rows[used],
        features=features,
        labels=[batch.labels[i] for i in used],
        weights=weights,
        missing=missing,
        indicators=indicators,
        kept=[batch.kept[i] for i in used],
    )


def _held(batch: Batch, i: int, name: str) -> list[dict[str, Any]]:
    """Return what a usable row holds, by name."""
    (features,) = batch.features[i : i + 1].dicts()
    return [
        {
            name: batch.kept[i][-1],
            "label": batch.labels[i],
            **{str(n): v for n, v in features.items()},
        }
    ]


def _rows_of(samples: Sequence[Sample]) -> Rows:
    """Return the features of samples."""
    names = [sample.names for sample in samples]
    kinds = {(sample.scale, sample.values.dtype) for sample in samples}
    if len(kinds) == 1 and all(each is names[0] or each == names[0] for each in names):
        cells = np.stack([sample.values for sample in samples])
        return Rows.of_table(names[0], cells, scale=samples[0].scale)
    one = np.array([0, 1])
    return Rows.from_rows(
        names, [Rows((), one, None, sample.values, sample.scale).numbers for sample in samples]
    )


def _rows_in(starts: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def _are_in(values: NDArray[Any], least: float, most: float) -> bool:
    return bool(((values >= least) & (values <= most)).all())
