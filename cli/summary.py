"""Messages at the beginning and the end of a run."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .printable import format_count, print_message
from .progress_line import ProgressLine

if TYPE_CHECKING:
    from stream_perceptron import LiveModel

    from .opening import RunInputs
    from .rejections import Rejections

_MAX_LISTED_CLASSES = 20  # classes whose sample counts are listed individually


def print_start(opened: RunInputs, line: ProgressLine, path: Path | None) -> None:
    """Print where a run resumes, and the parameters that it changes."""
    live = opened.live
    if live.progress.rows:
        line.print_notice(f"resuming {path} after {format_count(live.progress.rows, 'row')}")
    for name in opened.changed:
        value = getattr(live.model, name)
        shown = f"{value:,}" if name == "max_weights" else f"{value:g}"
        line.print_notice(f"{name.replace('_', '-')} is {shown} from now on")


def format_log_order(logs: Sequence[str]) -> str:
    """Return the notice for rotated logs that are not given oldest first, with a command."""
    arguments, ordered = ["stream-perceptron", *sys.argv[1:]], iter(logs)
    command = shlex.join([next(ordered) if each in logs else each for each in arguments])
    return f"rotated logs are not given oldest first; to learn the oldest rows first:\n  {command}"


def explain_no_new_rows(live: LiveModel, changed: Sequence[str]) -> str:
    """Return the reason why no row was learned, with a remedy if parameters were changed."""
    reason = _get_no_new_rows_reason(live)
    if not changed:
        return reason
    flags = " and ".join(name.replace("_", "-") for name in changed)
    return f"{reason}; to learn all rows again with another {flags}: --overwrite"


def _get_no_new_rows_reason(live: LiveModel) -> str:
    if live.n_redelivered:
        return "nothing new: every row was already learned"
    if live.stopped:
        return "nothing new: the run has already stopped"
    if live.history.run.is_finished:
        return "nothing new: all requested rows were already learned"
    return "no new rows"


def warn_of_unseen_names(live: LiveModel) -> Iterator[str]:
    """Yield a warning for each column that an option names but no row contained.

    If the columns are fixed, yield nothing.
    """
    from stream_perceptron.data.naming import suggest_similar_name
    from stream_perceptron.data.notices import build_warning
    from stream_perceptron.data.schema import ENCODINGS

    if not live.schema.is_open:
        return
    known = list(map(str, [*live.model.features_, *(live.schema.texts or ())]))
    for option in (*ENCODINGS, "ignore", "weight", "position", "keep"):
        names = getattr(live.read_options, option) or ()
        for name in [names] if isinstance(names, str) else names:
            if name in live.unseen:
                flag = option.replace("_", "-")
                yield build_warning(
                    f"--{flag} {name}: no row had {name!r}{suggest_similar_name(name, known)}"
                )


def warn_of_unknown_classes(
    live: LiveModel, thresholds: Mapping[str, float] | None = None
) -> Iterator[str]:
    """Yield a warning for each label that has a class weight or threshold but occurs in no row."""
    from stream_perceptron.data.naming import suggest_similar_name
    from stream_perceptron.data.notices import build_warning
    from stream_perceptron.model.class_weights import list_spellings

    weights, classes = live.model.class_weight, live.model.classes_
    known = [text for label in classes for text in list_spellings(label)]
    for flag, given in (("--class-weight", weights), ("--threshold", thresholds)):
        for label in given if isinstance(given, dict) else ():
            if label not in classes and (text := list_spellings(label)[0]) not in known:
                yield build_warning(
                    f"{flag}: no label is {text!r}{suggest_similar_name(text, known)}"
                )


def compute_baseline(live: LiveModel) -> dict[str, Any]:
    """Return the largest class, its share, and metrics that do not reward always predicting it.

    The metrics are None if no new row was tested.
    """
    labels = live.model.classes_
    metrics = live.progress.compute_metrics(len(labels))
    names = ("cohen_kappa", "balanced_accuracy", "macro_f1")
    is_tested = live.progress.accuracy is not None
    return {
        "largest_class": labels[metrics.largest] if metrics.baseline else None,
        "largest_share": metrics.baseline,
        **{name: getattr(metrics, name) if is_tested else None for name in names},
    }


def format_pending(live: LiveModel) -> str:
    """Return the numbers of pending and evicted samples as text."""
    n, n_evicted = format_count(len(live.pending.samples), "sample"), live.pending.n_evicted
    evicted = (
        f"; {n_evicted:,} evicted, as more than {live.read_options.max_pending:,} were pending"
    )
    return f"{n}{evicted}" if n_evicted else n


def print_summary(
    live: LiveModel,
    line: ProgressLine,
    path: Path | None,
    rejected: Rejections,
    as_json: bool,
    quiet: bool,
    last_line: str,
) -> None:
    """Print the summary of a run: JSON on stdout, or text on stderr unless `quiet`."""
    if as_json:
        click.echo(json.dumps(_build_summary(live, line, path, rejected), default=str))
    elif not quiet:
        for text in [*rejected.format_summary(line.rows), *_format_ending(live), last_line]:
            print_message(text, err=True)


def _build_summary(
    live: LiveModel, line: ProgressLine, path: Path | None, rejected: Rejections
) -> dict[str, object]:
    """Return the summary of a run for JSON output."""
    from stream_perceptron.diagnostics.diagnosis import collect_findings

    return {
        **line.figures(),
        **compute_baseline(live),
        "missing": live.progress.missing,
        "redelivered": live.n_redelivered,
        "stopped": live.stopped,
        "skipped_rows": rejected.first_texts,
        "classes": live.model.classes_,
        "model": None if path is None else str(path),
        "diagnosis": [finding.to_dict() for finding in collect_findings(live)],
    }


def _format_ending(live: LiveModel) -> Iterator[str]:
    """Yield the summary lines about labels, classes and the end of the run."""
    from stream_perceptron.live.metrics import format_percent

    progress = live.progress
    if live.read_options.has_join:
        yield f"pending: {format_pending(live)}"
        if (n := progress.n_untested) > 1:
            yield f"not scored: {n:,} samples, predicted before a label was known"
    elif progress.unlabeled and progress.samples:
        yield f"unlabeled: {format_count(progress.unlabeled, 'row')}, only predicted"
    if progress.missing:
        yield f"missing: {format_count(progress.missing, 'value')}"
    if live.n_redelivered:
        yield f"skipped: {format_count(live.n_redelivered, 'row')} already learned"
    if live.stopped:
        yield (
            f"stopped at sample {progress.samples:,}: its error, {live.model.last_error:.3g}, "
            "is below epsilon"
        )
    if (baseline := compute_baseline(live))["largest_share"]:
        yield _format_class_counts(live)
        figures = ""
        if progress.confusion.tested:
            figures = (
                f"; Cohen's kappa {format_percent(baseline['cohen_kappa'])}, balanced accuracy "
                f"{baseline['balanced_accuracy']:.2%}, macro F1 {baseline['macro_f1']:.2%}"
            )
        share = f"{baseline['largest_share']:.2%} of the samples"
        yield f"largest class: {baseline['largest_class']}, {share}{figures}"


def _format_class_counts(live: LiveModel) -> str:
    """Return the sample counts of the classes as text, or their range if there are many classes."""
    classes = live.model.classes_
    counts = live.progress.compute_metrics(len(classes)).counts.tolist()
    title = "classes of scored samples" if live.progress.n_untested > 1 else "classes"
    if len(classes) > _MAX_LISTED_CLASSES:
        return f"{title}: {len(classes):,}, with {min(counts):,} to {max(counts):,} samples each"
    class_counts = (f"{label} ({n:,})" for label, n in zip(classes, counts, strict=True))
    return f"{title}: {', '.join(class_counts)}"
