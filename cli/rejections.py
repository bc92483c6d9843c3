"""Rejected rows: their summary, and their lines of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .predictions import Lines, replace_infinities

if TYPE_CHECKING:
    from stream_perceptron.data.batch import Rejection
    from stream_perceptron.live.step_result import StepResult

_MOST_GROUPS = 10
_MOST_LISTED = 10

# The parts of a reason that differ from row to row.
_VALUE = r"(?<= is ).+?(?=, |$)|(?<=label )'.*?'|(?<=--missing ).*|\d[\d,]*"


class Rejections:
    """Counts of rejected rows by reason, with the first row of each."""

    def __init__(self) -> None:
        self.total = 0
        self.first: list[str] = []
        self._groups: dict[str, list[int | str]] = {}

    def add(self, rejections: Iterable[Rejection]) -> None:
        """Count more rejected rows."""
        for rejection in rejections:
            self.total += 1
            if len(self.first) < _MOST_LISTED:
                self.first.append(str(rejection))
            reason = re.sub(_VALUE, "...", rejection.why)
            if reason in self._groups or len(self._groups) < _MOST_GROUPS:
                group = self._groups.setdefault(reason, [str(rejection), 0])
                group[1] = int(group[1]) + 1

    def lines(self, rows: int) -> list[str]:
        """Return the lines of the summary, given the number of rows read."""
        if not self.total:
            return []
        lines = []
        others = self.total
        for first, count in self._groups.values():
            more = f" (and {int(count) - 1:,} more like it)" if int(count) > 1 else ""
            lines.append(f"skipped: {first}{more}")
            others -= int(count)
        if others:
            lines.append(f"skipped: {others:,} more for other reasons")
        return [*lines, f"skipped: {self.total:,} of {rows:,} rows, {self.total / rows:.1%}"]


class RejectedLines(Lines):
    """Rejected rows as lines of JSON, with their text, or their values by name."""

    content = "rejected rows"
    beginnings = (b'{"source": ',)

    def __call__(self, result: StepResult) -> Iterator[str]:
        for source, row, why, held in result.rejected:
            line: dict[str, Any] = {"source": source, "row": row, "reason": why}
            content = None if held is None else held()
            if isinstance(content, list):
                line["values"] = replace_infinities(content[0])
            else:
                line["line"] = content and content.removesuffix("\n").removesuffix("\r")
            yield json.dumps(line, default=str) + "\n"
