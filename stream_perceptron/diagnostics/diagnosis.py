"""Diagnosis: find out why a model does not learn, or does not learn as well as it could."""

from __future__ import annotations

import shlex

from stream_perceptron.data.naming import format_names, format_option_value, join_first
from stream_perceptron.diagnostics.run_statistics import RunStatistics
from stream_perceptron.live.drift import explain_drop
from stream_perceptron.live.findings import Finding, FindingCode
from stream_perceptron.live.metrics import format_kappa
from stream_perceptron.live.model import LiveModel
from stream_perceptron.model.rates import format_lr

_LOW_ACCURACY = 0.85
_LABEL_ADVICE = "a perceptron predicts classes: choose another column with --label"


def collect_findings(live: LiveModel, diverged: bool = False) -> list[Finding]:
    """Return the findings of a run, most serious first.

    `diverged` states whether the run rejected its last sample to prevent divergence.
    """
    run = RunStatistics(live)
    causes = [check(run) for check in _CAUSES]
    findings = [finding for finding in causes if finding is not None]
    if diverged:
        findings.insert(0, _describe_divergence(run))
    for check in _SYMPTOMS:
        is_explained = any(finding.code not in _NON_EXPLANATORY_CODES for finding in findings)
        if not is_explained and (finding := check(run)) is not None:
            findings.append(finding)
    return findings


def find_label_problem(live: LiveModel) -> Finding | None:
    """Return the finding about labels that cannot be classes, whatever the weights are."""
    run = RunStatistics(live)
    return _check_labels(run) if run.are_labels_ids or run.why_labels_are_no_classes else None


def _describe_divergence(run: RunStatistics) -> Finding:
    model, progress = run.model, run.progress
    return Finding(
        FindingCode.DIVERGING,
        f"after {run.n:,} samples the mean error was {progress.mean_error:.3g} with activation "
        f"{model.activation}, lr {format_lr(model.lr_)} and features up to "
        f"{progress.max_abs_value:g}",
        "lower --lr, or scale the features",
    )


def _check_early_stop(run: RunStatistics) -> Finding | None:
    progress, is_rising = run.progress, run.is_accuracy_rising
    if not run.live.stopped or not (progress.window_accuracy < _LOW_ACCURACY or is_rising):
        return None
    evidence = (
        f"one sample's error fell below epsilon {run.model.epsilon:g} after {run.n:,} "
        f"sample{'s' * (run.n != 1)}, at an {run.recent_accuracy_text}"
    )
    if is_rising:
        evidence += f", up from {run.accuracies_by_quarter[2]:.1%} in the third quarter"
    if progress.updated_share >= 0.001:
        evidence += f", and {progress.updated_share:.1%} of the samples still changed the weights"
    return Finding(FindingCode.STOPPED_TOO_EARLY, evidence, "lower epsilon, or leave --stop out")


def _check_scales(run: RunStatistics) -> Finding | None:
    if run.scaling_problem is None:
        return None
    evidence, suggestion, remedy = run.scaling_problem
    return Finding(FindingCode.UNSCALED_FEATURES, evidence, suggestion, (remedy,))


def _check_labels(run: RunStatistics) -> Finding | None:
    if run.has_one_label:
        return Finding(
            FindingCode.ONLY_ONE_LABEL,
            f"all {run.n:,} samples are labeled {run.classes[run.metrics.majority_label]!r}",
            "there are no classes to distinguish: check --label, or learn from more rows",
        )
    if run.are_labels_ids:
        evidence = f"{run.k:,} different labels in {run.n:,} samples"
        return Finding(FindingCode.LABELS_ARE_IDS, evidence, _LABEL_ADVICE)
    if run.why_labels_are_quantities:
        return Finding(
            FindingCode.LABELS_ARE_A_QUANTITY,
            f"{run.k:,} different numbers{run.why_labels_are_quantities}",
            f"{_LABEL_ADVICE}, sort the numbers into a few bins, or use a regression model",
        )
    return None


def _check_label_order(run: RunStatistics) -> Finding | None:
    if not run.are_labels_sorted:
        return None
    return Finding(
        FindingCode.SORTED_LABELS,
        f"the samples of each of {run.n - run.progress.n_repeated_labels:,} labels follow one "
        f"another: repeating the last label scores well, so progressive accuracy "
        f"({run.progress.accuracy:.1%}) is misleading",
        "shuffle the samples, for text with shuf",
    )


def _check_row_numbers(run: RunStatistics) -> Finding | None:
    names = run.row_number_columns
    if not names:
        return None
    remedy = f"--ignore {format_option_value(names)}"
    if run.live.state.command_state is not None:  # the settings of a saved model cannot change
        remedy += " --overwrite"
    return Finding(
        FindingCode.ROW_NUMBERS,
        "columns that rise by the same step in nearly every row, or are named like row numbers and "
        f"have large weights: {format_names(names)}",
        "to drop them",
        (remedy,),
    )


