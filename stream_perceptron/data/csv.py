"""Records of CSV."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from stream_perceptron.data.batch import Offset, RawLines, offset_of
from stream_perceptron.data.labels import text_of
from stream_perceptron.data.lines import Decoder, Rejected, Sample
from stream_perceptron.data.plain import (
    BLANK,
    KEPT,
    LABEL,
    SKIP,
    WEIGHT,
    Plan,
    Reading,
    TablePlan,
    layout_of,
    refused,
)
from stream_perceptron.data.quotes import fields, joined
from stream_perceptron.data.schema import (
    LABEL_NAMES,
    LIKE_MISSING,
    Described,
    Schema,
    Selection,
    describe,
    distinct,
    missing_hint,
    names_in,
    no_label,
)
from stream_perceptron.data.source import Numbers, Request
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.frozen import frozen
from stream_perceptron.model.validation import as_weight
from stream_perceptron.model.vocabulary import natural_order

# A number, and nothing else that float() takes.
NUMBER = r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_NUMBER = re.compile(f" *{NUMBER} *")
_NUMBERS = re.compile(f"(?: *{NUMBER} *\n)*")
_WHOLE = re.compile(r" *-?[0-9]{1,19} *")
_BOOLS = {"true": 1.0, "false": 0.0}
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")


class CsvFormat:
    """What the first line of a source tells about the others.

    Examples
    --------
    >>> CsvFormat("a; b").header, CsvFormat("1;2").header, CsvFormat("0;1;label").header
    (['a', 'b'], None, ['0', '1', 'label'])

    """

    def __init__(self, first: str) -> None:
        # The earliest of the most frequent.
        self.delimiter = max(",\t;", key=first.count)
        cells = [cell.strip() for cell in _cells(first, self.delimiter)]
        names_label = any(cell.lower() in LABEL_NAMES for cell in cells)
        is_header = names_label or not any(map(_looks_numeric, cells))
        self.header = cells if is_header else None
        self._n_fields = len(cells)

    @property
    def n_header_lines(self) -> int:
        """The lines before the first record."""
        return int(self.header is not None)

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records that lines make."""
        return joined(lines, self.delimiter, self._n_fields)

    def decoder(self, request: Request, where: str, first: str) -> CsvDecoder:
        """Return what reads the records, of which the first one is this.

        A column is of numbers or of texts, which are left out, by the first value in it. Without a
        header the columns are those of the first source that had names for them. Without one the
        first column is the label, unless there is none for it, and the features have the names
        that the model knows, or x0, x1 and so on.
        """
        schema = request.schema
        is_closed = schema.features is not None and not schema.is_open
        names, selection, is_by_place = self._columns(request, where)
        if selection.label is None and request.needs_label and (self.header or is_by_place):
            raise SourceError(no_label(where, names))
        roles = {selection.label, *selection.roles}
        free = [name for name in names if name not in roles]
        cells = dict(zip(names, _cells(first, self.delimiter), strict=False))
        weight = cells.get(selection.weight or "", "")
        if schema.is_new and weight.strip() not in selection.blanks and not _is_value(weight):
            raise SourceError(
                f"{where}: weight column {selection.weight!r} is of type string, not a number"
            )
        texts, known = set(schema.texts or ()), schema.features or ()
        if not known and (schema.is_open or not request.to_learn):
            known = tuple(map(str, natural_order(set(free).intersection(request.numbers.names))))
        unused: tuple[str, ...] = ()
        if not request.to_learn:
            # A model is asked about what it knows.
            is_known = set(known or free).__contains__
            unused = tuple(name for name in free if not is_known(name))
        elif is_by_place and is_closed:
            is_used = {*known, *schema.undecided, *texts}.__contains__
            unused = tuple(name for name in free if not is_used(name))
        there = set(free).difference(texts, selection.one_hot)
        decoder = CsvDecoder(
            selection,
            schema,
            self.delimiter,
            tuple(names),
            self.header is not None,
            tuple(name for name in known if name in there),
            tuple(name for name in free if name in texts and name not in unused),
            unused,
            request.to_learn,
            request.numbers,
        )
        ahead = decoder.look(list(cells.values()))
        label = "" if selection.label is None else cells.get(selection.label, "")
        if is_closed:
            may_come = set(schema.undecided).difference(known)
            given = [name for name in ahead.features if name not in may_come]
            schema.with_features(tuple(given), where)
        if schema.is_new:
            ahead.require_features(where)
        added = tuple(name for name in unused if _is_value(cells.get(name, "")))
        is_labelled = label.strip() not in selection.blanks
        outlook = replace(schema, **_told(ahead)) if is_labelled else schema
        return replace(decoder, outlook=outlook, added=added)

    def _columns(self, request: Request, where: str) -> tuple[list[str], Selection, bool]:
        """Return the columns, the selection with their names, and whether they are by place."""
        asked, schema = request.selection, request.schema
        if self.header is None and schema.columns:
            try:
                names = list(schema.columns_of(self._n_fields) or ())
            except SampleError as error:
                raise SourceError(f"{where}: row 1: {error}") from None
            selection = asked.among(schema.columns, where, to_learn=False)
            label = schema.label if schema.label in names else None
            lost = [name for name in selection.keep if name not in names]
            if lost:
                raise SourceError(f"{where}: there is no column {lost[0]!r} to keep in its rows")
            return names, replace(selection, label=label), True
        names = self.header or _names_by_place(asked, schema, self._n_fields, where)
        names = distinct(names, asked, where)
        return names, asked.among(names, where, request.to_learn), False


