"""Drops of accuracy and findings, printed while a model learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_perceptron.live.drift import FELL, explain_fall

from .progress_line import ProgressLine

if TYPE_CHECKING:
    from stream_perceptron import LiveModel

_FIRST_DIAGNOSIS = 4000  # rows; the next ones follow whenever the rows have doubled


class Watch:
    """Prints drops of accuracy and recoveries when they are found, and findings once in a run.

    The model records which drops and recoveries were printed, so that a resumed run does not repeat
    them.
    """

    def __init__(self, live: LiveModel, line: ProgressLine, read: int) -> None:
        self._live, self._line = live, line
        self._before = live.ledger.rows - read  # rows of earlier sources
        self._level = _level(read)
        self._printed: set[str] = set()  # the names of findings

    def look(self) -> None:
        """Print new drops and recoveries, and new findings if a diagnosis is due."""
        if self._live.ledger.has_unreported_change:
            self._print_changes()
        if (level := _level(self._live.ledger.rows - self._before)) > self._level:
            self._level = level
            self._print_findings()

    def finish(self, diverged: bool = False) -> None:
        """Print the findings that hold at the end and were not printed in this run."""
        self._print_changes()
        self._print_findings(diverged)

    def _print_changes(self) -> None:
        progress = self._live.progress
        cause = explain_fall(self._live.model.class_weight is not None)
        for change in progress.changes:
            if change.found > progress.reported_row:
                progress.reported_row = change.found
                # A drop is a finding until the model has recovered.
                self._printed.discard(FELL)
                self._printed.update([FELL] * change.is_fall)
                self._line.event(
                    "fall" if change.is_fall else "recovery",
                    f"warning: {change}; {cause}" if change.is_fall else str(change),
                    change.found,
                    near=change.row,
                    before=change.before,
                    after=change.after,
                    suggestion=cause if change.is_fall else None,
                )

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
