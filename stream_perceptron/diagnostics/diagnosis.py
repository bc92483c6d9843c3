"""Diagnosis: find out why a model does not learn, or does not learn as well as it could."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.naming import (
    format_names,
    format_option_value,
    join_first,
    looks_like_row_id,
    suggest_options,
)
from stream_perceptron.live.drift import (
    explain_drop,
    find_lasting_drops,
    name_class,
)
from stream_perceptron.live.findings import Finding, FindingCode
from stream_perceptron.live.metrics import format_percent
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.step_result import find_scaling_problem
from stream_perceptron.model import defaults
from stream_perceptron.model.arrays import Array

_LOW_ACCURACY = 0.85
_MIN_SAMPLES = 300  # for most findings
_MIN_LABELS = 20  # to detect that all labels are the same, or that some have decimals
_MIN_CLASS_SAMPLES = 200  # to judge the recall of a class
_THRESHOLD_ADVICE = (
    "with a threshold (evaluate shows the best thresholds; to set one: predict --threshold)"
)
_LOW_RECALL = 0.05
_MAX_DROPS = 3  # classes whose drop in recall is described
_LOW_SHARE = 0.05  # of samples that changed the weights
_LOW_KAPPA = 0.2
_MAX_MEAN_WEIGHT = 10  # of sample weights
_MIN_UNIQUE_LABELS, _MIN_UNIQUE_SHARE = 50, 0.98  # samples, and labels per sample, of an ID column
_MIN_DISTINCT_NUMBERS = 20  # distinct labels that suggest a quantity
_MIN_GAP = 10  # the mean gap between numbers that are hardly numbers of classes
_MAX_COMPARED_FEATURES = 1000  # features whose weights are compared with the order of the labels
_MIN_CORRELATION = 6.0  # rank correlation, in standard errors


def collect_findings(live: LiveModel, diverged: bool = False) -> list[Finding]:
    """Return the findings of a run, most serious first.

    `diverged` states whether the run rejected its last sample to prevent divergence.
    """
    findings = [_describe_divergence(live)] if diverged else []
    for check in _CHECKS:
        findings += check(live)
    # Some findings explain why accuracy is low; further checks would only report symptoms.
    for check in _ACCURACY_CHECKS:
        if not _EXPLANATIONS.intersection(finding.code for finding in findings):
            findings += check(live)
    return findings


def _describe_divergence(live: LiveModel) -> Finding:
    """Return the finding for a run that ended because its model would have diverged."""
    model, progress = live.model, live.progress
    return Finding(
        FindingCode.DIVERGING,
        f"after {progress.samples:,} samples the mean error was {progress.mean_error:.3g} with "
        f"activation {model.activation}, lr {model.lr} and features up to {progress.largest:g}",
        "lower --lr, or scale the features",
    )


def _compute_quarter_means(live: LiveModel, column: str) -> list[float]:
    """Return a curve column's mean per sample in each quarter of the run; [] for a short run."""
    curve = live.progress.curve
    samples = curve.column("samples")
    if len(samples) < 4 or samples.sum() < _MIN_SAMPLES:
        return []
    sums = np.array_split(curve.column(column), 4)
    counts = np.array_split(samples, 4)
    return [float(part.sum() / n.sum()) for part, n in zip(sums, counts, strict=True)]


