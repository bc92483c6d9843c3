"""Findings: why a model does not learn, or not as well as it could."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.naming import as_option, listed, shortened, tells_origin
from stream_perceptron.live.drift import (
    ACCURACY_DROPPED,
    RECALL_DROPPED,
    explain_drop,
    find_lasting_drops,
    name_class,
)
from stream_perceptron.live.metrics import format_percent
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.step_result import unscaled
from stream_perceptron.model.class_weights import list_spellings

_LOW = 0.85  # accuracy
_ENOUGH = 300  # samples to judge by
_FEW = 20  # samples of one label
_ENOUGH_OF_CLASS = 200  # samples of a class to judge its recall by
_THRESHOLDS = "a threshold (evaluate shows the best ones; predict --threshold)"
_MOST_OPTIONS = 3  # in a suggestion
_LOW_RECALL = 0.05
_MAX_DROPS = 3  # classes whose drop of recall is described
_LOW_SHARE = 0.05  # of samples that changed the weights
_LOW_KAPPA = 0.2
_MANY_NUMBERS = 20  # the fewest distinct labels of a quantity
_MOST_LOOKED_AT = 1000  # features whose weights are compared with the order of labels
_SURE = 6.0  # standard errors of a rank correlation
_DEFAULT_EPSILON = 3e-6


@dataclass(frozen=True)
class Finding:
    """A fault that keeps a model from learning, or makes its accuracy misleading."""

    name: str
    evidence: str  # the figures that show the fault
    suggestion: str  # the remedy

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence}; {self.suggestion}"


def findings_in(live: LiveModel, diverged: bool = False) -> list[Finding]:
    """Return the findings of a run, gravest first; `diverged`: its last sample was refused."""
    findings = [] if not diverged else [_diverged(live)]
    for look in _LOOKS:
        findings += look(live)
    # Each finding explains the later ones.
    for look in _WHY_LABELS_ARE_MISSED:
        if not _EXPLAINED.intersection(finding.name for finding in findings):
            findings += look(live)
    return findings


def _diverged(live: LiveModel) -> Finding:
    model, progress = live.model, live.progress
    return Finding(
        "diverging",
        f"after {progress.samples:,} samples the mean error was {progress.mean_error:.3g} with "
        f"activation {model.activation}, lr {model.lr} and features up to {progress.largest:g}",
        "lower --lr, or scale the features",
    )


def _quarters(live: LiveModel, sums: str) -> list[float]:
    """Return the mean of `sums` per sample in each quarter of the run; [] if the run is short."""
    curve = live.progress.curve
    samples = curve.column("samples")
    if len(samples) < 4 or samples.sum() < _ENOUGH:
        return []
    parts = zip(np.array_split(curve.column(sums), 4), np.array_split(samples, 4), strict=True)
    return [float(part.sum() / count.sum()) for part, count in parts]


def _last_probes(live: LiveModel) -> tuple[float, float]:
    """Return the mean slope and spread of the last quarter's probes, or NaN without probes."""
    curve = live.progress.curve
    last = slice(3 * len(curve.sums) // 4, None)
    probes = float(curve.column("probes")[last].sum())
    if live.progress.samples < _ENOUGH or not probes:
        return float("nan"), float("nan")
    return (
        float(curve.column("slope")[last].sum() / probes),
        float(curve.column("spread")[last].sum() / probes),
    )


def _stopped_too_early(live: LiveModel) -> Iterator[Finding]:
    progress, accuracy = live.progress, _quarters(live, "right")
    if not live.stopped:
        return
    is_rising = bool(accuracy) and accuracy[3] - accuracy[2] > max(
        0.02, 4 * _noise(accuracy[2], progress.samples // 4)
    )
    if progress.longer_tally.window_accuracy < _LOW or is_rising:
        rising = f", up from {accuracy[2]:.1%} a quarter of the run before" if is_rising else ""
        yield Finding(
            "stopped too early",
            f"one sample's error fell below epsilon {live.model.epsilon:g} after "
            f"{progress.samples:,} samples, when {_recent(live, 'was')}"
            f"{rising} and {progress.updated_share:.1%} of the samples were still learned",
            "lower epsilon, or leave --stop out",
        )


def _error_rising(live: LiveModel) -> Iterator[Finding]:
    # A drop of accuracy is reported as such.
    has_dropped = any(event.is_drop and event.is_overall for event in live.progress.events)
    errors = [] if has_dropped or any(_quantity(live)) else _quarters(live, "errors")
    if errors and errors[3] > 1.5 * min(errors[:3]) and errors[3] - min(errors[:3]) > 0.1:
        yield Finding(
            "error rising",
            f"the mean error is {errors[3]:.3g} in the last quarter of the run, after "
            f"{min(errors[:3]):.3g}",
            "if the stream has not changed, lower --lr",
        )


def _unscaled(live: LiveModel) -> Iterator[Finding]:
    if advice := unscaled(live):
        yield Finding("unscaled features", *advice)


def _constant(live: LiveModel) -> Iterator[Finding]:
    scaler, names = live.model.network.scaler, live.model.features_
    if scaler is None or live.progress.samples < _ENOUGH:
        return
    counts, _, spread = scaler.at(slice(len(names)))
    same = [str(names[i]) for i in np.flatnonzero((counts > 1) & (spread == 0)).tolist()]
    if same:
        shown = listed(live.schema.in_order(same))
        yield Finding(
            "features that never varied",
            f"{shown} had a single value in all samples, so after standardizing they are 0",
            "if that stays so, drop them with --ignore",
        )


def _saturated(live: LiveModel) -> Iterator[Finding]:
    slope, _ = _last_probes(live)
    top = 0.25 if live.model.activation == "sigmoid" else 1.0
    errors = _quarters(live, "errors")
    if slope < 0.02 * top and errors and errors[3] > 0.1:
        yield Finding(
            "outputs saturated",
            f"f' is {slope:.2g} on average, of {top:g} at most, while the mean error is "
            f"{errors[3]:.3g}: "
            "no step is long enough to bring the outputs back",
            "scale the features (--scale) or lower --lr, and start over",
        )


def _alike(live: LiveModel) -> Iterator[Finding]:
    _, spread = _last_probes(live)
    activation = live.model.network.activation
    reach = activation.high - activation.low
    k = len(live.model.classes_)
    # Saturated outputs are alike too, but have their own finding.
    if any(_saturated(live)):
        return
    if (
        k > 1
        and spread < 0.3 * reach
        and live.progress.longer_tally.window_accuracy < max(0.5, 1.5 / k)
    ):
        yield Finding(
            "outputs alike",
            f"the largest and the smallest of {k} outputs differ by {spread:.2g} on average, of "
            f"{reach:.3g} at most, and {_recent(live)}",
            "raise --lr"
            if live.progress.updated_share > _LOW_SHARE
            else f"lower --epsilon: {live.progress.updated_share:.1%} of the samples were learned",
        )


def _one_label(live: LiveModel) -> Iterator[Finding]:
    progress, names = live.progress, live.model.classes_
    scores = progress.scores(len(names), live.progress.longer_tally)
    if progress.samples >= _FEW and scores.baseline == 1.0:
        yield Finding(
            "only one label",
            f"all {progress.samples:,} samples are labelled {names[scores.largest]!r}",
            "there is nothing to tell apart: look at --label, or read on",
        )


def _no_better(live: LiveModel) -> Iterator[Finding]:
    progress, tally = live.progress, live.progress.longer_tally
    scores = progress.scores(len(live.model.classes_), tally)
    best = max(tally.accuracy, tally.window_accuracy)
    noise = _noise(scores.baseline, len(tally.window))
    is_no_better = best <= scores.baseline + 2 * noise and scores.cohen_kappa < _LOW_KAPPA
    if tally.tested + 1 >= _ENOUGH and is_no_better:
        always = repr(live.model.classes_[scores.largest])
        remedy = "weigh rare classes more (--class-weight balanced)"
        if live.model.class_weight is not None:
            remedy = f"predict the others by {_THRESHOLDS}"
        yield Finding(
            f"no better than always answering {always}",
            f"accuracy is {tally.accuracy:.1%}, {scores.baseline:.1%} of the samples are "
            f"{always}, and kappa is {format_percent(scores.cohen_kappa, 1)}",
            f"{remedy}, read on, or look for better features",
        )


def _quantity(live: LiveModel) -> Iterator[Finding]:
    """Yield a finding if labels are decimal numbers, or numbers whose order the weights follow."""
    names, weights = live.model.classes_, live.model.weights[:, :_MOST_LOOKED_AT]
    try:
        values = np.array([float(str(name)) for name in names])
    except ValueError:
        return
    if not np.isfinite(values).all():  # labels such as "inf" and "1e400"
        return
    seen, _, _ = live.progress.longer_tally.confusion.sums(len(names))
    often = seen > 1
    has_decimals = bool((values % 1 != 0).any())
    if len(names) < _MANY_NUMBERS or live.progress.samples < (_FEW if has_decimals else _ENOUGH):
        return
    are_own = 2 * len(names) > live.progress.samples  # nearly every sample has its own label
    if has_decimals or are_own or _follows(values[often], weights[often]) > _SURE:
        yield Finding(
            "labels are a quantity",
            f"{len(names):,} different numbers"
            + (
                ", some with decimals"
                if has_decimals
                else f" in {live.progress.samples:,} samples"
                if are_own
                else ", whose order the features follow"
            ),
            "this predicts classes: choose another column with --label, put the numbers into a few "
            "bins, or use a regression",
        )


def _follows(values: NDArray[np.float64], weights: NDArray[Any]) -> float:
    """Return the largest rank correlation of any weights column with values, in standard errors.

    Spearman's rank correlation of n values has a standard error of 1 / sqrt(n - 1).
    """
    n = len(values)
    if n < _MANY_NUMBERS:
        return 0.0
    # Equal weights, as of an always-zero feature, have no order.
    varied = [column for column in weights.T if len(np.unique(column)) == n]
    columns = np.column_stack([values, *varied])
    ranks = columns.argsort(axis=0).argsort(axis=0) - (n - 1) / 2
    correlations = ranks[:, 1:].T @ ranks[:, 0] / (ranks[:, 0] ** 2).sum()
    return float(np.abs(correlations).max(initial=0.0)) * sqrt(n - 1)


def _never_seen(live: LiveModel) -> Iterator[Finding]:
    names, progress = live.model.classes_, live.progress
    seen, _, _ = progress.longer_tally.confusion.sums(len(names))
    n_untested = progress.n_untested
    if n_untested > 1 and live.selection.joins:
        return  # the labels of tested samples are unknown here
    if n_untested:
        seen[:1] += 1  # count the untested first sample, which brought the first label
    unseen = [str(name) for name, n in zip(names, seen, strict=True) if not n]
    if unseen and progress.samples >= _ENOUGH and np.count_nonzero(seen) > 1:
        yield Finding(
            "class never seen",
            f"of {progress.samples:,} samples none was labelled {shortened(unseen)}",
            "look at the labels, or at --classes",
        )


def _hardly_found(live: LiveModel) -> Iterator[Finding]:
    names = live.model.classes_
    scores = live.progress.scores(len(names), live.progress.longer_tally)
    is_missed = (scores.seen >= _ENOUGH_OF_CLASS) & (scores.recall < _LOW_RECALL)
    numbers = np.flatnonzero(is_missed).tolist()
    missed = [
        f"{names[i]} (recall {scores.recall[i]:.1%} of {scores.seen[i]:,} samples)" for i in numbers
    ]
    them = "it" if len(numbers) == 1 else "them"
    remedy = f"predict {them} by {_THRESHOLDS}"
    if live.model.class_weight is None:
        largest = scores.seen.max(initial=0)
        weights = (f"{list_spellings(names[i])[0]}={largest / scores.seen[i]:.2g}" for i in numbers)
        options = [f"--class-weight {shlex.quote(weight)}" for weight in weights]
        remedy = f"weigh {them} more ({' '.join(options[:_MOST_OPTIONS])})"
    if missed and live.progress.samples >= _ENOUGH and not any(_no_better(live)):
        yield Finding(
            "class hardly ever found",
            shortened(missed),
            f"{remedy}, raise --lr, or read on",
        )


def _sorted(live: LiveModel) -> Iterator[Finding]:
    progress = live.progress
    counts, _, _ = progress.longer_tally.confusion.sums(len(live.model.classes_))
    if progress.samples < 100 or np.count_nonzero(counts) < 2:
        return
    by_chance = float(((counts / counts.sum()) ** 2).sum())
    share = progress.repeats / (progress.samples - 1)
    if share > by_chance + 0.5 * (1 - by_chance):
        yield Finding(
            "sorted labels",
            f"{share:.1%} of the samples have the same label as the one before ({by_chance:.1%} "
            "expected by chance): repeating the last label scores high, so progressive accuracy "
            f"({progress.accuracy:.1%}) misleads",
            "shuffle the samples, or draw them with --random",
        )


def _dropped(live: LiveModel) -> Iterator[Finding]:
    drops = find_lasting_drops(live.progress.events)
    if not drops or any(_quantity(live)):
        return
    has_weights, classes = live.model.class_weight is not None, live.model.classes_
    for name, is_overall in ((ACCURACY_DROPPED, True), (RECALL_DROPPED, False)):
        texts = [
            event.figures if event.label is None
            else f"{name_class(event.label, classes)} {event.figures}"
            for event in drops if event.is_overall == is_overall
        ]  # fmt: skip
        if texts:
            n_more = len(texts) - _MAX_DROPS
            more = [f"{n_more:,} more classes"] if n_more > 0 else []
            evidence = "; ".join([*texts[:_MAX_DROPS], *more])
            yield Finding(name, evidence, explain_drop(is_overall, has_weights))


def _row_number(live: LiveModel) -> Iterator[Finding]:
    names, weights = live.model.features_, live.model.weights
    if not any(tells_origin(str(name)) for name in names):
        return
    # Avoid a copy of all weights, as a large model may be learning.
    sizes = np.maximum(weights.max(axis=0, initial=0.0), -weights.min(axis=0, initial=0.0))
    typical = float(np.sort(sizes)[len(sizes) // 2]) if len(sizes) else 0.0
    for name, size in zip(names, sizes.tolist(), strict=True):
        if tells_origin(str(name)) and live.model.n_updates and size > 2 * typical:
            yield Finding(
                "row number learned",
                f"a weight of feature {str(name)!r} is {size:.3g}, where {typical:.3g} is usual",
                f"drop it: --ignore {as_option([str(name)])}",
            )


def _rising(live: LiveModel) -> Iterator[Finding]:
    of_dates = {f"{column}_days" for column in live.selection.dates}  # which are meant to rise
    rising = [name for name in live.progress.rising or () if name not in of_dates]
    found = [name for name in rising if not tells_origin(name)]
    if live.progress.samples >= _ENOUGH and found:
        yield Finding(
            "columns that only rise",
            f"the values of {listed(found)} rise from sample to sample, as a row number or a clock",
            f"drop such columns with --ignore {as_option(found)}, or draw rows with --random",
        )


def _never_skips(live: LiveModel) -> Iterator[Finding]:
    progress, epsilon = live.progress, live.model.epsilon
    if (
        epsilon > 0
        and epsilon != _DEFAULT_EPSILON  # hardly any error is below the default
        and progress.samples >= 1000
        and progress.updates == progress.samples
        and progress.longer_tally.window_accuracy >= 0.98
    ):
        yield Finding(
            "epsilon never skips",
            f"{_recent(live)}, and still every sample was "
            f"learned, as no error fell below epsilon {epsilon:g}",
            f"raise it toward the mean error, {progress.mean_error:.2g}, to save updates",
        )


def _recent(live: LiveModel, verb: str = "is") -> str:
    """Return the accuracy of the last samples as text, with their number if there are more."""
    tally, n = live.progress.longer_tally, len(live.progress.longer_tally.window)
    over = f" over the last {n:,}" if n < tally.tested else ""
    return f"accuracy{over} {verb} {tally.window_accuracy:.1%}"


def _noise(accuracy: float, n: int) -> float:
    """Return the standard error of an accuracy over n samples."""
    return sqrt(max(accuracy * (1 - accuracy), 1e-4) / max(n, 1))


_Look = Callable[[LiveModel], Iterator[Finding]]
_LOOKS: tuple[_Look, ...] = (
    _stopped_too_early,
    _error_rising,
    _unscaled,
    _constant,
    _one_label,
    _quantity,
    _sorted,
    _never_seen,
    _row_number,
    _rising,
    _dropped,
    _never_skips,
)
_WHY_LABELS_ARE_MISSED: tuple[_Look, ...] = (_saturated, _alike, _no_better, _hardly_found)
_EXPLAINED = {
    "stopped too early",
    "unscaled features",
    "outputs saturated",
    "only one label",
    "labels are a quantity",
    "outputs alike",
    ACCURACY_DROPPED,
}