@frozen
class CsvDecoder:
    """How records of CSV are read: what each column is."""

    selection: Selection  # with the names that columns have
    schema: Schema
    delimiter: str
    columns: tuple[str, ...]
    are_named: bool  # whether the source itself names them
    features: tuple[str, ...]  # the number columns
    texts: tuple[str, ...]
    unused: tuple[str, ...]  # columns that the model does not know
    to_learn: bool
    numbers: Numbers  # the features that are known, where rows name their own
    added: tuple[str, ...] = ()  # the unused columns that begin with a number
    seen: tuple[tuple[str, str], ...] = ()  # the value by which a text column was known
    outlook: Schema = Schema()  # what is known, also from a look at the first record

    @property
    def label(self) -> str | None:
        """The label column, if there is one."""
        return self.selection.label

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.columns)}

    @cached_property
    def _feature_places(self) -> list[int]:
        return [self._places[name] for name in self.features]

    @cached_property
    def _undecided(self) -> list[tuple[int, str]]:
        decided = {*self.features, *self.texts, *self.unused, *self.selection.roles, self.label}
        return [(i, name) for i, name in enumerate(self.columns) if name not in decided]

    @cached_property
    def _one_hot(self) -> list[tuple[int, str]]:
        wanted = set(self.selection.one_hot).difference(self.selection.roles, {self.label})
        return [(i, name) for i, name in enumerate(self.columns) if name in wanted]

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return what a record says."""
        offset = None
        try:
            cells = self._fields(record)
            if len(cells) != len(self.columns):
                raise SampleError(f"it has {len(cells):,} fields, not {len(self.columns):,}")
            offset = self._offset(cells)
            after = self._decided(cells)
            values = after._values([cells[i] for i in after._feature_places])
            indicators = self._indicators(cells)
            weight = self._weight(cells)
            text = None if self.label is None else self._text(self.label, cells)
            label, schema = after.schema.with_label(text, is_text=True)
            kept = tuple(_utf8(cells[self._places[name]]) for name in self.selection.keep)
        except SampleError as error:
            return Rejected(str(error), offset)
        if schema is not after.schema:
            after = replace(after, schema=schema)
        return Sample(
            after.features, values, label, weight, offset, after, indicators,
            n_nulls=len(after._undecided), kept=kept,
        )  # fmt: skip

    def _decided(self, cells: list[str]) -> CsvDecoder:
        """Return the decoder that knows what the columns are that have their first value here."""
        after = self.look(cells)
        schema = self.schema
        if not self.to_learn or (after is self and self._told_schema is schema):
            return after
        if schema.features and not schema.is_open:
            expected = {*self.features, *schema.undecided}
            odd = [name for name in after.features if name not in expected]
            if odd:
                raise SampleError(f"it adds {names_in(odd)} to the features of the model")
        return replace(after, schema=after._told_schema)

    @cached_property
    def _told_schema(self) -> Schema:
        """The schema with what is known of the columns."""
        told = replace(self.schema, **_told(self))
        return self.schema if told == self.schema else told

    def look(self, cells: list[str]) -> CsvDecoder:
        """Return what the columns would be by the values in these cells, whatever is known."""
        blanks = self.selection.blanks
        numbers, texts, seen = [], [], []
        for i, name in self._undecided:
            cell = cells[i].strip() if i < len(cells) else ""
            if cell in blanks:
                continue
            if _is_value(cell) and name not in self.selection.one_hot:
                numbers.append(name)
            else:
                texts.append(name)
                seen.append((name, cell))
        if not numbers and not texts:
            return self
        features = tuple(str(name) for name in natural_order([*self.features, *numbers]))
        return replace(
            self, features=features, texts=(*self.texts, *texts), seen=(*self.seen, *seen)
        )

    @cached_property
    def _undecided_names(self) -> tuple[str, ...]:
        return tuple(name for _, name in self._undecided)

    def require_features(self, where: str) -> None:
        """Require that there is something to learn from, or that it may still come."""
        if self.features or self._undecided or self.selection.one_hot:
            return
        shown = ", ".join(f"{name!r} (text)" for name in self.texts[:5])
        raise SourceError(
            f"{where}: no usable features{f' among {shown}' if shown else ''}: they are number or "
            "bool columns, or texts that --one-hot names"
        )

    def _fields(self, record: bytes) -> list[str]:
        # What is no UTF-8 in a column that is not used does no harm.
        text = record.decode(errors="surrogateescape").removesuffix("\n").removesuffix("\r")
        if '"' not in text:
            if "\r" in text:
                raise SampleError("it has a carriage return inside")
            return text.split(self.delimiter)
        return fields(text, self.delimiter)

    def _text(self, name: str, cells: list[str]) -> str:
        """Return the text in a column, nothing if that is missing."""
        text = cells[self._places[name]]
        return "" if text.strip() in self.selection.blanks else _utf8(text)

    def _offset(self, cells: list[str]) -> Offset | None:
        names = self.selection.position
        if not names:
            return None
        values: list[Any] = [cells[self._places[name]] for name in names]
        if not _WHOLE.fullmatch(values[-1]):
            raise SampleError(f"position {names[-1]!r} is {values[-1][:50]!r}, not a whole number")
        return offset_of(self.selection, [*map(_utf8, values[:-1]), int(values[-1])])

    def _values(self, cells: list[str]) -> np.ndarray[Any, Any]:
        """Return the features, NaN where one is missing."""
        if not self._are_blanks_numbers and _NUMBERS.fullmatch("\n".join([*cells, ""])):
            values = np.array(list(map(float, cells)))
            odd = ~np.isfinite(values)
        else:
            blanks = self.selection.blanks
            there = np.array([cell.strip() not in blanks for cell in cells], bool)
            read = zip(self.features, cells, there.tolist(), strict=True)
            values = np.array(
                [_value(name, cell) if is_there else np.nan for name, cell, is_there in read]
            )
            odd = ~np.isfinite(values) & there
        if self.selection.scale is not None:
            with np.errstate(over="ignore"):
                values *= self.selection.scale
            odd |= np.isinf(values)
        if odd.any():
            place = int(np.flatnonzero(odd)[0])
            raise SampleError(f"column {self.features[place]!r} is {cells[place][:50]}, not finite")
        return values

    def _indicators(self, cells: list[str]) -> tuple[str, ...]:
        """Return the features that stand for the texts of --one-hot."""
        blanks = self.selection.blanks
        return tuple(
            f"{name}_{text_of(_utf8(cells[i]), is_text=True)}"
            for i, name in self._one_hot
            if cells[i].strip() not in blanks
        )

    def _weight(self, cells: list[str]) -> float:
        name = self.selection.weight
        if name is None or cells[self._places[name]].strip() in self.selection.blanks:
            return 1.0
        cell = cells[self._places[name]]
        try:
            return as_weight(_value(name, cell))
        except SampleError:
            raise SampleError(f"weight {cell[:50]} is not a finite number of at least 0") from None

    def plan(self, record: bytes, before: Decoder) -> Plan | None:
        """Return how records that are plain are read, None if they never are."""
        if before is self:
            return self._plan
        assert isinstance(before, CsvDecoder)
        return self._planned(refused) if self.texts == before.texts else None

    def take_note(self, sample: Sample) -> None:
        """Take note of the number columns where others may come; else the schema has them."""
        if self.schema.is_open:
            names = [name for name, v in zip(sample.names, sample.values, strict=True) if v == v]
            self.numbers.names.update(dict.fromkeys([*map(str, names), *sample.indicators]))

    @cached_property
    def _plan(self) -> Plan | None:
        return self._planned(self._to_label)

    def _planned(self, to_label: Reading) -> Plan | None:
        asked = self.selection
        if asked.position or not (self.features or self._one_hot):
            return None
        roles = dict.fromkeys(self.columns, SKIP)
        roles |= {name: LABEL - 1 - i for i, (_, name) in enumerate(self._one_hot)}
        roles |= dict.fromkeys(self._undecided_names, BLANK)
        roles |= {name: place for place, name in enumerate(self.features)}
        if asked.weight is not None:
            roles[asked.weight] = WEIGHT
        readings: list[Reading | None] = [None]
        if self.label is not None:
            roles[self.label], readings[0] = LABEL, to_label
        readings += [partial(self._to_indicator, name) for _, name in self._one_hot]
        kept = {name: KEPT - len(readings) - i for i, name in enumerate(asked.keep)}
        delimiter = self.delimiter.encode()
        blanks = [blank.encode(errors="surrogateescape") for blank in asked.blanks]
        layout = layout_of(
            [(roles[name], kept.get(name)) for name in self.columns],
            [b"", *[delimiter] * (len(roles) - 1), b""],
            blanks,
            delimiter,
            self._are_blanks_numbers,
        )
        return TablePlan(
            layout, self.features, True, readings, [bytes.decode] * len(kept), asked.scale
        )

    @cached_property
    def _are_blanks_numbers(self) -> bool:
        """Whether what means no value may look like one."""
        return any(map(_is_value, self.selection.blanks))

    def _to_label(self, data: bytes) -> Any:
        cell = data.decode()
        if self.schema.label_type is None:
            raise SampleError("the first label tells of which type all are")
        cell = "" if cell.strip() in self.selection.blanks else cell
        return self.schema.with_label(cell, is_text=True)[0]

    def _to_indicator(self, name: str, data: bytes) -> str | None:
        cell = data.decode().strip()
        if cell in self.selection.blanks:
            return None
        return f"{name}_{text_of(cell, is_text=True)}"

    def describe(self) -> tuple[str, ...]:
        """Say in a few lines what is used and what is not."""
        selection = self.selection
        scale = 1.0 if selection.scale is None else selection.scale
        ignored = dict.fromkeys(selection.ignore, "as asked")
        texts = [name for name in self.texts if name not in selection.one_hot]
        ignored |= dict.fromkeys(self.added, "not in the model")
        ignored |= dict.fromkeys(self._undecided_names, "no value so far")
        found = Described(
            self.features, "", [scale], self.label, ignored, texts, hints=self._hints(texts)
        )
        return describe(selection, self.schema, found)

    def _hints(self, texts: Sequence[str]) -> list[str]:
        """Return what a person may want to set, by the first text in each column."""
        hints = []
        first = dict(self.seen)
        seen = {name: first[name] for name in texts if name in first}
        for name, cell in seen.items():
            if cell.lower() in LIKE_MISSING:
                hints.append(missing_hint(name, cell))
            elif _DECIMAL_COMMA.fullmatch(cell):
                hints.append(
                    f"hint: {cell} in column {name!r} has a decimal comma; numbers need a point, "
                    "as sed 's/,/./g' makes it in a file with semicolons"
                )
        if self.columns[0] == LABEL_NAMES[0] == self.label and len(texts) == 1 and not hints:
            place = self._places[texts[0]] + 1
            is_last = place == len(self.columns)
            hints.append(
                f"hint: column {place} is the only one of texts, and may be the label: "
                f"--label {-1 if is_last else place}"
            )
        return hints


def _told(decoder: CsvDecoder) -> dict[str, Any]:
    """Return what a decoder knows of the columns as fields of a schema."""
    schema = decoder.schema
    told: dict[str, Any] = {"texts": tuple(dict.fromkeys((*(schema.texts or ()), *decoder.texts)))}
    if decoder.are_named and not schema.columns:
        told |= {"columns": decoder.columns, "label": decoder.label}
    if not schema.is_open:
        decided = {*decoder.features, *told["texts"]}
        undecided = decoder._undecided_names if schema.features is None else schema.undecided
        told["features"] = decoder.features
        told["undecided"] = tuple(name for name in undecided if name not in decided)
    return told


def _cells(line: str, delimiter: str) -> list[str]:
    """Return the fields of one of the first lines, as far as they can be told."""
    return next(csv.reader([line.replace("\r", " ")], delimiter=delimiter), [])


def _names_by_place(selection: Selection, schema: Schema, n: int, where: str) -> list[str]:
    """Return names for n columns that have none."""
    places = [f"column {i + 1}" for i in range(n)]
    asked = selection.among(places, where, to_learn=False)
    used = {*asked.roles, *asked.one_hot}
    free = [name for name in places if name != asked.label and name not in used]
    known = schema.features or ()
    names = dict(zip(places, places, strict=True))
    if asked.label is not None:
        names[asked.label] = LABEL_NAMES[0]
    elif len(free) != len(known) and free:
        names[free.pop(0)] = LABEL_NAMES[0]
    features = known if len(free) == len(known) else [f"x{i}" for i in range(len(free))]
    names |= zip(free, features, strict=True)
    return list(names.values())


def _utf8(cell: str) -> str:
    """Return a text that is used, if it was UTF-8."""
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise SampleError("it is not UTF-8") from None
    return cell


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _looks_numeric(cell: str) -> bool:
    """Whether a column or a line with this cell is not of texts, though it may be no number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_value(cell: str) -> bool:
    return _looks_numeric(cell) or cell.strip().lower() in _BOOLS


def _value(name: str, cell: str) -> float:
    """Return a cell as a number, true and false as 1 and 0."""
    if _is_number(cell):
        return float(cell)
    if (number := _BOOLS.get(cell.strip().lower())) is not None:
        return number
    raise SampleError(f"column {name!r} is {cell[:50]!r}, not a number")
