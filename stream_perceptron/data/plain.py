"""Plain records of text, read many at once by the compiled reader where there is one.

A plan says how the records of a decoder are read, once they are known to be alike. What it cannot
read with certainty is left to the decoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from itertools import chain
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from stream_perceptron.data.batch import LONGEST_LINE, RawLines
from stream_perceptron.errors import SampleError
from stream_perceptron.frozen import frozen
from stream_perceptron.model.rows import Names, Rows
from stream_perceptron.model.vocabulary import FirstNames

try:
    text: Any = import_module("stream_perceptron.data._text")
except ImportError:  # there was no compiler
    text = None

# The role of a value that is no feature; the first span is of the label, others of texts.
SKIP, BLANK, WEIGHT, NESTED, ODD, LABEL = -1, -2, -3, -4, -5, -10
# That of the first value that is copied to predictions, in front of its other role.
KEPT = -1_000_000

_LARGEST = float(np.finfo(np.float64).max)
_MOST_MISFITS = 8  # records in which features are absent, before all are taken for such ones

# Returns what some bytes stand for: a label, or the feature that is 1 for a text, None for none.
Reading = Callable[[bytes], Any]


@frozen
class Block:
    """Records that were read together."""

    rows: Rows
    labels: list[Any]
    weights: NDArray[np.float64]
    missing: NDArray[np.intp] | None  # how many features each lacks; None for none
    indicators: frozenset[str] = frozenset()
    kept: Sequence[tuple[Any, ...]] = ()  # what goes with each

    def __len__(self) -> int:
        return len(self.labels)


class Plan(Protocol):
    """How plain records are read."""

    def reader(self, lines: RawLines) -> Reader:
        """Return what reads these lines."""


class Reader(Protocol):
    """Reads lines by a plan, from any on."""

    def read(self, first: int) -> Block | None:
        """Return the plain records from one on, None if that one is not plain."""


class _SpanPlan:
    """What plans have in common: labels and texts, and how features are scaled.

    Parameters
    ----------
    spans
        What the bytes of the label stand for, None if there is no label, and after it those of
        each text that makes features.
    kept
        The same of what goes with predictions.
    scale
        What features are multiplied by.

    """

    def __init__(
        self, spans: Sequence[Reading | None], kept: Sequence[Reading], scale: float | None
    ) -> None:
        self.spans, self.kept = spans, kept
        self.scale = 1.0 if scale is None else scale
        self.kinds: tuple[DTypeLike, ...] = (np.float64,)
        self._known: list[dict[bytes | None, Any]] = [{None: None} for _ in spans]

    def read_spans(
        self, data: bytes, places: NDArray[np.intp]
    ) -> tuple[list[list[Any]], list[tuple[Any, ...]]]:
        """Return what stands at some places, shape (spans, n, 2), up to the first that is odd.

        That is labels, texts, and what is kept of each record.
        """
        n = places.shape[1]
        found: list[list[Any]] = []
        # What is kept is mostly another thing in each record.
        here: list[dict[bytes | None, Any]] = [{None: None} for _ in self.kept]
        for reading, known, spans in zip(
            [*self.spans, *self.kept], [*self._known, *here], places, strict=True
        ):
            if reading is None:
                found.append([None] * n)
                continue
            cells = text.cut(data, spans[:n])
            try:
                for each in dict.fromkeys(cells):
                    if each not in known:
                        known[each] = reading(each)
            except (SampleError, UnicodeDecodeError):
                del cells[cells.index(each) :]
            found.append(list(map(known.__getitem__, cells)))
            n = len(cells)
        first = len(self.spans)
        kept = list(zip(*(values[:n] for values in found[first:]), strict=True))
        return [values[:n] for values in found[:first]], kept

    def scaled(self, values: NDArray[Any]) -> NDArray[np.float64] | None:
        """Return values times the scale as doubles; None if one would be too large."""
        with np.errstate(over="ignore"):
            scaled = np.multiply(values, self.scale, dtype=np.float64)
        return None if abs(self.scale) > 1.0 and np.isinf(scaled).any() else scaled


class _SpanReader(ABC):
    def __init__(self, plan: _SpanPlan, lines: RawLines) -> None:
        n = len(lines)
        self._plan, self._lines = plan, lines
        self._where = lines.data, lines.begin, lines.ends
        self._spans = np.zeros((len(plan.spans) + len(plan.kept), n, 2), np.intp)
        self._spans[..., 1] = -1  # for what no record has
        self._missing = np.zeros(n, np.intp)
        self._weights = np.ones(n)

    def read(self, first: int) -> Block | None:
        """Return the plain records from one on, None if that one is not plain."""
        plan = self._plan
        for kind in plan.kinds:
            end = self._parse(first, kind)
            if end == first:
                continue
            plan.kinds = plan.kinds[plan.kinds.index(kind) :]
            found, kept = plan.read_spans(self._lines.data, self._spans[:, first:end])
            block = self._block(first, kind, found) if found[0] else None
            if block is not None and kept:
                return replace(block, kept=kept[: len(block)])
            return block
        return None

    @cached_property
    def _is_utf8(self) -> bool:
        """Whether the lines are UTF-8 beyond ASCII."""
        try:
            return not str(self._lines.text, "utf-8").isascii()
        except UnicodeDecodeError:
            return False

    @abstractmethod
    def _parse(self, first: int, kind: DTypeLike) -> int:
        """Read the records from one on; return the first that is not plain."""

    @abstractmethod
    def _block(self, first: int, kind: DTypeLike, found: list[list[Any]]) -> Block | None:
        """Return the records from one on, with what stands in their spans; None for none."""

    def _counted(self, part: slice) -> NDArray[np.intp] | None:
        missing = self._missing[part]
        return missing if missing.any() else None


class TablePlan(_SpanPlan):
    """Records that are all of one layout, with a value or a blank for each feature."""

    def __init__(
        self,
        layout: Any,
        names: Names,
        are_columns: bool,
        spans: Sequence[Reading | None],
        kept: Sequence[Reading],
        scale: float | None,
    ) -> None:
        super().__init__(spans, kept, scale)
        self.layout, self.names = layout, names
        self.n_columns = len(names) if are_columns else 0
        # Features are read as bytes as long as all are such numbers.
        if np.isfinite(255 * self.scale) and len(spans) == 1:
            self.kinds = np.uint8, np.float64

    def reader(self, lines: RawLines) -> Reader:
        """Return what reads these lines."""
        return _TableReader(self, lines)


class _TableReader(_SpanReader):
    _plan: TablePlan

    def __init__(self, plan: TablePlan, lines: RawLines) -> None:
        super().__init__(plan, lines)
        self._values: dict[DTypeLike, NDArray[Any]] = {}

    def _parse(self, first: int, kind: DTypeLike) -> int:
        values = self._values.get(kind)
        if values is None:
            shape = len(self._lines), len(self._plan.names)
            values = self._values[kind] = np.empty(shape, kind)
        layout, out = self._plan.layout, (values, self._spans, self._missing, self._weights)
        end = text.table(*self._where, first, False, layout, *out)
        if end == first and layout.is_json and self._is_utf8:
            end = text.table(*self._where, first, True, layout, *out)
        return int(end)

    def _block(self, first: int, kind: DTypeLike, found: list[list[Any]]) -> Block | None:
        plan = self._plan
        labels, *texts = found
        part = slice(first, first + len(labels))
        values, there, scale = self._values[kind][part], None, plan.scale
        if kind is not np.uint8:
            scaled = plan.scaled(values)
            if scaled is None:
                return None
            values, there, scale = scaled, ~np.isnan(scaled), 1.0
        rows = Rows.of_table(plan.names, values, there, scale, plan.n_columns)
        indicators: frozenset[Any] = frozenset()
        if texts:
            names = list(chain.from_iterable(texts))
            rows = rows.with_ones(np.tile(np.arange(len(labels)), len(texts)), names)
            indicators = frozenset(names) - {None}
        return Block(rows, labels, self._weights[part], self._counted(part), indicators)


class _SparsePlan(_SpanPlan):
    """Records that each have some of the features, under their names.

    Parameters
    ----------
    roles
        The role of each name that is no feature.
    numbers
        The features that are known; those of records that are learned are added.
    is_open
        Whether there may be others.
    spans, scale
        As for other plans.
    largest
        The largest number that a feature may be; a record with a larger one is not learned.

    """

    def __init__(
        self,
        roles: Mapping[str, int],
        numbers: dict[str, None],
        is_open: bool,
        spans: Sequence[Reading | None],
        scale: float | None,
        largest: float,
    ) -> None:
        super().__init__(spans, (), scale)
        self.names, self.is_open = text.Names(), is_open
        self.features: list[Any] = []  # the names of the features, by their places
        self._numbers, self._largest = numbers, largest
        for name, role in roles.items():
            self.names.add(as_bytes(name), role)
        self._is_counted = np.zeros(0, bool)  # which features are among the numbers
        self.learn(numbers)

    def learn(self, numbers: Iterable[str]) -> None:
        """Add features that are among the numbers."""
        self._is_counted, n = self._counted(), self.names.n_features
        for name in numbers:
            self.names.add(as_bytes(name), 0)
        self._is_counted = self._counted()
        self._is_counted[n:] = True

    def pass_over(self, names: Iterable[str]) -> None:
        """Add names that are no features, whatever stands there."""
        for name in names:
            self.names.add(as_bytes(name), SKIP)

    def _counted(self) -> NDArray[np.bool_]:
        """Return which features are among the numbers, those that are new not."""
        new = np.zeros(self.names.n_features - len(self._is_counted), bool)
        return np.concatenate([self._is_counted, new]) if len(new) else self._is_counted

    def rows(self, starts: NDArray[np.intp], columns: Any, values: Any) -> Rows | None:
        """Return rows; None if a value would be too large."""
        scaled = self.scaled(values)
        if scaled is None:
            return None
        if len(self.features) < self.names.n_features:
            new = self.names.features(len(self.features))
            self.features += [name.decode(errors="surrogatepass") for name in new]
        # The arrays that were read into are used again.
        return Rows(FirstNames(self.features), starts.copy(), columns.copy(), scaled)

    def count(self, rows: Rows, labels: Sequence[Any]) -> None:
        """Add the features of the records that are learned to the numbers."""
        self._is_counted = self._counted()
        first = int(np.argmin(self._is_counted)) if len(self._is_counted) else 0
        rest, columns = self._is_counted[first:], rows.places
        if rest.all():
            return
        if None in labels or (self._largest < _LARGEST and rows.largest() > self._largest):
            learned = np.array([label is not None for label in labels])
            learned &= ~rows.beyond(self._largest)
            columns = columns[np.repeat(learned, rows.lengths)]
        occurs = np.zeros(len(rest), bool)
        occurs[columns[columns >= first] - first] = True
        new = np.flatnonzero(occurs & ~rest)
        rest[new] = True
        self._numbers.update(dict.fromkeys([self.features[first + i] for i in new.tolist()]))


class _SparseReader(_SpanReader):
    _plan: _SparsePlan

    def __init__(self, plan: _SparsePlan, lines: RawLines, shortest: int) -> None:
        super().__init__(plan, lines)
        most = len(lines.text) // shortest + 1
        self._starts = np.zeros(len(lines) + 1, np.intp)
        self._cells = np.empty(most, np.int32), np.empty(most)

    def _begin(self, first: int) -> tuple[NDArray[Any], ...]:
        """Return where features from a row on go."""
        self._starts[first] = 0
        return self._starts, *self._cells

    def _block(self, first: int, kind: DTypeLike, found: list[list[Any]]) -> Block | None:
        (labels,) = found
        part = slice(first, first + len(labels))
        starts = self._starts[first : part.stop + 1]
        rows = self._plan.rows(starts, *(cells[: starts[-1]] for cells in self._cells))
        if rows is None:
            return None
        self._plan.count(rows, labels)
        rows = rows.without_unused_names()
        return Block(rows, labels, self._weights[part], self._counted(part))


class LibsvmPlan(_SparsePlan):
    """Records of LIBSVM."""

    def reader(self, lines: RawLines) -> Reader:
        """Return what reads these lines."""
        return _LibsvmReader(self, lines, shortest=4)


class _LibsvmReader(_SparseReader):
    def _parse(self, first: int, kind: DTypeLike) -> int:
        plan, out = self._plan, self._begin(first)
        end = text.libsvm(*self._where, first, plan.names, plan.is_open, *out, self._spans)
        return int(end)


class ObjectPlan(_SparsePlan):
    """Objects of JSON that have some of the features each, beside other keys or in an object.

    Parameters
    ----------
    roles
        The role of each name that is no feature, of those beside the features.
    outside
        The same of the keys around the object that holds the features, None if there is none.
    layout
        Has the texts that mean no value.
    table
        How records are read that have all that one had, in its order; None if that is not known.
    to_label
        Returns the label that some bytes stand for; None if there is no label.
    numbers, is_open, scale, largest
        As for other plans.

    """

    def __init__(
        self,
        roles: Mapping[str, int],
        outside: Mapping[str, int] | None,
        numbers: dict[str, None],
        layout: Any,
        table: TablePlan | None,
        is_open: bool,
        to_label: Reading | None,
        scale: float | None,
        largest: float,
    ) -> None:
        super().__init__(roles, numbers, is_open, [to_label], scale, largest)
        self.outside, self.layout, self.table = self.names, layout, table
        if outside is not None:
            self.outside = text.Names()
            for name, role in outside.items():
                self.outside.add(as_bytes(name), role)
        self.needs_label = to_label is not None
        self._misfits = 0

    def fit_not(self) -> None:
        """Take note of records that do not have all that one had."""
        self._misfits += 1
        if self._misfits > _MOST_MISFITS:
            self.table = None

    def reader(self, lines: RawLines) -> Reader:
        """Return what reads these lines."""
        return _ObjectReader(self, lines, shortest=5)


class _ObjectReader(_SparseReader):
    _plan: ObjectPlan

    def __init__(self, plan: ObjectPlan, lines: RawLines, shortest: int) -> None:
        super().__init__(plan, lines, shortest)
        self._table = None if plan.table is None else plan.table.reader(lines)

    def read(self, first: int) -> Block | None:
        block = None if self._table is None else self._table.read(first)
        if block is None:
            block = super().read(first)
            if block is not None:
                self._plan.fit_not()
        return block

    def _parse(self, first: int, kind: DTypeLike) -> int:
        plan, out = self._plan, self._begin(first)

        def read(is_utf8: bool) -> int:
            end = text.objects(
                *self._where, first, is_utf8, plan.layout, plan.outside, plan.names,
                plan.outside is not plan.names, plan.is_open, plan.needs_label, *out, self._spans,
                self._missing, self._weights,
            )  # fmt: skip
            return int(end)

        end = read(False)
        return read(True) if end == first and self._is_utf8 else end


def layout_of(
    roles: Sequence[tuple[int, int | None]],
    literals: Sequence[bytes],
    blanks: Sequence[bytes],
    delimiter: bytes = b"",
    blanks_first: bool = False,
) -> Any:
    """Return how values of these roles stand between literals.

    The second role of a value, if it has one, is that of being copied to the predictions.
    """
    all_roles: list[int] = []
    all_literals = [literals[0]]
    for (role, kept), literal in zip(roles, literals[1:], strict=True):
        if kept is not None:
            all_roles.append(kept)
            all_literals.append(b"")
        all_roles.append(role)
        all_literals.append(literal)
    return text.Layout(all_literals, all_roles, blanks, delimiter, blanks_first)


def refused(data: bytes) -> NoReturn:
    """Refuse a label, as its record is for the reference parser."""
    raise SampleError("a record that is learned may change how others are read")


def as_bytes(name: str) -> bytes:
    """Return a name as it stands in UTF-8; one that cannot stand there is never met."""
    return name.encode(errors="surrogatepass")


def can_be_plain(lines: RawLines) -> bool:
    """Whether lines are such that a plan may read them."""
    if text is None or lines.are_too_long or not len(lines):
        return False
    return len(lines.text) <= LONGEST_LINE or int(lines.lengths.max()) <= LONGEST_LINE


def line_ends(data: bytes) -> NDArray[np.intp]:
    """Return where each line ends in some bytes, behind its newline."""
    if text is not None:
        return np.asarray(text.line_ends(data))
    return np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
