"""What users see of a run: progress, notices and findings on stderr, and the summary."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream_perceptron.checkpoint.archive import convert_to_checkpoint_error
from stream_perceptron.checkpoint.encoding import from_json
from stream_perceptron.data.naming import suggest_similar_name
from stream_perceptron.data.notices import Notice, build_warning
from stream_perceptron.errors import SourceError
from stream_perceptron.live.drift import explain_drop
from stream_perceptron.live.findings import FindingCode
from stream_perceptron.live.metrics import format_kappa
from stream_perceptron.model.class_weights import list_spellings

from .live_line import LiveLine, format_progress_bar
from .printable import format_count, print_message

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.distributed.ray import Round
    from stream_perceptron.live.model import LiveModel
    from stream_perceptron.live.step_result import StepResult

    from .rejections import Rejections

# The columns of a printed row and their widths; a narrow terminal shows only the first few.
_COLUMNS = {
    "samples": 10,
    "accuracy": 8,
    "last 1,000": 10,
    "samples/s": 9,
}
_GAP = "  "
_USUAL_UPDATED_SHARE = 0.99  # the share of samples that usually change the weights
_UNSILENCED_KINDS = ("warning", "drop")  # kinds of events that are printed even with --quiet
# The kinds of events that precede their text.
_PRINTED_KINDS = {"warning": "warning", "drop": "warning", "finding": "diagnosis"}
_MIN_DIAGNOSED_ROWS = 4000  # rows that a run must read before findings are reported
MIN_CHECKED_LABELS = 1000  # samples after which the labels of a new model are checked
_MAX_LISTED_CLASSES = 20  # classes whose sample counts are listed individually


@dataclass
class CommandState:
    """What `learn` saves in a model for its next run."""

    # The size in bytes of each output file up to the last learned row, keyed by the file's path
    # relative to the checkpoint.
    outputs: dict[str, int] = field(default_factory=dict)
    reported_row: int = 0  # the row where the last printed drift event was found

    @classmethod
    def load(cls, live: LiveModel) -> CommandState:
        """Return the state saved in a model; without one, its drift events are old.

        Raises
        ------
        CheckpointError
            If the state is forged.

        """
        if live.state.command_state is None:
            return cls(reported_row=max((e.found for e in live.progress.events), default=0))
        with convert_to_checkpoint_error("the state of the last run"):
            return from_json(cls, live.state.command_state, "state")


class LabelsError(SourceError):
    """The labels of a new model are not classes; the model is not saved."""


class ProgressPrinter:
    """Prints events, and figures each time the row count doubles, on stderr as text or JSON.

    On a terminal, a live line follows, unless predictions go there (`owns_terminal=False`). The
    state records which drift events were printed, so that a resumed run does not repeat them.
    """

    def __init__(
        self,
        live: LiveModel,
        state: CommandState,
        as_json: bool = False,
        quiet: bool = False,
        n_rows: int | None = None,
        owns_terminal: bool = True,
    ) -> None:
        self.live, self._state = live, state
        self.as_json, self.is_quiet = as_json, quiet
        self._total = n_rows  # the number of rows to be read
        self._line = LiveLine()
        self._is_live = not (as_json or quiet) and self._line.is_shown and owns_terminal
        self._start = time.perf_counter()
        self._rows_before = live.progress.rows
        self._has_header = False  # whether the header of the table has been printed
        self._last_printed_row = -1  # the number of rows read when figures were last printed
        self._printed_texts: set[str] = set()
        self._printed_codes: set[str | None] = set()  # of notices and findings

    @property
    def seconds(self) -> float:
        """The number of seconds since the start."""
        return time.perf_counter() - self._start

    @property
    def n_new_rows(self) -> int:
        """The number of rows read since the start."""
        return self.live.progress.rows - self._rows_before

    def print_notice(self, text: str) -> None:
        """Print a notice or a warning, unless it was printed before."""
        if text in self._printed_texts:
            return
        if not isinstance(text, Notice):
            text = Notice(text)
        kind = "warning" if text.is_warning else "notice"
        self._print_event(kind, text, text.remedies)
        self._printed_codes.add(text.code)

    def _print_event(
        self, kind: str, text: str, remedies: Sequence[str] = (), row: int | None = None,
        **figures: object,
    ) -> None:  # fmt: skip
        """Print an event and its remedies or, with --json, its kind, row and figures, too."""
        if self.is_quiet and kind not in _UNSILENCED_KINDS:
            return
        self._printed_texts.add(text)
        self._line.clear()
        if self.as_json:
            read = self.live.progress.rows if row is None else row
            record = {"kind": kind, "row": read, "text": text, "remedies": remedies, **figures}
            click.echo(json.dumps(record, default=str), err=True)
        else:
            print_message(text, err=True, remedies=remedies, kind=_PRINTED_KINDS.get(kind))

    def update(self, result: StepResult | Round) -> None:
        """Print notices and events and, if a report is due, figures; redraw the live line."""
        from stream_perceptron.diagnostics.scaling import warn_of_large_features

        progress = self.live.progress
        for notice in result.notices:
            self.print_notice(notice)
        if result.notices and (warning := warn_of_large_features(self.live)) is not None:
            self.print_notice(warning)
        if result.is_repeated:
            self.print_notice("further pass: rows already learned do not count toward the accuracy")
        if result.is_report_due and not self.is_quiet:
            self._print_row()
        if self._is_live and self._line.is_due():
            self._draw()
        if progress.events and progress.events[-1].found > self._state.reported_row:
            self._print_drift_events()
        if result.is_report_due and self.n_new_rows >= _MIN_DIAGNOSED_ROWS:
            self.print_findings(has_ended=False)

    def finish(self) -> None:
        """Print the final figures."""
        self._line.clear()
        if self.as_json or self.is_quiet or not self.n_new_rows:
            return
        if self.live.progress.samples:
            self._print_row()
        elif self.live.progress.unlabeled:
            click.echo(self._format_unlabeled(), err=True)

    def _print_drift_events(self) -> None:
        """Print the unreported drift events, and mark them as reported."""
        has_class_weights = self.live.model.class_weight is not None
        reported_row = self._state.reported_row
        for event in self.live.progress.events:
            if event.found <= reported_row:
                continue
            self._state.reported_row = event.found
            text, cause = str(event), None
            if event.is_drop:
                cause = explain_drop(has_class_weights)
                text = f"{text}; {cause}"
                self._printed_codes.add(FindingCode.PERFORMANCE_DROPPED)
            self._print_event(
                event.kind, text, (), event.found,
                near=event.row, before=event.before, after=event.after, suggestion=cause,
            )  # fmt: skip

    def print_findings(self, diverged: bool = False, has_ended: bool = True) -> None:
        """Print the events and findings that have not been printed in this run.

        How fast the error falls says something about the learning rate only at the end of a run.
        """
        from stream_perceptron.diagnostics.diagnosis import collect_findings

        self._print_drift_events()
        for finding in () if self.is_quiet else collect_findings(self.live, diverged):
            is_early = finding.code is FindingCode.LEARNING_RATE_TOO_LOW and not has_ended
            if finding.code not in self._printed_codes and not is_early:
                self._print_event("finding", finding.text, **finding.to_dict())
                self._printed_codes.add(finding.code)

    def _draw(self) -> None:
        """Redraw the live line."""
        row = self._format_row() if self.live.progress.samples else self._format_unlabeled()
        self._line.show(row + self._format_bar(self._line.width - len(row)))

    def _print_row(self) -> None:
        """Print the figures as JSON, or as text if there are samples and new rows."""
        if self.as_json:
            record = {"kind": "progress", "row": self.live.progress.rows, **self.compute_figures()}
            click.echo(json.dumps(record), err=True)
        elif self.live.progress.samples and self._last_printed_row != self.n_new_rows:
            self._last_printed_row = self.n_new_rows
            self._line.clear()
            click.echo(self._format_row(), err=True)

    def compute_figures(self) -> dict[str, object]:
        """Return the figures of the run."""
        progress = self.live.progress
        return {
            "samples": progress.samples,
            "accuracy": progress.accuracy,
            "window_accuracy": progress.window_accuracy,
            "mean_error": progress.mean_error,
            "updates": progress.updates,
            "unlabeled": progress.unlabeled,
            "skipped": progress.skipped,
            **count_pending_samples(self.live),
            "seconds": round(self.seconds, 3),
        }

    def _format_row(self) -> str:
        """Return a line of figures, and print a header first if the columns have changed."""
        progress = self.live.progress
        accuracy, window = "untested", ""  # before a class is known
        if len(progress.window):
            accuracy = "-" if progress.accuracy is None else f"{progress.accuracy:.2%}"
            window = f"{progress.window_accuracy:.2%}"
        if not self._has_header:
            self._has_header = True
            self._line.clear()
            click.echo(self._align(_COLUMNS), err=True)
        return self._align(
            [f"{progress.samples:,}", accuracy, window, f"{self._compute_rate():,.0f}"]
        )

    def _format_unlabeled(self) -> str:
        n = format_count(self.live.progress.unlabeled, "row")
        return f"{n} predicted, none labeled ({self._compute_rate():,.0f} rows/s)"

    def _compute_rate(self) -> float:
        return self.n_new_rows / max(self.seconds, 1e-9)

    def _align(self, cells: Iterable[str]) -> str:
        """Return a line with as many cells as fit, aligned with their columns."""
        row = ""
        for width, cell in zip(_COLUMNS.values(), cells, strict=True):
            extended = f"{row}{_GAP if row else ''}{cell:>{width}}"
            if row and self._is_live and len(extended) > self._line.width:
                break
            row = extended
        return row[-self._line.width :] if self._is_live else row

    def _format_bar(self, max_width: int) -> str:
        """Return a bar with the time left, or "" if the number of rows is unknown."""
        if not self._total:
            return ""
        minutes, seconds = divmod(
            int(self.seconds * max(0, self._total - self.n_new_rows) / max(self.n_new_rows, 1)), 60
        )
        hours = f"{minutes // 60}:{minutes % 60:02}" if minutes >= 60 else f"{minutes}"
        time_left = f", {hours}:{seconds:02} left"
        share = min(1.0, self.n_new_rows / self._total)
        bar = format_progress_bar(share, time_left, max_width - len(_GAP))
        return bar and _GAP + bar


def count_pending_samples(live: LiveModel) -> dict[str, int]:
    """Return the numbers of pending and evicted samples; {} without --join."""
    if not live.read_options.has_join:
        return {}
    return {"pending": len(live.state.pending.samples), "evicted": live.state.pending.n_evicted}


def warn_of_unseen_columns(live: LiveModel) -> Iterator[str]:
    """Yield a warning for each column that an option names but no row contained.

    If the columns are fixed, yield nothing.
    """
    if live.schema.columns:
        return
    for option in ("categorical", "ignore", "weight", "position", "keep"):
        names = getattr(live.read_options, option) or ()
        for name in [names] if isinstance(names, str) else names:
            if name in live.unseen_columns:
                hint = suggest_similar_name(name, [*live.seen_columns])
                flag = option.replace("_", "-")
                yield build_warning(f"--{flag} {name}: no row had {name!r}{hint}")


def require_labels(printer: ProgressPrinter, source: Source) -> None:
    """Check that a row of a run that needs labels, and whose rows begin in this source, had one."""
    live, label = printer.live, printer.live.read_options.label
    if not printer.n_new_rows or not live.lacks_labels:
        return
    if label is None or label not in live.unseen_columns:
        raise SourceError(f"{source.name}: no row has a label: name the label column with --label")
    hint = suggest_similar_name(label, [*live.seen_columns])
    raise SourceError(
        f"{source.name}: no row has {label!r}{hint or ': name the label with --label'}"
    )


def require_classes(live: LiveModel, source: Source) -> None:
    """Check that the labels of a new model, which come from this source, are classes."""
    from stream_perceptron.diagnostics.diagnosis import find_label_problem

    if finding := find_label_problem(live):
        raise LabelsError(
            f"{source.name}: the labels are not classes ({finding.evidence}): "
            f"{finding.suggestion}; if they are classes, list them with --classes"
        )


def warn_of_unknown_classes(
    live: LiveModel, thresholds: Mapping[str, float] | None = None
) -> Iterator[str]:
    """Yield a warning for each label that has a class weight or threshold but occurs in no row."""
    weights, classes = live.model.class_weight, live.model.classes_
    spellings = [text for label in classes for text in list_spellings(label)]
    for flag, given in (("--class-weight", weights), ("--threshold", thresholds)):
        for label in given if isinstance(given, dict) else ():
            if label not in classes and (text := list_spellings(label)[0]) not in spellings:
                yield build_warning(
                    f"{flag}: no label is {text!r}{suggest_similar_name(text, spellings)}"
                )


def compute_baseline(live: LiveModel) -> dict[str, Any]:
    """Return the majority class, its share, and metrics that do not reward always predicting it.

    The metrics are None if no new row was tested.
    """
    labels = live.model.classes_
    metrics = live.progress.compute_metrics(len(labels))
    names = ("cohen_kappa", "balanced_accuracy", "macro_f1")
    is_tested = live.progress.accuracy is not None
    return {
        "majority_class": labels[metrics.majority_label] if metrics.baseline else None,
        "majority_share": metrics.baseline or None,
        **{name: getattr(metrics, name) if is_tested else None for name in names},
    }


def print_summary(
    printer: ProgressPrinter, path: Path | None, rejected: Rejections, last_line: str
) -> None:
    """Print the summary of a run: JSON on stdout, or text on stderr unless the run is quiet."""
    if printer.as_json:
        click.echo(json.dumps(_build_summary(printer, path, rejected), default=str))
    elif not printer.is_quiet:
        summary = rejected.format_summary(printer.n_new_rows)
        for text in [*summary, *_format_summary(printer.live), last_line]:
            print_message(text, err=True)


def _build_summary(
    printer: ProgressPrinter, path: Path | None, rejected: Rejections
) -> dict[str, object]:
    """Return the summary of a run for JSON output."""
    from stream_perceptron.diagnostics.diagnosis import collect_findings

    live = printer.live
    return {
        **printer.compute_figures(),
        **compute_baseline(live),
        "missing": live.progress.missing,
        "redelivered": live.n_redelivered,
        "stopped": live.stopped,
        "skipped_rows": rejected.first_texts,
        "classes": live.model.classes_,
        "model": None if path is None else str(path),
        "diagnosis": [finding.to_dict() for finding in collect_findings(live)],
    }


def _format_summary(live: LiveModel) -> Iterator[str]:
    """Yield the summary lines about labels, classes and the end of the run."""
    progress = live.progress
    if live.read_options.has_join:
        n_evicted, maximum = live.state.pending.n_evicted, live.read_options.max_pending
        evicted = f"; {n_evicted:,} evicted, as more than {maximum:,} were pending"
        n_pending = format_count(len(live.state.pending.samples), "sample")
        yield f"pending: {n_pending}{evicted if n_evicted else ''}"
        if (n := progress.n_untested) > 1:
            yield f"not scored: {n:,} samples, predicted before a label was known"
    elif progress.unlabeled and progress.samples:
        yield f"unlabeled: {format_count(progress.unlabeled, 'row')}, only predicted"
    if progress.missing:
        yield f"missing: {format_count(progress.missing, 'value')}"
    if live.n_redelivered:
        yield f"skipped: {format_count(live.n_redelivered, 'row')} already learned"
    if progress.samples and progress.updated_share < _USUAL_UPDATED_SHARE:
        yield f"updated: {progress.updated_share:.1%} of the samples changed the weights"
    if live.stopped:
        yield (
            f"stopped at sample {progress.samples:,}: its error, {live.model.last_error:.3g}, "
            "is below epsilon"
        )
    if (baseline := compute_baseline(live))["majority_share"]:
        yield _format_class_counts(live)
        share = f"{baseline['majority_share']:.2%} of the samples"
        yield f"majority class: {baseline['majority_class']}, {share}"
        if progress.confusion.tested:
            yield (
                f"kappa: {format_kappa(baseline['cohen_kappa'])}, balanced accuracy "
                f"{baseline['balanced_accuracy']:.2%}, macro F1 {baseline['macro_f1']:.2%}"
            )


def _format_class_counts(live: LiveModel) -> str:
    """Return the sample counts of the classes as text, or their range if there are many classes."""
    classes = live.model.classes_
    counts = live.progress.compute_metrics(len(classes)).label_counts.tolist()
    title = "classes of scored samples" if live.progress.n_untested > 1 else "classes"
    if len(classes) > _MAX_LISTED_CLASSES:
        return f"{title}: {len(classes):,}, with {min(counts):,} to {max(counts):,} samples each"
    class_counts = (f"{label} ({n:,})" for label, n in zip(classes, counts, strict=True))
    return f"{title}: {', '.join(class_counts)}"
