"""Figures of a run from which findings are derived."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from math import nan, sqrt

import numpy as np

from stream_perceptron.data.naming import looks_like_row_id
from stream_perceptron.diagnostics.scaling import find_scaling_problem
from stream_perceptron.live.model import LiveModel
from stream_perceptron.model.arrays import Array

_MIN_SAMPLES = 300  # for most findings
_MIN_LR_SAMPLES = 1000  # to judge the learning rate
_MAX_LOW_LR = 0.1
_LOW_UPDATED_SHARE = 0.05  # of samples that changed the weights
_MIN_LABEL_SAMPLES = 20  # to detect that all labels are the same, or that some have decimals
_MIN_CLASS_SAMPLES = 200  # to judge the recall of a class
_LOW_RECALL = 0.05
_LOW_KAPPA, _HIGH_KAPPA = 0.2, 0.9
_MIN_UNIQUE_LABELS, _MIN_UNIQUE_SHARE = 50, 0.98  # samples, and labels per sample, of an ID column
_MIN_DISTINCT_NUMBERS = 20  # distinct labels that suggest a quantity
_MIN_LABEL_GAP = 10  # the mean gap between numbers that are unlikely to be class numbers
_MAX_COMPARED_FEATURES = 1000  # features whose weights are compared with the order of the labels
_MIN_CORRELATION = 6.0  # rank correlation, in standard errors


class RunStatistics:
    """The figures of a run, most of them computed when a finding needs them."""

    def __init__(self, live: LiveModel) -> None:
        self.live = live
        self.model, self.progress, self.classes = live.model, live.progress, live.model.classes_
        self.n, self.k = live.progress.samples, len(live.model.classes_)
        self.is_long = self.n >= _MIN_SAMPLES
        self.metrics = live.progress.compute_metrics(self.k)
        self.scaling_problem = find_scaling_problem(live)
        last = live.progress.events[-1:]
        self.drop = last[0] if last and last[0].is_drop else None

    def average_by_quarter(self, column: str) -> list[float]:
        """Return a curve column's mean per sample in each quarter of a run; 0s for a short run."""
        samples = self.progress.curve.column("samples")
        if len(samples) < 4 or not self.is_long:
            return [0.0] * 4
        sums = np.array_split(self.progress.curve.column(column), 4)
        counts = np.array_split(samples, 4)
        return [float(part.sum() / n.sum()) for part, n in zip(sums, counts, strict=True)]

    @cached_property
    def accuracies_by_quarter(self) -> list[float]:
        return self.average_by_quarter("right")

    @cached_property
    def mean_errors_by_quarter(self) -> list[float]:
        return self.average_by_quarter("errors")

    @property
    def mean_activation_slope(self) -> float:
        """The mean of f' in the probed samples of the last quarter; NaN if there are none."""
        return self._average_over_probed_samples("slope")

    @property
    def mean_output_spread(self) -> float:
        """The mean of the largest output minus the smallest; NaN if there are no probes."""
        return self._average_over_probed_samples("spread")

    def _average_over_probed_samples(self, name: str) -> float:
        n_probes = self.average_by_quarter("probes")[3]
        return self.average_by_quarter(name)[3] / n_probes if n_probes else nan

    @property
    def recent_accuracy_text(self) -> str:
        """The accuracy over the most recent samples, with their number if more were tested."""
        n_recent = len(self.progress.recent_outcomes)
        over = (
            f" over the last {n_recent:,}" if n_recent < self.n - self.progress.n_untested else ""
        )
        return f"accuracy of {self.progress.window_accuracy:.1%}{over}"

    @cached_property
    def is_accuracy_rising(self) -> bool:
        third, last = self.accuracies_by_quarter[2:]
        return last - third > max(0.02, 4 * _compute_standard_error(third, self.n // 4))

    @property
    def is_error_falling(self) -> bool:
        """Whether the mean error falls to the end as it does if higher learning rates learn better.

        On the tables of `scripts/bench tables`, at learning rates from 0.001 to 0.1, this is so if
        the error falls by a quarter from the second quarter of a run to the last, and by a tenth
        from the third. Where kappa is high, little is left to gain, and after a drop, an error
        falls at any rate.
        """
        _, second, third, last = self.mean_errors_by_quarter
        return (
            self.n >= _MIN_LR_SAMPLES
            and self.progress.confusion.tested + self.progress.n_untested == self.n  # in one pass
            and isinstance(self.model.lr, float | int)  # set by hand
            and self.model.lr <= _MAX_LOW_LR
            and self.metrics.cohen_kappa < _HIGH_KAPPA
            and not self.progress.events
            and last < 0.75 * second
            and last < 0.9 * third
        )

    @property
    def max_activation_slope(self) -> float:
        return 0.25 if self.model.activation == "sigmoid" else 1.0

    @cached_property
    def is_saturated(self) -> bool:
        """Whether f' is close to 0 while the error is high."""
        return (
            self.mean_activation_slope < 0.02 * self.max_activation_slope
            and self.mean_errors_by_quarter[3] > 0.1
        )

    @property
    def activation_range(self) -> float:
        activation = self.model.network.activation
        return activation.high - activation.low

    @cached_property
    def are_outputs_alike(self) -> bool:
        """Whether the outputs of a sample differ less than they would if the model had learned.

        If they were probabilities, the accuracy would be that of the largest one. Outputs that
        have never moved have a larger error than the best constant ones, the frequencies.
        """
        spread, frequencies = (
            self.mean_output_spread / self.activation_range,
            self.metrics.label_counts / max(self.n, 1),
        )
        implied_accuracy = spread + (1 - spread) / max(self.k, 1)
        constant_error = 0.5 * self.activation_range**2 * (frequencies * (1 - frequencies)).sum()
        return bool(
            self.k > 1
            and spread < 0.3
            and (
                spread < 0.02
                or self.progress.window_accuracy > implied_accuracy + 0.1
                or self.mean_errors_by_quarter[3] > 1.1 * constant_error
            )
        )

    @property
    def hardly_updates(self) -> bool:
        """Whether few of the samples changed the weights."""
        return self.progress.updated_share < _LOW_UPDATED_SHARE

    @cached_property
    def is_no_better_than_majority(self) -> bool:
        progress, baseline = self.progress, self.metrics.baseline
        if progress.accuracy is None or progress.confusion.tested + 1 < _MIN_SAMPLES:
            return False
        best = max(progress.accuracy, progress.window_accuracy)
        noise = _compute_standard_error(baseline, len(progress.recent_outcomes))
        return best <= baseline + 2 * noise and self.metrics.cohen_kappa < _LOW_KAPPA

    @cached_property
    def row_number_columns(self) -> list[str]:
        """Columns that count rows, and heavily weighted ones named like row IDs."""
        counters = list(self.progress.row_counters or ()) if self.is_long else []
        names, weights = list(map(str, self.model.features_)), self.model.weights
        if any(map(looks_like_row_id, names)) and self.model.n_updates:
            # Do not copy all weights: the model may be large and still learning.
            sizes = np.maximum(weights.max(axis=0, initial=0.0), -weights.min(axis=0, initial=0.0))
            typical = np.sort(sizes)[len(sizes) // 2]
            large = [names[i] for i in np.flatnonzero(sizes > 2 * typical)]
            counters += filter(looks_like_row_id, large)
        columns = dict.fromkeys(counters)
        return [name for name in columns if not name.endswith(".days") and "=" not in name]

    @cached_property
    def numeric_labels(self) -> Array | None:
        """The labels as numbers, NaN for others; None if more than a tenth are no numbers."""
        values = np.full(self.k, np.nan)
        for i, name in enumerate(self.classes):
            with suppress(ValueError):
                values[i] = float(str(name))
        values[~np.isfinite(values)] = np.nan  # labels such as "inf" and "1e400" are names
        n_numbers = np.count_nonzero(~np.isnan(values))
        return values if n_numbers >= max(_MIN_DISTINCT_NUMBERS, 0.9 * self.k) else None

    @property
    def has_one_label(self) -> bool:
        return self.n >= _MIN_LABEL_SAMPLES and self.metrics.baseline == 1.0

    @cached_property
    def are_labels_ids(self) -> bool:
        return self.n >= _MIN_UNIQUE_LABELS and self.k >= _MIN_UNIQUE_SHARE * self.n

    @cached_property
    def why_labels_are_no_classes(self) -> str:
        """Why the labels cannot be class numbers; "" if they can."""
        values = self.numeric_labels
        if values is None or self.n < _MIN_LABEL_SAMPLES or self.are_labels_ids:
            return ""
        values = values[~np.isnan(values)]
        if (values % 1 != 0).any():
            return ", some with decimals"
        if self.is_long and 2 * self.k > self.n and np.ptp(values) > _MIN_LABEL_GAP * self.k:
            return f" from {values.min():g} to {values.max():g} in {self.n:,} samples"
        return ""

    @cached_property
    def why_labels_are_quantities(self) -> str:
        """Why the labels are a quantity; "" if they may be classes."""
        values, is_frequent = self.numeric_labels, self.metrics.support > 1
        if (
            self.why_labels_are_no_classes
            or values is None
            or not self.is_long
            or self.are_labels_ids
        ):
            return self.why_labels_are_no_classes
        is_frequent &= ~np.isnan(values)
        if np.count_nonzero(is_frequent) < _MIN_DISTINCT_NUMBERS:
            return ""
        weights = self.model.weights[:, :_MAX_COMPARED_FEATURES]
        correlation = _compute_rank_correlation(values[is_frequent], weights[is_frequent])
        return ", whose order the features follow" if correlation > _MIN_CORRELATION else ""

    @property
    def are_labels_classes(self) -> bool:
        return not (self.are_labels_ids or self.why_labels_are_quantities)

    @cached_property
    def low_recall_classes(self) -> list[str]:
        """Classes with many samples that are hardly ever predicted correctly."""
        seen, recall = self.metrics.support, self.metrics.recall
        is_missed = (seen >= _MIN_CLASS_SAMPLES) & (recall < _LOW_RECALL) & self.is_long
        return [
            f"{self.classes[i]} (recall {recall[i]:.1%} of {seen[i]:,} samples)"
            for i in np.flatnonzero(is_missed).tolist()
        ]

    @cached_property
    def are_labels_sorted(self) -> bool:
        """Whether the samples of each label follow one another, as in a sorted file."""
        n_labels, n_runs = (
            np.count_nonzero(self.metrics.support),
            self.n - self.progress.n_repeated_labels,
        )
        # The first sample is not counted as tested, and may be the only one with its label.
        return bool(self.n >= 100 and 1 < n_runs <= n_labels + 1 and n_runs < self.n / 2)


def _compute_rank_correlation(values: Array, weights: Array) -> float:
    """Return the largest rank correlation of any feature's weights with `values`.

    The result is in standard errors: Spearman's rank correlation of n values has a standard error
    of 1 / sqrt(n - 1).
    """
    n = len(values)
    # Equal weights, such as those of a feature that is always 0, have no order.
    varied = [column for column in weights.T if len(np.unique(column)) == n]
    columns = np.column_stack([values, *varied])
    ranks = columns.argsort(axis=0).argsort(axis=0) - (n - 1) / 2
    correlations = ranks[:, 1:].T @ ranks[:, 0] / (ranks[:, 0] ** 2).sum()
    return float(np.abs(correlations).max(initial=0.0)) * sqrt(n - 1)


def _compute_standard_error(accuracy: float, n: int) -> float:
    """Return the standard error of an accuracy over n samples."""
    return sqrt(max(accuracy * (1 - accuracy), 1e-4) / max(n, 1))