def _average_last_probes(live: LiveModel) -> tuple[float, float]:
    """Return the probes' mean slope and spread in the last quarter, or NaNs if there are none."""
    curve = live.progress.curve
    last = slice(3 * len(curve.sums) // 4, None)
    probes = float(curve.column("probes")[last].sum())
    if live.progress.samples < _MIN_SAMPLES or not probes:
        return float("nan"), float("nan")
    return (
        float(curve.column("slope")[last].sum() / probes),
        float(curve.column("spread")[last].sum() / probes),
    )


def _check_early_stop(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if --stop ended a run while accuracy was low or still rising."""
    progress, accuracy = live.progress, _compute_quarter_means(live, "right")
    if not live.stopped:
        return
    is_rising = bool(accuracy) and accuracy[3] - accuracy[2] > max(
        0.02, 4 * _compute_standard_error(accuracy[2], progress.samples // 4)
    )
    if progress.window_accuracy < _LOW_ACCURACY or is_rising:
        rising = f", up from {accuracy[2]:.1%} in the third quarter" if is_rising else ""
        yield Finding(
            FindingCode.STOPPED_TOO_EARLY,
            f"one sample's error fell below epsilon {live.model.epsilon:g} after "
            f"{progress.samples:,} samples, when {_describe_accuracy(live, 'was')}"
            f"{rising}, and {progress.updated_share:.1%} of the samples still changed the weights",
            "lower epsilon, or leave --stop out",
        )


def _check_rising_error(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if the mean error is far higher in the last quarter than before."""
    # A drop in accuracy is reported by a separate check.
    has_dropped = any(event.is_drop and event.is_overall for event in live.progress.events)
    errors = (
        [] if has_dropped or any(_check_labels(live)) else _compute_quarter_means(live, "errors")
    )
    if errors and errors[3] > 1.5 * min(errors[:3]) and errors[3] - min(errors[:3]) > 0.1:
        yield Finding(
            FindingCode.ERROR_RISING,
            f"the mean error rose from {min(errors[:3]):.3g} in an earlier quarter of the run to "
            f"{errors[3]:.3g} in the last",
            "if the stream has not changed, lower --lr",
        )


def _check_unscaled_features(live: LiveModel) -> Iterator[Finding]:
    if advice := find_scaling_problem(live):
        yield Finding(FindingCode.UNSCALED_FEATURES, *advice)


def _check_constant_features(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if features other than indicators had a single value in all samples."""
    scaler, names = live.model.network.scaler, live.model.features_
    if scaler is None or live.progress.samples < _MIN_SAMPLES:
        return
    counts, _, variances, is_indicator = scaler.get_statistics(slice(len(names)))
    is_constant = (counts > 1) & (variances == 0) & (is_indicator == 0)
    constant = [str(names[i]) for i in np.flatnonzero(is_constant).tolist()]
    if constant:
        shown = format_names(live.schema.sort_by_column(constant))
        yield Finding(
            FindingCode.FEATURES_THAT_NEVER_VARIED,
            f"{shown} had a single value in all samples, so standardizing turns it into 0",
            "check whether they should vary; constant features have no effect",
        )


def _check_saturation(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if f' is close to 0 in the last quarter while the error is high."""
    slope, _ = _average_last_probes(live)
    max_slope = 0.25 if live.model.activation == "sigmoid" else 1.0
    errors = _compute_quarter_means(live, "errors")
    if slope < 0.02 * max_slope and errors and errors[3] > 0.1:
        yield Finding(
            FindingCode.OUTPUTS_SATURATED,
            f"f' is {slope:.2g} on average (maximum {max_slope:g}), while the mean error is "
            f"{errors[3]:.3g}: the updates are too small to recover from saturation",
            "scale the features (--scale) or lower --lr, and start over",
        )


def _check_similar_outputs(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if the outputs of a sample hardly differ and accuracy is low."""
    _, spread = _average_last_probes(live)
    activation = live.model.network.activation
    output_range = activation.high - activation.low
    k = len(live.model.classes_)
    # Saturated outputs are also alike, but there is a separate finding for them.
    if any(_check_saturation(live)):
        return
    if k > 1 and spread < 0.3 * output_range and live.progress.window_accuracy < max(0.5, 1.5 / k):
        yield Finding(
            FindingCode.OUTPUTS_ALIKE,
            f"the largest and the smallest of {k} outputs differ by {spread:.2g} on average "
            f"(maximum {output_range:.3g}), and {_describe_accuracy(live)}",
            "raise --lr"
            if live.progress.updated_share > _LOW_SHARE
            else f"lower --epsilon: {live.progress.updated_share:.1%} of the samples were learned",
        )


def _check_single_label(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if all samples have the same label."""
    progress, names = live.progress, live.model.classes_
    metrics = progress.compute_metrics(len(names))
    if progress.samples >= _MIN_LABELS and metrics.baseline == 1.0:
        yield Finding(
            FindingCode.ONLY_ONE_LABEL,
            f"all {progress.samples:,} samples are labeled {names[metrics.largest]!r}",
            "there are no classes to distinguish: check --label, or learn more rows",
        )


def _check_baseline(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if accuracy is no better than that of always predicting the largest class."""
    progress, accuracy = live.progress, live.progress.accuracy
    if accuracy is None:
        return
    metrics = progress.compute_metrics(len(live.model.classes_))
    best = max(accuracy, progress.window_accuracy)
    noise = _compute_standard_error(metrics.baseline, len(progress.window))
    is_no_better = best <= metrics.baseline + 2 * noise and metrics.cohen_kappa < _LOW_KAPPA
    if progress.confusion.tested + 1 >= _MIN_SAMPLES and is_no_better:
        answer = repr(live.model.classes_[metrics.largest])
        yield Finding(
            FindingCode.NO_BETTER_THAN_LARGEST_CLASS,
            f"accuracy is {accuracy:.1%}, {metrics.baseline:.1%} of the samples are "
            f"{answer}, and kappa is {format_percent(metrics.cohen_kappa, 1)}",
            f"predict the other classes {_THRESHOLD_ADVICE}, learn more rows, or find better "
            "features",
        )


def _check_labels(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if labels are IDs or a quantity."""
    finding = find_label_problem(live) or _find_label_order(live)
    if finding is not None:
        yield finding


def find_label_problem(live: LiveModel) -> Finding | None:
    """Return a finding if labels are IDs, decimal numbers, or numbers far from one another."""
    names, n = live.model.classes_, live.progress.samples
    k = len(names)
    if n >= _MIN_UNIQUE_LABELS and k >= _MIN_UNIQUE_SHARE * n:
        return Finding(
            FindingCode.LABELS_ARE_IDS,
            f"{k:,} different labels in {n:,} samples",
            "a perceptron predicts classes: choose another column with --label",
        )
    values = _parse_label_numbers(live)
    if values is None or n < _MIN_LABELS:
        return None
    if (values % 1 != 0).any():
        return _describe_quantity(k, ", some with decimals")
    if n >= _MIN_SAMPLES and 2 * k > n and np.ptp(values) > _MIN_GAP * k:
        return _describe_quantity(k, f" from {values.min():g} to {values.max():g} in {n:,} samples")
    return None


def _find_label_order(live: LiveModel) -> Finding | None:
    """Return a finding if labels are numbers whose order the weights follow."""
    values, weights = _parse_label_numbers(live), live.model.weights[:, :_MAX_COMPARED_FEATURES]
    if values is None or live.progress.samples < _MIN_SAMPLES:
        return None
    seen = live.progress.confusion.count_labels(len(values)).seen
    is_frequent = seen > 1
    if _compute_rank_correlation(values[is_frequent], weights[is_frequent]) <= _MIN_CORRELATION:
        return None
    return _describe_quantity(len(values), ", whose order the features follow")


def _parse_label_numbers(live: LiveModel) -> NDArray[np.float64] | None:
    """Return the labels as numbers; None if one is not a number, or there are fewer than 20."""
    names = live.model.classes_
    if len(names) < _MIN_DISTINCT_NUMBERS:
        return None
    try:
        values = np.array([float(str(name)) for name in names])
    except ValueError:
        return None
    # Labels such as "inf" and "1e400" are names.
    return values if np.isfinite(values).all() else None


def _describe_quantity(k: int, reason: str) -> Finding:
    """Return the finding for k labels that are a quantity."""
    return Finding(
        FindingCode.LABELS_ARE_A_QUANTITY,
        f"{k:,} different numbers{reason}",
        "a perceptron predicts classes: choose another column with --label, sort the numbers "
        "into a few bins, or use a regression model",
    )


def _compute_rank_correlation(values: NDArray[np.float64], weights: Array) -> float:
    """Return the largest rank correlation of any feature's weights with `values`.

    The result is in standard errors: Spearman's rank correlation of n values has a standard error
    of 1 / sqrt(n - 1).
    """
    n = len(values)
    if n < _MIN_DISTINCT_NUMBERS:
        return 0.0
    # Equal weights, such as those of a feature that is always 0, have no order.
    varied = [column for column in weights.T if len(np.unique(column)) == n]
    columns = np.column_stack([values, *varied])
    ranks = columns.argsort(axis=0).argsort(axis=0) - (n - 1) / 2
    correlations = ranks[:, 1:].T @ ranks[:, 0] / (ranks[:, 0] ** 2).sum()
    return float(np.abs(correlations).max(initial=0.0)) * sqrt(n - 1)


def _check_sample_weights(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if the first sample weights are large."""
    progress, lr = live.progress, live.model.lr
    mean = progress.weight_sum / max(progress.n_weights, 1)
    if mean <= _MAX_MEAN_WEIGHT:
        return
    suggestion = "lower lr by the same factor"
    if isinstance(lr, int | float):
        suggestion = suggest_options({"to compensate for them": f"--lr {lr / mean:.2g}"})
    yield Finding(
        FindingCode.LARGE_SAMPLE_WEIGHTS,
        f"weights multiply the step, and the mean weight of the first {progress.n_weights:,} "
        f"samples is {mean:,.4g}",
        suggestion,
    )


def _check_unseen_classes(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if a known class never occurs as a label."""
    names, progress = live.model.classes_, live.progress
    seen = progress.confusion.count_labels(len(names)).seen
    n_untested = progress.n_untested
    if n_untested > 1 and live.read_options.has_join:
        return  # the labels of untested samples are unknown
    if n_untested:
        seen[:1] += 1  # count the untested first sample, which introduced the first label
    unseen = [str(name) for name, n in zip(names, seen, strict=True) if not n]
    if unseen and progress.samples >= _MIN_SAMPLES and np.count_nonzero(seen) > 1:
        yield Finding(
            FindingCode.CLASS_NEVER_SEEN,
            f"none of the {progress.samples:,} samples was labeled {join_first(unseen)}",
            "check the labels, or --classes",
        )


def _check_missed_classes(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if a class with many samples is hardly ever predicted correctly."""
    names = live.model.classes_
    metrics = live.progress.compute_metrics(len(names))
    is_missed = (metrics.seen >= _MIN_CLASS_SAMPLES) & (metrics.recall < _LOW_RECALL)
    numbers = np.flatnonzero(is_missed).tolist()
    missed = [
        f"{names[i]} (recall {metrics.recall[i]:.1%} of {metrics.seen[i]:,} samples)"
        for i in numbers
    ]
    them = "it" if len(numbers) == 1 else "them"
    if missed and live.progress.samples >= _MIN_SAMPLES and not any(_check_baseline(live)):
        yield Finding(
            FindingCode.CLASS_HARDLY_EVER_FOUND,
            join_first(missed),
            f"predict {them} {_THRESHOLD_ADVICE}, or learn more rows",
        )


def _check_sorted_labels(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if the samples of each label follow one another, as in a sorted file."""
    progress = live.progress
    counts = progress.confusion.count_labels(len(live.model.classes_)).seen
    n_labels, n_runs = np.count_nonzero(counts), progress.samples - progress.repeats
    # The first sample is not counted as tested, and may be the only one with its label.
    if progress.samples >= 100 and 1 < n_runs <= n_labels + 1 and n_runs < progress.samples / 2:
        yield Finding(
            FindingCode.SORTED_LABELS,
            f"the samples of each of {n_runs:,} labels follow one another: repeating the last "
            f"label scores well, so progressive accuracy ({progress.accuracy:.1%}) is misleading",
            "shuffle the samples, or draw them with --random",
        )


def _check_drops(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding for lasting drops in accuracy, and one for lasting drops in recall."""
    drops = find_lasting_drops(live.progress.events)
    if not drops or any(_check_labels(live)):
        return
    has_weights, classes = live.model.class_weight is not None, live.model.classes_
    drops_by_code = (FindingCode.ACCURACY_DROPPED, True), (FindingCode.RECALL_DROPPED, False)
    for code, is_overall in drops_by_code:
        texts = [
            event.figures if event.label is None
            else f"{name_class(event.label, classes)} {event.figures}"
            for event in drops if event.is_overall == is_overall
        ]  # fmt: skip
        if texts:
            n_more = len(texts) - _MAX_DROPS
            more = [f"{n_more:,} more classes"] if n_more > 0 else []
            evidence = "; ".join([*texts[:_MAX_DROPS], *more])
            yield Finding(code, evidence, explain_drop(is_overall, has_weights))


def _check_row_numbers(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding for each feature that is named like a row ID and has a large weight."""
    names, weights = live.model.features_, live.model.weights
    if not any(looks_like_row_id(str(name)) for name in names):
        return
    # Do not copy all weights: the model may be large and still learning.
    sizes = np.maximum(weights.max(axis=0, initial=0.0), -weights.min(axis=0, initial=0.0))
    typical = float(np.sort(sizes)[len(sizes) // 2]) if len(sizes) else 0.0
    for name, size in zip(names, sizes.tolist(), strict=True):
        if looks_like_row_id(str(name)) and live.model.n_updates and size > 2 * typical:
            yield Finding(
                FindingCode.ROW_NUMBER_LEARNED,
                f"a weight of feature {str(name)!r} is {size:.3g}, but {typical:.3g} is typical",
                suggest_options({"to drop it": f"--ignore {format_option_value([str(name)])}"}),
            )


def _check_rising_columns(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if columns other than row IDs and dates rise from sample to sample."""
    date_features = {f"{column}_days" for column in live.read_options.dates}  # expected to rise
    rising = [name for name in live.progress.rising or () if name not in date_features]
    names = [name for name in rising if not looks_like_row_id(name)]
    if live.progress.samples >= _MIN_SAMPLES and names:
        yield Finding(
            FindingCode.COLUMNS_THAT_ONLY_RISE,
            f"the values of {format_names(names)} rise from sample to sample, like a row number or "
            "a clock",
            "draw rows with --random, or "
            + suggest_options({"to drop such columns": f"--ignore {format_option_value(names)}"}),
        )


def _check_epsilon(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if accuracy is high but no error fell below the chosen epsilon."""
    progress, epsilon = live.progress, live.model.epsilon
    if (
        epsilon > 0
        and epsilon != defaults.EPSILON  # hardly any errors fall below the default
        and progress.samples >= 1000
        and progress.updates == progress.samples
        and progress.window_accuracy >= 0.98
    ):
        yield Finding(
            FindingCode.EPSILON_NEVER_SKIPS,
            f"{_describe_accuracy(live)}, yet every sample changed the weights, as no error fell "
            f"below epsilon {epsilon:g}",
            f"raise epsilon toward the mean error, {progress.mean_error:.2g}, to save updates",
        )


def _describe_accuracy(live: LiveModel, verb: str = "is") -> str:
    """Describe the accuracy over the most recent samples; state how many if more were tested."""
    progress, n = live.progress, len(live.progress.window)
    over = f" over the last {n:,}" if n < progress.samples - progress.n_untested else ""
    return f"accuracy{over} {verb} {progress.window_accuracy:.1%}"


def _compute_standard_error(accuracy: float, n: int) -> float:
    """Return the standard error of an accuracy over n samples."""
    return sqrt(max(accuracy * (1 - accuracy), 1e-4) / max(n, 1))


_Check = Callable[[LiveModel], Iterator[Finding]]
_CHECKS: tuple[_Check, ...] = (
    _check_early_stop,
    _check_rising_error,
    _check_unscaled_features,
    _check_constant_features,
    _check_single_label,
    _check_labels,
    _check_sample_weights,
    _check_sorted_labels,
    _check_unseen_classes,
    _check_row_numbers,
    _check_rising_columns,
    _check_drops,
    _check_epsilon,
)
_ACCURACY_CHECKS: tuple[_Check, ...] = (
    _check_saturation,
    _check_similar_outputs,
    _check_baseline,
    _check_missed_classes,
)
_EXPLANATIONS = {
    FindingCode.ACCURACY_DROPPED,
    FindingCode.LABELS_ARE_A_QUANTITY,
    FindingCode.LABELS_ARE_IDS,
    FindingCode.LARGE_SAMPLE_WEIGHTS,
    FindingCode.ONLY_ONE_LABEL,
    FindingCode.OUTPUTS_ALIKE,
    FindingCode.OUTPUTS_SATURATED,
    FindingCode.STOPPED_TOO_EARLY,
    FindingCode.UNSCALED_FEATURES,
}
