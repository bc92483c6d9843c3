"""Rejected rows by reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .terminal import format_count

if TYPE_CHECKING:
    from stream_perceptron import SampleError
    from stream_perceptron.data.batch import Rejection

_MAX_GROUPS = 10
_MAX_FIRST_TEXTS = 10


class Rejections:
    """Counts rejected rows by reason, and keeps the first row for each reason.

    Attributes
    ----------
    total
        The number of rejected rows.
    first_texts
        The first rejected rows, each with its location and reason.

    """

    def __init__(self) -> None:
        self.total = 0
        self.first_texts: list[str] = []
        self._groups: dict[str, list[int | str]] = {}

    def add(self, rejections: Iterable[Rejection]) -> None:
        """Count the rejected rows of another batch."""
        for rejection in rejections:
            self.total += 1
            if len(self.first_texts) < _MAX_FIRST_TEXTS:
                self.first_texts.append(str(rejection))
            code = rejection.reason.code
            if code in self._groups or len(self._groups) < _MAX_GROUPS:
                group = self._groups.setdefault(code, [str(rejection), 0])
                group[1] = int(group[1]) + 1

    def build_error(self, rows: int) -> SampleError:
        """Return the error of a run whose rows were all rejected."""
        from stream_perceptron import SampleError

        first = f"; the first error: {self.first_texts[0]}" if self.first_texts else ""
        return SampleError(f"no usable row among {format_count(rows, 'row')}{first}")

    def format_summary(self, rows: int) -> list[str]:
        """Return the lines of the summary, given the number of rows read."""
        if not self.total:
            return []
        lines = []
        n_remaining = self.total
        for first, count in self._groups.values():
            line = f"skipped: {first}"
            if int(count) > 1:
                line = f"{line}; {int(count) - 1:,} more like it"
            lines.append(line)
            n_remaining -= int(count)
        if n_remaining:
            lines.append(f"skipped: {n_remaining:,} more for other reasons")
        return [*lines, f"skipped: {self.total:,} of {rows:,} rows, {self.total / rows:.1%}"]
