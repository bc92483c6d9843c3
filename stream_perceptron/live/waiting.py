"""Samples that wait for their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch
from stream_perceptron.data.schema import Selection
from stream_perceptron.encoders import format_value
from stream_perceptron.errors import CheckpointError
from stream_perceptron.model.results import TrainResult
from stream_perceptron.model.rows import Names, Rows, concatenate_rows
from stream_perceptron.model.vocabulary import doubled, natural_order

Arrays = dict[str, NDArray[Any]]

_LARGEST = float(np.finfo(np.float64).max)

ARRAY_PREFIX = "waiting_"  # of the names of the saved arrays


class Sample(NamedTuple):
    """A sample that waits for its label, as it was read."""

    names: Names  # of its features
    values: NDArray[Any]  # float64; or uint8, multiplied by `scale` when used
    scale: float  # 1 for float64
    indicators: frozenset[Any]  # the features that stand for texts and dates
    weight: float
    predicted: int  # the number of the predicted label, -1 for none


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class JoinedBatch(Batch):
    """A batch whose rows of labels have the features of the samples that waited for them.

    Rows are numbered among the usable ones.
    """

    read_features: Rows  # before samples are joined
    old: dict[int, Sample]  # by row: the earlier sample that its label joins
    within: dict[int, int]  # by row: the row of the same batch that its label joins
    added: dict[str, int]  # the row of each sample that becomes pending
    removed: set[str]  # earlier samples that are no longer pending
    n_evicted: int  # the number of samples dropped to make room

    def settle(self, result: TrainResult) -> NDArray[np.bool_]:
        """Set the first predictions of joined samples; return which rows are such."""
        n = len(result)
        answers = np.zeros(n, bool)
        for row, sample in self.old.items():
            if row < n:
                answers[row], result.predicted[row] = True, sample.predicted
        for row, first in self.within.items():
            if row < n:
                answers[row], result.predicted[row] = True, result.predicted[first]
        return answers


@dataclass(eq=False, repr=False)
class Waiting:
    """Samples that wait for their labels, the oldest first, by the text that identifies each."""

    forgotten: int = 0  # samples dropped to make room
    # Features that rows have had but the model has not learned.
    names: list[str] = field(default_factory=list)
    # The saved part of the samples that is not in arrays.
    ids: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)  # the names of their features
    indicators: list[str] = field(default_factory=list)
    samples: dict[str, Sample] = field(default_factory=dict, metadata={"saved": False})
    _last: Names = field(default=(), metadata={"saved": False})

    def join(self, batch: Batch, asked: Selection) -> JoinedBatch:
        """Return a batch with labels joined to their samples; nothing is changed."""
        name = str(asked.join)
        rejected: dict[int, str] = {}
        lengths, labels = batch.features.lengths.tolist(), batch.labels
        used: list[int] = []  # the usable rows that stay
        old: dict[int, Sample] = {}
        within: dict[int, int] = {}
        added: dict[str, int] = {}
        removed: set[str] = set()
        n_waiting, n_evicted, oldest = len(self.samples), 0, iter(self.samples)
        for i, place in enumerate(batch.rows.tolist()):
            key, row = _key(batch.kept[i][-1]), len(used)
            waits = key in added or (key in self.samples and key not in removed)
            why = _why_not(key, name, waits, lengths[i] > 0, labels[i] is not None)
            if why is not None:
                rejected[place] = why
                continue
            used.append(i)
            if labels[i] is None:
                added[key] = row
                n_waiting += 1
            elif key in added:
                within[row] = added.pop(key)
                n_waiting -= 1
            elif waits:
                old[row] = self.samples[key]
                removed.add(key)
                n_waiting -= 1
            if n_waiting > asked.max_pending:
                n_waiting, n_evicted = n_waiting - 1, n_evicted + 1
                first = next((each for each in oldest if each not in removed), None)
                if first is None:
                    del added[next(iter(added))]
                else:
                    removed.add(first)
        features = batch.features[np.array(used, np.intp)]
        # Beside texts, bytes become numbers unless all are null; a saved scale of 0 means numbers.
        if asked.encodings or not features.scale:
            features = replace(features, values=features.numbers, scale=1.0)
        held = {
            place: partial(_held, batch, i, name)
            for i, place in enumerate(batch.rows.tolist())
            if place in rejected
        }
        usable = replace(
            _join_features(batch, features, used, old, within),
            rejected=batch.rejected | rejected,
            held=batch.held | held,
            interpret_first=lambda n: self.join(batch.first(n), asked),
        )
        return JoinedBatch(
            **vars(usable),
            read_features=features,
            old=old,
            within=within,
            added=added,
            removed=removed,
            n_evicted=n_evicted,
        )

    def take(self, batch: JoinedBatch, predicted: NDArray[np.intp]) -> None:
        """Add and remove the samples of a batch, given the predictions of its usable rows."""
        for key in batch.removed:
            del self.samples[key]
        self.forgotten += batch.n_evicted
        features = batch.read_features
        starts, weights, numbers = (x.tolist() for x in (features.starts, batch.weights, predicted))
        ids = np.arange(len(features.names), dtype=np.int32)
        names: Names = ()
        order = np.empty(0, np.intp)
        last_ids: bytes | None = None
        for key, row in batch.added.items():
            if features.name_ids is not None:
                ids = features.name_ids[starts[row] : starts[row + 1]]
            # The order depends on which rows were read together, but has no meaning.
            if ids.tobytes() != last_ids:
                last_ids, names_of_row = ids.tobytes(), [features.names[i] for i in ids.tolist()]
                names = tuple(natural_order(names_of_row))
                places = {name: place for place, name in enumerate(names_of_row)}
                order = np.array([places[name] for name in names], np.intp)
            values = features.values[starts[row] : starts[row + 1]][order]
            one = batch.unscaled, weights[row], numbers[row]
            self._add(key, names, values, features.scale, *one)

    def feature_names(self) -> set[Any]:
        """Return the names of the features of all samples."""
        return set().union(*{id(s.names): s.names for s in self.samples.values()}.values())

    def arrays(self) -> Arrays:
        """Return the part that is saved as arrays, and set the fields with the rest."""
        samples = list(self.samples.values())
        rows = _rows_of(samples)
        self.ids, self.columns = list(self.samples), list(map(str, rows.names))
        self.indicators = sorted(frozenset().union(*(sample.indicators for sample in samples)))
        numbers = [np.empty(0), *(s.values for s in samples if s.values.dtype != np.uint8)]
        cells = [np.empty(0, np.uint8), *(s.values for s in samples if s.values.dtype == np.uint8)]
        # A scale of 0 stands for float64.
        scales = [(s.values.dtype == np.uint8) * s.scale for s in samples]
        arrays: Arrays = {
            "starts": rows.starts,
            "places": np.empty(0, np.int32) if rows.name_ids is None else rows.name_ids,
            "numbers": np.concatenate(numbers),
            "bytes": np.concatenate(cells),
            "scales": np.array(scales, np.float64),
            "weights": np.array([sample.weight for sample in samples], np.float64),
            "predicted": np.array([sample.predicted for sample in samples], np.intp),
        }
        return {f"{ARRAY_PREFIX}{name}": array for name, array in arrays.items()}

    def restore(self, arrays: Arrays, most: int, n_labels: int) -> None:
        """Restore the saved samples, of which there may be at most `most`."""
        try:
            starts, places = arrays["waiting_starts"], arrays["waiting_places"]
            numbers, cells = arrays["waiting_numbers"], arrays["waiting_bytes"]
            scales, weights = arrays["waiting_scales"], arrays["waiting_weights"]
            predicted = arrays["waiting_predicted"]
        except KeyError as error:
            raise CheckpointError(f"lacks the member {error.args[0]}.npy") from None
        n, d = len(self.ids), len(self.columns)
        if (
            not len(starts) - 1 == len(scales) == n <= most
            or doubled(self.ids)
            or doubled(self.columns)
            or not _are_in(lengths := np.diff(starts), 0 if len(places) else d, d)
            or starts[0] != 0
            or len(numbers) != lengths[scales == 0].sum()
            or len(cells) != lengths[scales != 0].sum()
            or len(places) not in (0, starts[-1])
            or not _are_in(places, 0, d - 1)
            or len(np.unique(np.repeat(np.arange(n), lengths)[: len(places)] * d + places))
            < len(places)
            or not _are_in(np.abs(scales), 0, _LARGEST / 255)
            or not _are_in(weights, 0, _LARGEST)
            or not _are_in(predicted, -1, n_labels - 1)
        ):
            raise CheckpointError("waiting samples are inconsistent")
        ones, columns = frozenset(self.indicators), tuple(self.columns)
        left = {False: numbers, True: cells}
        kept = zip(scales.tolist(), weights.tolist(), predicted.tolist(), strict=True)
        spans = zip(starts.tolist(), starts[1:].tolist(), strict=False)
        for key, (start, end), (scale, weight, number) in zip(self.ids, spans, kept, strict=True):
            names = columns
            if len(places):
                names = tuple(map(columns.__getitem__, places[start:end].tolist()))
            values, left[scale != 0] = np.split(left[scale != 0], [end - start])
            self._add(key, names, values, scale or 1.0, ones, weight, number)

    def _add(
        self, key: str, names: Names, values: NDArray[Any], scale: float, ones: frozenset[Any],
        weight: float, predicted: int,
    ) -> None:  # fmt: skip
        """Add a waiting sample with its own copy of the values."""
        if names is not self._last and names == self._last:
            names = self._last  # samples with equal names share one object
        self._last = names
        indicators = ones and ones.intersection(names)
        self.samples[key] = Sample(names, values.copy(), scale, indicators, weight, predicted)


def _key(value: Any) -> Any:
    """Return the ID of a sample as text; None if it is missing."""
    if value is None or value != value or isinstance(value, list | dict):
        return None
    return format_value(value, is_text=False) or None


def _why_not(key: Any, name: str, waits: bool, has_features: bool, has_label: bool) -> str | None:
    """Return why a row cannot be used, or None."""
    if key is None:
        return f"it has no {name!r} that identifies a sample"
    if not has_features and not has_label:
        return "it has neither features nor a label"
    if has_features and waits:
        return f"{name!r} is {key[:50]!r}, and a sample with it already waits for its label"
    if not has_features and not waits:
        return f"{name!r} is {key[:50]!r}, and no sample with it waits for a label"
    return None


def _join_features(
    batch: Batch, features: Rows, used: list[int], old: dict[int, Sample], within: dict[int, int]
) -> Batch:
    """Return the usable rows of a batch, labels with the features of their samples."""
    order, missing = np.arange(len(used)), batch.missing
    weights, unscaled = batch.weights[used], batch.unscaled
    missing = None if missing is None else missing[np.array(used, np.intp)]
    if old or within:
        samples = list(old.values())
        order[list(within)] = list(within.values())
        order[list(old)] = len(used) + np.arange(len(old))
        if samples:
            features = concatenate_rows([features, _rows_of(samples)])
            weights = np.concatenate([weights, [sample.weight for sample in samples]])
            unscaled = unscaled.union(*(sample.indicators for sample in samples))
        features, weights = features[order], weights[order]
        if missing is not None:
            missing = missing.clear([*old, *within])
    return replace(
        batch,
        rows=batch.rows[used],
        features=features,
        labels=[batch.labels[i] for i in used],
        weights=weights,
        missing=missing,
        unscaled=unscaled,
        kept=[batch.kept[i] for i in used],
    )


def _held(batch: Batch, i: int, name: str) -> list[dict[str, Any]]:
    """Return the values of a usable row by name."""
    (features,) = batch.features[i : i + 1].dicts()
    return [
        {
            name: batch.kept[i][-1],
            batch.inferred.schema.label or "label": batch.labels[i],
            **{str(n): v for n, v in features.items()},
        }
    ]


def _rows_of(samples: Sequence[Sample]) -> Rows:
    """Return the features of samples as rows."""
    names = [sample.names for sample in samples]
    kinds = {(sample.scale, sample.values.dtype) for sample in samples}
    if len(kinds) == 1 and all(each is names[0] or each == names[0] for each in names):
        cells = np.stack([sample.values for sample in samples])
        return Rows.of_table(names[0], cells, scale=samples[0].scale)
    one = np.array([0, 1])
    return Rows.from_rows(
        names, [Rows((), one, None, sample.values, sample.scale).numbers for sample in samples]
    )


def _are_in(values: NDArray[Any], least: float, most: float) -> bool:
    return bool(((values >= least) & (values <= most)).all())
