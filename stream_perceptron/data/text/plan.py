"""Plans to read plain records of text many at once, by the compiled tokenizer.

A plan is made from one record that could be used. Records that it cannot read go to the decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data import roles
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.data.text.records import RawLines, tokenizer
from stream_perceptron.errors import SampleError
from stream_perceptron.model.rows import Names, Rows
from stream_perceptron.model.vocabulary import FirstNames


class Place(NamedTuple):
    """The role and the name of a value."""

    role: int  # the number of a feature; else one of the tokenizer's roles
    name: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Layout:
    """The roles of values in records, by place or by name."""

    form: int
    by_place: Sequence[Place] = ()  # of a CSV record or a list
    by_name: Mapping[str, int] | None = None  # the role of each member or pair; None for a list
    inside: Mapping[str, int] | None = None  # likewise in the object with the features
    features: Names = ()  # the names of features by place
    is_open: bool = False  # whether other features may come
    label: str | None = None
    parse: Callable[[bytes], Any] = bytes.decode  # converts the bytes of a value
    is_text: bool = True  # whether numbers are written as texts
    delimiter: str = "\0"
    are_texts_blank: bool = True  # whether texts in a list may be missing values
    are_blanks_numbers: bool = False  # whether missing values may look like numbers
    surrogates: str = "surrogatepass"  # the error handler for bytes that are not UTF-8


@dataclass(frozen=True, eq=False, repr=False)
class PlainRecords:
    """Records read by a plan."""

    rows: Rows
    labels: list[Any]
    weights: NDArray[np.float64]
    missing: NDArray[np.intp] | None  # the number of missing features of each; None for none
    indicators: frozenset[str]
    kept: Sequence[tuple[Any, ...]]  # values of the kept columns of each
    new_names: Sequence[str]  # features that are learned here for the first time

    def __len__(self) -> int:
        return len(self.labels)


class Plan:
    """Reads plain records by a layout and a schema.

    If the schema comes from a record that was not learned, the plan is tentative and leaves records
    to learn to the decoder.
    """

    def __init__(
        self,
        layout: Layout,
        selection: Selection,
        schema: Schema,
        to_learn: bool,
        is_tentative: bool,
    ) -> None:
        self._layout, self._selection, self._schema = layout, selection, schema
        self._to_learn, self._is_tentative = to_learn, is_tentative
        self._joins = selection.joins  # if so, rows without a label count as learned
        self._is_table = bool(layout.by_place)
        self._names: Any = None if layout.by_name is None else tokenizer.NameTable()
        self._inside: Any = None if layout.inside is None else tokenizer.NameTable()
        # The table of features read by name.
        self._table: Any = self._names if self._inside is None else self._inside
        # Values whose place is recorded: (is inside the object with the features, name) to slot.
        self._texts = [
            (is_inside, name)
            for is_inside in ([False] if layout.inside is None else [True, False])
            for name in selection.one_hot
            if name != layout.label and name not in selection.roles
        ]
        self._slots: dict[tuple[bool, str | None], int] = {(False, layout.label): 0}
        for key in (*self._texts, *((False, name) for name in selection.kept)):
            self._slots.setdefault(key, len(self._slots))
        self._known: list[dict[bytes | None, Any]] = [{None: None} for _ in self._slots]
        # Arrays that are reused, because the system clears new memory.
        self._columns, self._values = np.empty(0, np.int32), np.empty(0)
        self._features: list[Any] = []  # the names of features read by name
        self._is_known = np.zeros(0, bool)  # which of these are learned
        self._add({name: role for name, role in (layout.by_name or {}).items() if role})
        self._add({name: role for name, role in (layout.inside or {}).items() if role}, True)
        if not self._is_table:
            # Add learned features first, so that numbers do not depend on the record.
            learned = schema.numbers if schema.features is None else schema.features
            n_learned = self._add(dict.fromkeys(learned, 0), self._inside is not None)
            self._is_known = np.ones(n_learned, bool)
            self.extend(layout, schema, is_tentative)
        # The order of a table's features in records, if it is not that of their numbers.
        numbers = [role for role, _ in layout.by_place if role >= 0]
        self._order = None if numbers == sorted(numbers) else np.argsort(numbers)
        by_place = [(role, self._slots.get((False, name), -1)) for role, name in layout.by_place]
        self._tokenizer = tokenizer.Tokenizer(
            layout.form, by_place, self._names, self._inside, layout.is_open,
            tokenizer.EITHER if self._joins else layout.label is not None,
            [blank.encode(errors=layout.surrogates) for blank in selection.blanks],
            layout.delimiter.encode(), layout.are_texts_blank, layout.are_blanks_numbers,
        )  # fmt: skip

    def extend(self, layout: Layout, schema: Schema, is_tentative: bool) -> bool:
        """Add the names of a further record; return False if its layout is too different."""
        before = self._layout.label, self._inside is None, self._is_tentative
        is_alike = before == (layout.label, layout.inside is None, is_tentative)
        if self._is_table or self._schema != schema or not is_alike:
            return False
        self._add(layout.by_name or {})
        self._add(layout.inside or {}, True)
        return True

    def _add(self, names: Mapping[str, int], is_inside: bool = False) -> int:
        """Add missing names with their roles; return the number of features in the table."""
        table = self._inside if is_inside else self._names
        for name, role in names.items():
            slot = self._slots.get((is_inside, name), -1)
            table.add(name.encode(errors="surrogatepass"), role, slot)
        return len(table or ())

    def read(self, lines: RawLines, first: int) -> PlainRecords | None:
        """Return the plain records from `first` on; None if that record is not plain."""
        n, start = len(lines), int(lines.ends[first - 1]) if first else lines.begin
        # Every pair or member has at least four bytes.
        most = (int(lines.ends[-1]) - start) // 4 + 1
        if self._is_table:
            most = (n - first) * len(self._layout.features) + 1
        starts, missing, weights = np.zeros(n + 1, np.intp), np.empty(n, np.intp), np.empty(n)
        if most > len(self._values):
            self._columns, self._values = np.empty(most, np.int32), np.empty(most)
        spans = np.zeros((len(self._slots), n, 2), np.intp)
        spans[..., 1] = -1  # marks absent values
        is_utf8 = self._layout.form == tokenizer.JSON and lines.is_utf8
        end = self._tokenizer.read(
            lines.data, lines.begin, lines.ends, first, is_utf8,
            starts, self._columns, self._values, spans, missing, weights,
        )  # fmt: skip
        if end == first:
            return None
        labels, texts, kept = self._resolved(lines.data, spans[:, first:end])
        end = first + len(labels)
        if end == first:
            return None
        rows = self._rows(starts[first : end + 1])
        if rows is None:
            return None
        new_names = self._newly_learned(rows, labels)
        names = list(chain.from_iterable(texts))
        if names:
            rows = rows.with_one_hot(np.tile(np.arange(len(labels)), len(texts)), names)
        missing = missing[first:end]
        return PlainRecords(
            rows.without_unused_names(),
            labels,
            weights[first:end],
            missing if missing.any() else None,
            frozenset(names) - {None},
            kept,
            new_names,
        )

    def _resolved(
        self, data: bytes, spans: NDArray[np.intp]
    ) -> tuple[list[Any], list[list[Any]], list[tuple[Any, ...]]]:
        """Return labels, features for texts, and kept values, up to the first odd record.

        `spans` are the start and end of each value in the data, shape (slots, n, 2).
        """
        n = spans.shape[1]
        wanted: list[tuple[int, Any]] = [(0, self._label)]
        wanted += [(self._slots[key], partial(self._indicator, key[1])) for key in self._texts]
        wanted += [(self._slots[False, name], None) for name in self._selection.kept]
        found: list[list[Any]] = []
        for slot, meaning in wanted:
            # Kept values mostly differ, so they are not remembered.
            known = {None: None} if meaning is None else self._known[slot]
            cells = tokenizer.cut(data, spans[slot, :n])
            each = None
            try:
                for each in dict.fromkeys(cells):
                    if each not in known:
                        value = self._layout.parse(each)
                        known[each] = value if meaning is None else meaning(value)
            except (SampleError, UnicodeDecodeError):
                del cells[cells.index(each) :]
            found.append(list(map(known.__getitem__, cells)))
            n = len(cells)
        found = [values[:n] for values in found]
        m = 1 + len(self._texts)
        kept = list(zip(*found[m:], strict=True))
        return found[0], found[1:m], kept

    def _indicator(self, name: str, value: Any) -> str | None:
        return roles.indicator(name, value, self._selection, self._layout.is_text)

    def _label(self, value: Any) -> Any:
        value = roles.present(value, self._selection, self._layout.is_text)
        label, schema = self._schema.with_label(value, self._layout.is_text)
        if label is not None and (self._is_tentative or schema is not self._schema):
            raise SampleError("a learned record may change the schema")
        return label

    def _rows(self, starts: NDArray[np.intp]) -> Rows | None:
        """Return the values read as rows; None if a value overflows."""
        layout, read = self._layout, self._values[: starts[-1]]
        scale = 1.0 if self._selection.scale is None else self._selection.scale
        is_full = self._is_table and len(read) == (len(starts) - 1) * len(layout.features)
        are_bytes = is_full and self._tokenizer.are_bytes and np.isfinite(255 * scale)
        # Waiting samples are saved, so their form may not depend on other rows in the block.
        are_bytes = are_bytes and not self._joins
        if are_bytes:
            values: Any = read.astype(np.uint8)
        else:
            with np.errstate(over="ignore"):
                values = np.multiply(read, scale)
            if abs(scale) > 1.0 and np.isinf(values).any():
                return None
        names: Names = layout.features
        if not self._is_table:
            if len(self._table) > len(self._features):
                new = self._table.features(len(self._features))
                self._features += [name.decode(errors="surrogatepass") for name in new]
            names = FirstNames(self._features)
        elif is_full:
            if self._order is not None:
                values = values.reshape(-1, len(names))[:, self._order].ravel()
            return Rows(names, starts, None, values, scale if are_bytes else 1.0)
        columns = self._columns[: starts[-1]].copy()
        return Rows(names, starts, columns, values)

    def _newly_learned(self, rows: Rows, labels: Sequence[Any]) -> list[str]:
        """Return the names of features that are learned for the first time."""
        n_new = len(self._features) - len(self._is_known)
        if n_new:
            self._is_known = np.concatenate([self._is_known, np.zeros(n_new, bool)])
        if not (self._to_learn and self._layout.is_open) or self._is_known.all():
            return []
        first = int(np.argmin(self._is_known))
        rest, columns = self._is_known[first:], rows.value_name_ids
        if None in labels:
            learned = np.array([self._joins or label is not None for label in labels])
            columns = columns[np.repeat(learned, rows.lengths)]
        occurs = np.zeros(len(rest), bool)
        occurs[columns[columns >= first] - first] = True
        new = np.flatnonzero(occurs & ~rest)
        rest[new] = True
        return [self._features[first + i] for i in new.tolist()]
