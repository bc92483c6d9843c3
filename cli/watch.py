"""Drift events and findings, printed while a model learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_perceptron.live.drift import (
    ACCURACY_DROPPED,
    RECALL_DROPPED,
    EventKind,
    explain_drop,
)

from .progress_line import ProgressLine

if TYPE_CHECKING:
    from stream_perceptron import LiveModel

_FIRST_DIAGNOSIS = 4000  # rows; the next ones follow whenever the rows have doubled


class Watch:
    """Prints drift events when they are found, and findings once in a run.

    The model records which events were printed, so that a resumed run does not repeat them.
    """

    def __init__(self, live: LiveModel, line: ProgressLine, read: int) -> None:
        self._live, self._line = live, line
        self._before = live.ledger.rows - read  # rows of earlier sources
        self._level = _level(read)
        self._printed: set[str] = set()  # the names of findings

    def look(self) -> None:
        """Print new drift events, and new findings if a diagnosis is due."""
        if self._live.ledger.has_unreported_event:
            self._print_events()
        if (level := _level(self._live.ledger.rows - self._before)) > self._level:
            self._level = level
            self._print_findings()

    def finish(self, diverged: bool = False) -> None:
        """Print the findings that hold at the end and were not printed in this run."""
        self._print_events()
        self._print_findings(diverged)

    def _print_events(self) -> None:
        progress, model = self._live.progress, self._live.model
        reported_row = progress.reported_row
        for event in progress.events:
            if event.found <= reported_row:
                continue
            progress.reported_row = event.found
            text, cause = event.describe(model.classes_), None
            if event.is_drop:
                cause = explain_drop(event.is_overall, model.class_weight is not None)
                text = f"warning: {text}; {cause}"
            if event.kind != EventKind.LABEL_MIX:
                # A drop is a finding until the model has recovered.
                finding = ACCURACY_DROPPED if event.is_overall else RECALL_DROPPED
                self._printed.discard(finding)
                self._printed.update([finding] * event.is_drop)
            self._line.event(
                event.kind, text, event.found,
                near=event.row, before=event.before, after=event.after,
                suggestion=cause, **{"class": event.to_dict(model.classes_)["class"]},
            )  # fmt: skip

    def _print_findings(self, diverged: bool = False) -> None:
        from stream_perceptron.diagnostics.diagnosis import findings_in

        if self._line.is_quiet:
            return
        for finding in findings_in(self._live, diverged):
            if finding.name not in self._printed and not self._line.has_warned(finding.name):
                self._line.event("finding", f"diagnosis: {finding}", **vars(finding))
            self._printed.add(finding.name)


def _level(rows: int) -> int:
    """Return how often the rows have doubled since the first diagnosis."""
    return (rows // _FIRST_DIAGNOSIS).bit_length()
