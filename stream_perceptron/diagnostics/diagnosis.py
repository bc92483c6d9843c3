"""Diagnosis: find out why a model does not learn, or does not learn as well as it could."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stream_perceptron.data.naming import (
    format_names,
    format_option_value,
    join_first,
)
from stream_perceptron.diagnostics.run_figures import RunFigures
from stream_perceptron.live.drift import explain_drop
from stream_perceptron.live.findings import Finding, FindingCode
from stream_perceptron.live.metrics import format_kappa
from stream_perceptron.live.model import LiveModel
from stream_perceptron.model import defaults

_LOW_ACCURACY = 0.85
_MAX_DROPS = 4  # drops that are described
_LOW_SHARE = 0.05  # of samples that changed the weights
_MAX_MEAN_WEIGHT = 10  # of sample weights
_THRESHOLD_ADVICE = (
    "with a decision threshold (evaluate shows the best ones; to set one: predict --threshold)"
)
_LABEL_ADVICE = "a perceptron predicts classes: choose another column with --label"


class _Check(NamedTuple):
    """A finding, with its condition."""

    code: FindingCode
    is_present: Callable[[RunFigures], object]
    evidence: Callable[[RunFigures], str]
    suggestion: str | Callable[[RunFigures], str]
    remedy: Callable[[RunFigures], str | None] = lambda run: None  # an option that follows it
    explains: bool = False  # whether it explains a low accuracy
    is_symptom: bool = False  # whether it is left out if another finding explains the low accuracy


_CHECKS = (
    _Check(
        FindingCode.DIVERGING,
        lambda run: run.diverged,
        lambda run: (
            f"after {run.n:,} samples the mean error was {run.progress.mean_error:.3g} with "
            f"activation {run.model.activation}, lr {run.model.lr} and features up to "
            f"{run.progress.largest:g}"
        ),
        "lower --lr, or scale the features",
    ),
    _Check(
        FindingCode.STOPPED_TOO_EARLY,
        lambda run: (
            run.live.stopped
            and (run.progress.window_accuracy < _LOW_ACCURACY or run.is_accuracy_rising)
        ),
        lambda run: (
            f"one sample's error fell below epsilon {run.model.epsilon:g} after "
            f"{run.n:,} sample{'s' * (run.n != 1)}, at an {run.recent_accuracy}"
            + f", up from {run.accuracies[2]:.1%} in the third quarter" * run.is_accuracy_rising
            + f", and {run.progress.updated_share:.1%} of the samples still changed the weights"
            * (run.progress.updated_share >= 0.001)
        ),
        "lower epsilon, or leave --stop out",
        explains=True,
    ),
    _Check(
        FindingCode.UNSCALED_FEATURES,
        lambda run: run.scaling_problem,
        lambda run: run.scaling_problem[0] if run.scaling_problem else "",
        lambda run: run.scaling_problem[1] if run.scaling_problem else "",
        lambda run: run.scaling_problem and run.scaling_problem[2],
        explains=True,
    ),
    _Check(
        FindingCode.FEATURES_THAT_NEVER_VARIED,
        lambda run: run.constant_features,
        lambda run: (
            f"{format_names(run.constant_features)} had a single value in all samples, so "
            "standardizing turns it into 0"
        ),
        "check whether they should vary; constant features have no effect",
    ),
    _Check(
        FindingCode.ONLY_ONE_LABEL,
        lambda run: run.has_one_label,
        lambda run: f"all {run.n:,} samples are labeled {run.classes[run.metrics.largest]!r}",
        "there are no classes to distinguish: check --label, or learn from more rows",
        explains=True,
    ),
    _Check(
        FindingCode.LABELS_ARE_IDS,
        lambda run: run.are_labels_ids,
        lambda run: f"{run.k:,} different labels in {run.n:,} samples",
        _LABEL_ADVICE,
        explains=True,
    ),
    _Check(
        FindingCode.LABELS_ARE_A_QUANTITY,
        lambda run: run.quantity,
        lambda run: f"{run.k:,} different numbers{run.quantity}",
        f"{_LABEL_ADVICE}, sort the numbers into a few bins, or use a regression model",
        explains=True,
    ),
    _Check(
        FindingCode.LARGE_SAMPLE_WEIGHTS,
        lambda run: run.progress.mean_weight > _MAX_MEAN_WEIGHT,
        lambda run: f"weights multiply the step, and their mean is {run.progress.mean_weight:,.4g}",
        "lower lr by the same factor",
        lambda run: (
            f"--lr {run.model.lr / run.progress.mean_weight:.2g}"
            if isinstance(run.model.lr, int | float)
            else None
        ),
        explains=True,
    ),
    _Check(
        FindingCode.SORTED_LABELS,
        lambda run: run.are_labels_sorted,
        lambda run: (
            f"the samples of each of {run.n - run.progress.repeats:,} labels follow one "
            "another: repeating the last label scores well, so progressive accuracy "
            f"({run.progress.accuracy:.1%}) is misleading"
        ),
        "shuffle the samples, for text with shuf",
    ),
    _Check(
        FindingCode.CLASS_NEVER_SEEN,
        lambda run: run.unseen_classes,
        lambda run: f"none of the {run.n:,} samples was labeled {join_first(run.unseen_classes)}",
        "check the labels, or --classes",
    ),
    _Check(
        FindingCode.ROW_NUMBERS,
        lambda run: run.row_numbers,
        lambda run: (
            "columns that rise from sample to sample, or are named like row numbers and "
            f"have large weights: {format_names(run.row_numbers)}"
        ),
        "to drop them",
        lambda run: f"--ignore {format_option_value(run.row_numbers)}",
    ),
    _Check(
        FindingCode.PERFORMANCE_DROPPED,
        lambda run: run.drops and run.are_classes,
        lambda run: join_first(
            [f"{drop.name_metric(run.classes)} {drop.figures}" for drop in run.drops], _MAX_DROPS
        ),
        lambda run: explain_drop(
            any(drop.is_overall for drop in run.drops), run.model.class_weight is not None
        ),
        explains=True,
    ),
    _Check(
        FindingCode.PERFORMANCE_DROPPED,
        lambda run: run.is_error_rising and not run.drops and run.are_classes,
        lambda run: (
            f"the mean error rose from {min(run.errors[:3]):.3g} in an earlier quarter of "
            f"the run to {run.errors[3]:.3g} in the last"
        ),
        "if the stream has not changed, lower --lr",
        explains=True,
    ),
    _Check(
        FindingCode.EPSILON_NEVER_SKIPS,
        lambda run: (
            run.model.epsilon not in (0, defaults.EPSILON)  # few errors are below these
            and run.progress.updates == run.n >= 1000
            and run.progress.window_accuracy >= 0.98
        ),
        lambda run: (
            f"despite an {run.recent_accuracy}, every sample changed the weights, as no "
            f"error fell below epsilon {run.model.epsilon:g}"
        ),
        lambda run: (
            f"raise epsilon toward the mean error, {run.progress.mean_error:.2g}, to save updates"
        ),
    ),
    _Check(
        FindingCode.OUTPUTS_ALIKE_OR_SATURATED,
        lambda run: run.is_saturated,
        lambda run: (
            f"f' is {run.probes[0]:.2g} on average (maximum {run.max_slope:g}), while the "
            f"mean error is {run.errors[3]:.3g}: the updates are too small to recover"
        ),
        "scale the features (--scale) or lower --lr, and start over",
        explains=True,
        is_symptom=True,
    ),
    _Check(
        FindingCode.OUTPUTS_ALIKE_OR_SATURATED,
        lambda run: run.are_outputs_alike and not run.is_saturated,
        lambda run: (
            f"the largest and the smallest of {run.k} outputs differ by "
            f"{run.probes[1]:.2g} on average (maximum {run.output_range:.3g}), at an "
            f"{run.recent_accuracy}"
        ),
        lambda run: (
            "raise --lr"
            if run.progress.updated_share > _LOW_SHARE
            else f"lower --epsilon: {run.progress.updated_share:.1%} of the samples changed the "
            "weights"
        ),
        explains=True,
        is_symptom=True,
    ),
    _Check(
        FindingCode.NO_BETTER_THAN_MAJORITY_CLASS,
        lambda run: run.is_no_better_than_majority,
        lambda run: (
            f"accuracy is {run.progress.accuracy:.1%}, {run.metrics.baseline:.1%} of the "
            f"samples are {run.classes[run.metrics.largest]!r}, and kappa is "
            f"{format_kappa(run.metrics.cohen_kappa)}"
        ),
        f"predict the other classes {_THRESHOLD_ADVICE}, learn from more rows, or find better "
        "features",
        is_symptom=True,
    ),
    _Check(
        FindingCode.CLASS_HARDLY_EVER_FOUND,
        lambda run: run.missed_classes and not run.is_no_better_than_majority,
        lambda run: join_first(run.missed_classes),
        lambda run: (
            f"predict {'it' if len(run.missed_classes) == 1 else 'them'} "
            f"{_THRESHOLD_ADVICE}, or learn from more rows"
        ),
        is_symptom=True,
    ),
)


def collect_findings(live: LiveModel, diverged: bool = False) -> list[Finding]:
    """Return the findings of a run, most serious first.

    `diverged` states whether the run rejected its last sample to prevent divergence.
    """
    run, findings, is_explained = RunFigures(live, diverged), [], False
    for check in _CHECKS:
        if (is_explained and check.is_symptom) or not check.is_present(run):
            continue
        suggestion = check.suggestion
        text = suggestion if isinstance(suggestion, str) else suggestion(run)
        remedies = tuple(filter(None, [check.remedy(run)]))
        findings.append(Finding(check.code, check.evidence(run), text, remedies))
        is_explained = is_explained or check.explains
    return findings


def find_label_problem(live: LiveModel) -> Finding | None:
    """Return the finding about labels that cannot be classes, whatever the weights are."""
    run = RunFigures(live, diverged=False)
    codes = FindingCode.LABELS_ARE_IDS, FindingCode.LABELS_ARE_A_QUANTITY
    if not (run.are_labels_ids or run.unlikely_numbers):
        return None
    return next(finding for finding in collect_findings(live) if finding.code in codes)
