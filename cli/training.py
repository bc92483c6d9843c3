"""The loop of a run that trains a model: messages, saves and the summary."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from stream_perceptron import DivergedError, ModelSizeError
from stream_perceptron.live.step_result import StepResult

from .command import Options
from .opening import OpenedRun
from .output import (
    MIN_CHECKED_LABELS,
    LabelsError,
    ProgressPrinter,
    print_summary,
    require_classes,
    require_labels,
    warn_of_unknown_classes,
    warn_of_unseen_columns,
)
from .reading import describe_lost_bytes, suggest_skip_bad
from .rejections import Rejections
from .saver import Saver
from .signals import Signals

if TYPE_CHECKING:
    from stream_perceptron.distributed.ray import Round


def train(
    options: Options,
    opened: OpenedRun,
    results: Iterable[StepResult | Round],
    printer: ProgressPrinter,
    saver: Saver,
    signals: Signals,
) -> None:
    """Report each result and save when it is due; at the end, save and print the summary."""
    live, rejections = opened.live, Rejections()
    # Labels that are not classes end the run of a new model that was not told its classes.
    must_check_labels = live.is_unused and live.model.classes is None
    try:
        with suggest_skip_bad():
            for result in results:
                rejections.add(result.rejected)
                if must_check_labels and live.model.n_seen >= MIN_CHECKED_LABELS:
                    _require_classes(opened, saver)
                    must_check_labels = False
                printer.update(result)
                saver.save_if_due()
        printer.finish()
        if must_check_labels:
            _require_classes(opened, saver)
    except LabelsError:
        printer.finish()
        raise
    except MemoryError:
        _finish_after_error(printer, saver)
        n_labels, n_features = len(live.model.classes_), len(live.model.features_)
        raise ModelSizeError(
            f"out of memory with {n_labels:,} labels and {n_features:,} features"
        ) from None
    except ValueError as error:
        _finish_after_error(printer, saver, isinstance(error, DivergedError))
        raise
    _finish(options, opened, rejections, printer, saver, signals)


def _require_classes(opened: OpenedRun, saver: Saver) -> None:
    """Check that the labels of a new model that has not been saved are classes."""
    if not saver.has_saved:
        require_classes(opened.live, opened.files[0].source)


def _finish(
    options: Options,
    opened: OpenedRun,
    rejections: Rejections,
    printer: ProgressPrinter,
    saver: Saver,
    signals: Signals,
) -> None:
    """Save the model and print the summary; raise an error if no row could be used."""
    live, files = opened.live, opened.files
    # Without a signal, leftover bytes were read beyond --limit or --stop.
    for file in files if signals.is_set else []:
        if text := describe_lost_bytes(file.source):
            printer.print_notice(text)
    printer.print_findings()  # before saving, because the checkpoint records the printed events
    path = saver.path if saver.save() else None
    if opened.has_only_rejected and not signals.is_set:
        if path is not None:
            printer.print_notice(f"saved {path}")
        raise rejections.build_error(opened.n_read)
    if "limit" not in options.given and not signals.is_set:
        require_labels(printer, files[0].source)
    if printer.n_new_rows:
        thresholds = options.threshold if "threshold" in options.given else None
        for text in (*warn_of_unseen_columns(live), *warn_of_unknown_classes(live, thresholds)):
            printer.print_notice(text)
    elif not live.is_unused:
        printer.print_notice("no new rows" if signals.is_set else _explain_no_new_rows(opened))
    last_line = f"saved {path}"
    if saver.path is None:
        last_line = "model not saved; use -m MODEL to keep it"
    elif path is None:
        last_line = "nothing to save: no row was learned"
    if signals.caught == signal.SIGINT:
        last_line = f"interrupted; {last_line}"
    print_summary(printer, path, rejections, last_line)


def _explain_no_new_rows(opened: OpenedRun) -> str:
    """Return the reason why no row was learned."""
    if opened.live.n_redelivered:
        return "nothing new: every row was already learned"
    if opened.live.stopped:
        return "nothing new: the run has already stopped"
    return "nothing new: all requested rows were already learned"


def _finish_after_error(printer: ProgressPrinter, saver: Saver, diverged: bool = False) -> None:
    """Report and save the progress made before an error."""
    printer.finish()
    with suppress(MemoryError):  # saving matters more than findings
        printer.print_findings(diverged)
    if saver.path is None or not printer.n_new_rows:
        return
    if not printer.live.is_consistent:
        printer.print_notice(f"{saver.path} still has the last save, because a step did not finish")
    elif saver.save():
        printer.print_notice(f"saved {saver.path}")
