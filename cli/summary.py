"""Messages at the beginning and the end of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .printable import counted, tell
from .progress_line import ProgressLine

if TYPE_CHECKING:
    from stream_perceptron import LiveModel

    from .opening import Opened
    from .rejections import Rejections

_MOST_COUNTED = 20  # classes that are counted one by one


def announce(opened: Opened, line: ProgressLine, path: Path | None) -> None:
    """Print where a run begins, and the parameters that it changes."""
    from stream_perceptron.data.describe import warning
    from stream_perceptron.model.kernel import NAME as KERNEL

    live = opened.live
    if live.progress.rows:
        line.note(f"resuming {path} after {counted(live.progress.rows, 'row')}")
    if live.kernel != KERNEL:
        line.note(
            warning(
                f"saved with the {live.kernel} kernel, resuming with the {KERNEL} kernel: results "
                "agree to rounding, not bit for bit"
            )
        )
    for name in opened.changed:
        value = getattr(live.model, name)
        shown = f"{value:,}" if name == "max_weights" else f"{value:g}"
        line.note(f"{name.replace('_', '-')} is {shown} from now on")


def nothing_new(live: LiveModel, changed: Sequence[str]) -> str:
    """Return why no row was learned, and how to learn all again with the changed parameters."""
    reason = _why_nothing_is_new(live)
    if not changed:
        return reason
    flags = " and ".join(name.replace("_", "-") for name in changed)
    return f"{reason}; to learn all rows again with another {flags}: --overwrite"


def _why_nothing_is_new(live: LiveModel) -> str:
    if live.ledger.n_redelivered:
        return "nothing new: every row was already learned"
    if live.stopped:
        return "nothing new: the run has already stopped"
    if live.cursor.finished:
        return "nothing new: all requested rows were already learned"
    return "no new rows"


def warn_of_unseen_names(live: LiveModel) -> Iterator[str]:
    """Yield a warning for each name in the options that no row has had, if rows have own names."""
    from stream_perceptron.data.describe import warning
    from stream_perceptron.data.naming import meant
    from stream_perceptron.data.schema import ENCODINGS

    if not live.schema.is_open:
        return
    known = list(map(str, [*live.model.features_, *(live.schema.texts or ())]))
    for option in (*ENCODINGS, "ignore", "weight", "position", "keep"):
        names = getattr(live.selection, option) or ()
        for name in [names] if isinstance(names, str) else names:
            if name in live.knowledge.unseen:
                flag = option.replace("_", "-")
                yield warning(f"--{flag} {name}: no row had {name!r}{meant(name, known)}")


def warn_of_unknown_classes(
    live: LiveModel, thresholds: Mapping[str, float] | None = None
) -> Iterator[str]:
    """Yield a warning for each label with a class weight or a threshold that no row has had."""
    from stream_perceptron.data.describe import warning
    from stream_perceptron.data.naming import meant
    from stream_perceptron.model.class_weights import list_spellings

    weights, classes = live.model.class_weight, live.model.classes_
    known = [text for label in classes for text in list_spellings(label)]
    for flag, given in (("--class-weight", weights), ("--threshold", thresholds)):
        for label in given if isinstance(given, dict) else ():
            if label not in classes and (text := list_spellings(label)[0]) not in known:
                yield warning(f"{flag}: no label is {text!r}{meant(text, known)}")


def baseline_of(live: LiveModel) -> dict[str, Any]:
    """Return the largest class and its share, and figures that do not reward answering it."""
    labels = live.model.classes_
    scores = live.progress.scores(len(labels))
    return {
        "largest_class": labels[scores.largest] if scores.baseline else None,
        "largest_share": scores.baseline,
        "cohen_kappa": scores.cohen_kappa,
        "balanced_accuracy": scores.balanced_accuracy,
        "macro_f1": scores.macro_f1,
    }


def shown_waiting(live: LiveModel) -> str:
    """Return the numbers of pending and evicted samples as text."""
    n, n_evicted = counted(len(live.waiting.samples), "sample"), live.waiting.forgotten
    evicted = f"; {n_evicted:,} evicted, as more than {live.selection.max_pending:,} were pending"
    return n + (evicted if n_evicted else "")


def summarise(
    live: LiveModel,
    line: ProgressLine,
    path: Path | None,
    rejected: Rejections,
    as_json: bool,
    quiet: bool,
    ending: str,
) -> None:
    if as_json:
        click.echo(json.dumps(_summary(live, line, path, rejected), default=str))
    elif not quiet:
        for text in [*rejected.lines(line.rows), *_ending(live), ending]:
            tell(text, err=True)


def _summary(
    live: LiveModel, line: ProgressLine, path: Path | None, rejected: Rejections
) -> dict[str, Any]:
    from stream_perceptron.diagnostics.diagnosis import findings_in
    from stream_perceptron.model.kernel import NAME as KERNEL

    return {
        **line.figures(),
        **baseline_of(live),
        "missing": live.progress.missing,
        "replayed": live.ledger.n_redelivered,
        "stopped": live.stopped,
        "skipped_rows": rejected.first,
        "classes": live.model.classes_,
        "kernel": KERNEL,
        "model": None if path is None else str(path),
        "diagnosis": [vars(finding) for finding in findings_in(live)],
    }


def _ending(live: LiveModel) -> Iterator[str]:
    """Yield the lines of the summary."""
    from stream_perceptron.live.metrics import format_percent

    progress = live.progress
    if live.selection.joins:
        yield f"waiting for labels: {shown_waiting(live)}"
        if (n := progress.n_untested) > 1:
            yield f"not scored: {n:,} samples, predicted before a label was known"
    elif progress.unlabelled and progress.samples:
        yield f"unlabelled: {counted(progress.unlabelled, 'row')}, only predicted"
    if progress.missing:
        yield f"missing: {counted(progress.missing, 'value')}"
    if live.ledger.n_redelivered:
        yield f"skipped: {counted(live.ledger.n_redelivered, 'row')} already learned"
    if live.stopped:
        yield (
            f"stopped at sample {progress.samples:,}: its error, {live.model.last_error:.3g}, "
            "is below epsilon"
        )
    if (told := baseline_of(live))["largest_share"]:
        yield _counts(live)
        figures = ""
        if progress.tally.tested:
            figures = (
                f"; Cohen's kappa {format_percent(told['cohen_kappa'])}, balanced accuracy "
                f"{told['balanced_accuracy']:.2%}, macro F1 {told['macro_f1']:.2%}"
            )
        share = f"{told['largest_share']:.2%} of the samples"
        yield f"largest class: {told['largest_class']}, {share}{figures}"


def _counts(live: LiveModel) -> str:
    """Return the samples of each class as text or, if there are many classes, their range."""
    classes = live.model.classes_
    counts = live.progress.scores(len(classes)).counts.tolist()
    which = "classes of scored samples" if live.progress.n_untested > 1 else "classes"
    if len(classes) > _MOST_COUNTED:
        return f"{which}: {len(classes):,} of {min(counts):,} to {max(counts):,} samples each"
    each = (f"{label} ({n:,})" for label, n in zip(classes, counts, strict=True))
    return f"{which}: {', '.join(each)}"
