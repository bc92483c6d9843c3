"""Findings and falls of accuracy, printed while a model learns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_perceptron.live.drift import CAUSE, FELL

from .progress_line import ProgressLine

if TYPE_CHECKING:
    from stream_perceptron import LiveModel

_FIRST = 1000  # rows before the first diagnosis; then diagnose whenever the rows have doubled


class Watch:
    """Prints falls of accuracy when they are found, and findings as they appear and vanish.

    The model records what was printed, so that a resumed run does not repeat it.
    """

    def __init__(self, live: LiveModel, line: ProgressLine, read: int) -> None:
        self._live, self._line = live, line
        self._before = live.ledger.rows - read  # rows of earlier sources
        self._level = _level(read)

    def look(self) -> None:
        """Print new falls, and new findings if a diagnosis is due."""
        if self._live.ledger.has_untold:
            self._tell_changes()
        if (level := _level(self._live.ledger.rows - self._before)) > self._level:
            self._level = level
            self._tell_findings()

    def finish(self, diverged: bool = False) -> None:
        """Print new findings at the end, and name the earlier ones that still hold."""
        before = self._live.progress.told
        self._tell_changes()
        self._tell_findings(diverged)
        told = self._live.progress.told
        if still := [n for n in told if n in before and not self._line.has_warned(n)]:
            self._line.note(f"diagnosis, as before: {', '.join(still)}")

    def _tell_changes(self) -> None:
        progress = self._live.progress
        for change in progress.changes:
            if change.found > progress.told_row:
                progress.told_row = change.found
                # A fall is a finding until the model has recovered.
                progress.told = [name for name in progress.told if name != FELL]
                progress.told += [FELL] * change.is_fall
                self._line.event(
                    "fall" if change.is_fall else "recovery",
                    f"warning: {change}; {CAUSE}" if change.is_fall else str(change),
                    change.found,
                    near=change.row,
                    before=change.before,
                    after=change.after,
                    suggestion=CAUSE if change.is_fall else None,
                )

    def _tell_findings(self, diverged: bool = False) -> None:
        from stream_perceptron.diagnostics.diagnosis import findings_in

        live, line = self._live, self._line
        if line.is_quiet:
            return
        findings, before = findings_in(live, diverged), live.progress.told
        live.progress.told = [finding.name for finding in findings]
        for finding in findings:
            if finding.name not in before and not line.has_warned(finding.name):
                line.event("finding", f"diagnosis: {finding}", **vars(finding))
        for name in before:
            if name not in live.progress.told:
                line.event("resolved", f"no longer: {name}", name=name)


def _level(rows: int) -> int:
    """Return how often the rows have doubled since `_FIRST`."""
    return (rows // _FIRST).bit_length()