def _check_accuracy_drop(run: RunStatistics) -> Finding | None:
    if run.drop is None or not run.are_labels_classes:
        return None
    cause = explain_drop(run.model.class_weight is not None)
    return Finding(FindingCode.PERFORMANCE_DROPPED, str(run.drop), cause)


def _check_epsilon(run: RunStatistics) -> Finding | None:
    if not (run.are_outputs_alike and run.hardly_updates):
        return None
    share = f"{run.progress.updated_share:.1%} of the samples changed the weights"
    return _describe_alike_outputs(run, f"lower --epsilon: {share}")


def _check_output_spread(run: RunStatistics) -> Finding | None:
    if run.is_saturated:
        return Finding(
            FindingCode.OUTPUTS_ALIKE_OR_SATURATED,
            f"f' is {run.mean_activation_slope:.2g} on average (maximum "
            f"{run.max_activation_slope:g}), while the mean error is "
            f"{run.mean_errors_by_quarter[3]:.3g}: the updates are too small to recover",
            "scale the features (--scale) or lower --lr, and start over",
        )
    if not run.are_outputs_alike:
        return None
    return _describe_alike_outputs(run, "compare higher learning rates", *_list_sweep_commands(run))


def _describe_alike_outputs(run: RunStatistics, suggestion: str, *remedies: str) -> Finding:
    return Finding(
        FindingCode.OUTPUTS_ALIKE_OR_SATURATED,
        f"the largest and the smallest of {run.k} outputs differ by {run.mean_output_spread:.2g} "
        f"on average (maximum {run.activation_range:.3g}), at an {run.recent_accuracy_text}",
        suggestion,
        remedies,
    )


def _check_learning_rate(run: RunStatistics) -> Finding | None:
    if not run.is_error_falling:
        return None
    _, second, _, last = run.mean_errors_by_quarter
    return Finding(
        FindingCode.LEARNING_RATE_TOO_LOW,
        f"at lr {format_lr(run.model.lr_)}, the mean error still fell from {second:.3g} in the "
        f"second quarter of the run to {last:.3g} in the last",
        "compare higher learning rates",
        tuple(_list_sweep_commands(run)),
    )


def _list_sweep_commands(run: RunStatistics) -> list[str]:
    """Return the command that compares learning rates on the files of a run, if it has any."""
    files = [each.position for each in run.live.history.files]
    names = dict.fromkeys(each.display_name for each in files if not each.is_stream)
    label = run.live.read_options.label
    options = [] if label is None else ["--label", label]
    return [shlex.join(["stream-perceptron", "sweep", *names, *options])] if names else []


def _check_majority(run: RunStatistics) -> Finding | None:
    if not run.is_no_better_than_majority:
        return None
    metrics = run.metrics
    return Finding(
        FindingCode.NO_BETTER_THAN_MAJORITY_CLASS,
        f"accuracy is {run.progress.accuracy:.1%}, {metrics.baseline:.1%} of the samples are "
        f"{run.classes[metrics.majority_label]!r}, and kappa is "
        f"{format_kappa(metrics.cohen_kappa)}",
        "check that each label belongs to its row, learn from more rows, or find better features; "
        "a decision threshold finds more samples of the other classes, at the cost of mistakes "
        "(evaluate --scores shows both)",
    )


def _check_rare_classes(run: RunStatistics) -> Finding | None:
    if not run.low_recall_classes or run.is_no_better_than_majority:
        return None
    return Finding(
        FindingCode.CLASS_HARDLY_EVER_FOUND,
        join_first(run.low_recall_classes),
        "a decision threshold finds more of its samples, at the cost of mistakes on others "
        "(evaluate --scores shows both)",
    )


# Checks, most serious first; a symptom is checked only if no cause explains it.
_CAUSES = (
    _check_early_stop, _check_scales, _check_labels, _check_label_order, _check_row_numbers,
    _check_epsilon, _check_accuracy_drop,
)  # fmt: skip
_SYMPTOMS = (_check_output_spread, _check_learning_rate, _check_majority, _check_rare_classes)
# The findings that may accompany any accuracy.
_NON_EXPLANATORY_CODES = (
    FindingCode.DIVERGING, FindingCode.SORTED_LABELS, FindingCode.ROW_NUMBERS,
    FindingCode.LEARNING_RATE_TOO_LOW, FindingCode.NO_BETTER_THAN_MAJORITY_CLASS,
)  # fmt: skip
