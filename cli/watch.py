"""Reports drift events and findings while a model learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_perceptron.live.drift import explain_drop
from stream_perceptron.live.findings import FindingCode

from .progress_line import ProgressLine

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.live.history import Run

_MIN_DIAGNOSED = 4000  # rows, before which findings are not reported


class EventReporter:
    """Prints drift events when they are detected, and each finding once per run.

    The model records which events were printed, so that a resumed run does not repeat them.
    """

    def __init__(self, live: LiveModel, line: ProgressLine, run: Run) -> None:
        self._live, self._line, self._run = live, line, run
        self._printed: set[FindingCode] = set()

    def update(self, is_report_due: bool) -> None:
        """Print new drift events, and new findings if a report is due."""
        progress = self._live.progress
        if progress.events and progress.events[-1].found > progress.reported_row:
            self._print_events()
        if is_report_due and self._run.read >= _MIN_DIAGNOSED:
            self._print_findings()

    def finish(self, diverged: bool = False) -> None:
        """Print the findings that hold at the end and have not been printed in this run."""
        self._print_events()
        self._print_findings(diverged)

    def _print_events(self) -> None:
        """Print the unreported drift events, and mark them as reported in the model."""
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
            # A drop is a finding until the model has recovered.
            code = FindingCode.RECALL_DROPPED
            if event.is_overall:
                code = FindingCode.ACCURACY_DROPPED
            self._printed.discard(code)
            self._printed.update([code] * event.is_drop)
            self._line.print_event(
                event.kind, text, event.found,
                near=event.row, before=event.before, after=event.after,
                suggestion=cause, **{"class": event.to_dict(model.classes_)["class"]},
            )  # fmt: skip

    def _print_findings(self, diverged: bool = False) -> None:
        """Print the findings that have not been printed in this run, unless --quiet is given."""
        from stream_perceptron.diagnostics.diagnosis import collect_findings

        if self._line.is_quiet:
            return
        for finding in collect_findings(self._live, diverged):
            if finding.code not in self._printed and finding.code not in self._line.printed_codes:
                self._line.print_event("finding", f"diagnosis: {finding}", **finding.to_dict())
            self._printed.add(finding.code)
