"""What the cells of a source mean: the roles of names, and the features of strings.

The compiled reader asks `Columns` about each new name, the first number under a name, each new
string, and cells that cannot be used; it handles all other cells itself.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data.batch import Batch, Offset, Redeliveries, parse_offset
from stream_perceptron.data.layout import ARROW, CSV, JSON, LIBSVM, Layout, compiled
from stream_perceptron.data.meaning.labels import convert_label, infer_label_type
from stream_perceptron.data.naming import LABEL_NAMES
from stream_perceptron.data.notices import (
    describe_first_string,
    describe_full_column,
    describe_ignored_list,
)
from stream_perceptron.data.reasons import (
    LABEL_DOES_NOT_FIT,
    describe_large_number,
    explain_csv,
    explain_json,
    explain_libsvm,
    explain_unusable_list,
)
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.values import NOT_UTF8, is_number_or_bool
from stream_perceptron.encoders import encode_string, format_number, is_missing
from stream_perceptron.errors import Reason, SampleError
from stream_perceptron.model.scaler import MAX_STANDARDIZED
from stream_perceptron.model.weights import count_fitting_features, count_weights

NUL, NUMBER, TEXT = compiled.NUL, compiled.NUMBER, compiled.TEXT
LIST, OBJECT, INVALID, FULL = compiled.LIST, compiled.OBJECT, compiled.INVALID, compiled.FULL
UNKNOWN, IGNORE, CELL, VECTOR = compiled.UNKNOWN, compiled.IGNORE, compiled.CELL, compiled.VECTOR
CATEGORICAL, LABEL, WEIGHT = compiled.CATEGORICAL, compiled.LABEL, compiled.WEIGHT
DROPPED = compiled.DROPPED
REJECTED, REDELIVERED = compiled.REJECTED, compiled.REDELIVERED

UNNAMED_LIST = "x"  # the key of a record that is itself a list
_MAX_REASON = 300  # characters
_NO_LIMIT = 2**31 - 1  # of the features of a model
MAX_STRING_FEATURES = 2**15  # that the strings of one column add


class Columns:
    """The columns of a table, or the names in records, with their roles.

    Parameters
    ----------
    layout
        Where the label and the features are.
    request
        The request for the rows, with the schema and the names that the model knows.

    Attributes
    ----------
    names
        The features, in order of appearance; the ID of a feature is its index.
    labels
        The labels, in order of appearance.
    added_label_rows
        The row of the last block that has added each new label.
    schema
        The schema after the last row.
    passthrough_names
        The passthrough columns; for raw records, all columns without a role.
    offsets, passthrough
        The offset and the passthrough columns of each row of the last block, if there are any.
    unknown_names
        Names that are ignored because the model lacks them.
    unused_names
        Names that are ignored because the features are a list.
    string_columns
        The columns that have had strings, in learned rows or before, each with the number of
        features that its strings have added.
    added_strings
        What the rows of the last block have changed in `string_columns`: the row, the column and
        its new number of features.
    notices
        What to report about cells of the last block, each with its row.

    """

    def __init__(self, layout: Layout, request: ReadRequest) -> None:
        self.layout, self.schema, self.learns = layout, request.schema, request.to_learn
        self.names: list[str] = list(request.names)
        self.labels: list[object] = list(request.labels)
        self.added_label_rows: list[int] = []
        self.offsets: list[Offset | None] = []
        self.passthrough: list[tuple[object, ...]] = []
        self.unknown_names: dict[str, None] = {}
        self.unused_names: dict[str, None] = {}
        self.element_names: tuple[str, ...] = layout.element_names
        self.string_columns = dict(request.string_columns)
        self.added_strings: list[tuple[int, str, int]] = []
        self.notices: list[tuple[int, str]] = []
        # For Arrow: the lists with the features, and the kept values of each row.
        self.lists: Any = ()
        self.kept_rows: list[tuple[object, ...]] = []
        self._options, self._record_format = layout.read_options, layout.record_format
        self._label = layout.label
        self._label_ids = {label: i for i, label in enumerate(self.labels)}
        # What the current record has added: string columns and notices.
        self._new_columns: list[str] = []
        self._new_notices: dict[tuple[str, str], str] = {}
        self._described = request.described
        self._redeliveries: Redeliveries | None = request.redeliveries
        self._max_weights, self.max_elements = request.max_weights, request.max_elements
        self._has_limit = request.to_learn and not request.has_own_ids
        self.max_features = _NO_LIMIT
        self._first_row = 0  # of the last block in its record batch
        options = self._options
        self._is_raw = request.is_raw and not layout.is_list and layout.record_format != LIBSVM
        self.passthrough_names = (
            tuple(layout.feature_columns) if self._is_raw else options.passthrough
        )
        self.kept_names = list(dict.fromkeys((*options.position, *self.passthrough_names)))
        self._slots = {name: i for i, name in enumerate(self.kept_names)}
        self.asks_in_every_row = bool(self._slots)
        categorical = () if layout.is_list else options.categorical
        self._roles = {
            **dict.fromkeys(categorical, CATEGORICAL), **dict.fromkeys(layout.ignored, IGNORE),
            **dict.fromkeys(options.roles, IGNORE), options.weight: WEIGHT, self._label: LABEL,
        }  # fmt: skip
        if layout.is_list:
            self._roles[layout.key] = VECTOR
        if self.learns:
            self.schema = layout.extend_schema(self.schema)
        self.reader = compiled.Reader(
            self,
            layout.record_format,
            delimiter=layout.dialect.delimiter.encode(),
            decimal=layout.dialect.decimal.encode(),
            scale=options.scale or 1.0,
            max_number=MAX_STANDARDIZED if options.standardize else sys.float_info.max,
            learns=self.learns,
            keeps_unlabeled=options.has_join or request.keeps_unlabeled,
            keeps_zeros=request.keeps_zeros or options.standardize or options.has_join,
            has_null_numbers=layout.record_format == CSV
            and any(map(is_number_or_bool, options.missing)),
            needs_vector=layout.is_list and layout.record_format == JSON and not options.has_join,
            default_action=self._find_default_action(),
            seeks_label=layout.record_format == JSON and self._label is None,
            # Not with --join, because the features of pending samples are learned later.
            max_strings=_NO_LIMIT if options.has_join else MAX_STRING_FEATURES,
        )
        self._add_first_entries()
        self._commit_record()

    def read(self, data: bytes, begin: int, max_rows: int, is_last: bool = False) -> Any:
        """Read at most `max_rows` records of text; see `Reader.read`."""
        self._begin_block()
        return self.reader.read(data, begin, max_rows, is_last)

    def read_arrow(
        self,
        columns: list[Any],
        start: int,
        end: int,
        is_rejected: NDArray[np.uint8],
        errors: Mapping[int, Reason],
    ) -> Any:
        """Read rows [start, end) of a record batch; see `Reader.read_arrow`."""
        self._begin_block()
        self._first_row = start
        return self.reader.read_arrow(columns, start, end, is_rejected, errors)

    def _begin_block(self) -> None:
        self.offsets, self.passthrough, self.notices, self.added_strings = [], [], [], []
        self.added_label_rows = []

    # --- Names

    def _add_first_entries(self) -> None:
        """Add the first entries: the columns of a table, or the parent of all names."""
        intern, reader, layout, list_entry = self.reader.intern, self.reader, self.layout, -1
        for name in layout.columns:
            intern(-1, _encode(name))
        if self._record_format in (JSON, LIBSVM):
            root = intern(-1, b"")
            if self._record_format == LIBSVM:
                reader.set_column(intern(-1, b"label"), LABEL, LABEL_NAMES[0])
            elif layout.is_list and layout.key == UNNAMED_LIST:
                list_entry = intern(root, UNNAMED_LIST.encode())
            for path, role in self._roles.items():
                if path is not None:
                    reader.set_role(path, role)
            for path, slot in self._slots.items():
                reader.keep_path(path, slot)
        reader.add_names(self.names)
        for column, n in self.string_columns.items():
            reader.set_n_strings(column, n)
        for i, name in enumerate(layout.columns):
            if self._record_format == CSV and name in self._slots:
                reader.set_slot(i, self._slots[name])
            action = self._find_role(name)
            reader.set_column(i, action, name, action == CELL)
        if layout.is_list and layout.element_names:
            self.set_element_names(layout.element_names)
        for text in self._options.null_values:
            intern(compiled.NULLS, _encode(text))
        has_missing = bool(self._options.missing)
        reader.begin(list_entry, len(layout.columns), len(self._slots), has_missing)

    def set_element_names(self, names: Sequence[str]) -> None:
        """Set the names of the elements of the list that holds the features."""
        self.element_names = tuple(names)
        self.reader.set_elements(list(names))
        if self.learns and not self.schema.features:
            self.schema = replace(self.schema, features=self.element_names)
            self._committed = self.schema, self._label

    def _find_default_action(self) -> Any:
        """Return the action of keys without a role; UNKNOWN if they are reported."""
        if self._is_raw:
            return IGNORE
        is_reported = self.layout.is_list or (not self.learns and self.schema.columns)
        return UNKNOWN if is_reported else CELL

    def _find_role(self, path: str) -> Any:
        """Return what to do with the cells of a column, or under a path."""
        role = self._roles.get(path)
        if role is not None:
            return role
        if self.layout.is_list:
            self.unused_names[path] = None
            return IGNORE
        action = self._find_default_action()
        if action != UNKNOWN:
            return action
        if path in self.schema.columns or path in self.string_columns:
            return CELL
        if self.reader.has_feature(path):
            return CELL
        self.unknown_names[path] = None
        return IGNORE

    def _infer_role(self, entry: int) -> None:
        """Decide what a key means: it is the label, or its name is reported."""
        path = self.reader.get_path(entry)
        if self._may_be_label(path):
            self._label = path
            self._roles[path] = LABEL
            self.reader.seek_label(False)
            if self.learns:
                self.schema = replace(self.schema, label=path)
                self.reader.change_schema()
        role = self._find_role(path)
        self.reader.set_column(entry, role, path, role == CELL)

    def _may_be_label(self, path: str) -> bool:
        return self.reader.seeks_label and path.strip().lower() in LABEL_NAMES

    def find_numeric_columns(self) -> list[str]:
        """Return the columns that have had numbers."""
        if self.layout.is_list:
            return list(self.element_names)
        columns = self.reader.list_columns().items()
        return [path for path, (action, id_) in columns if action == CELL and id_ >= 0]

    def find_string_columns(self) -> list[str]:
        """Return the columns of this source that have had strings."""
        return [path for path in self.reader.list_columns() if path in self.string_columns]

    @property
    def ignores_features(self) -> bool:
        """Whether new features were ignored because they do not fit into the model."""
        return bool(self.reader.ignores_features)

    def find_seen(self, names: set[str]) -> set[str]:
        """Return the names in options that have occurred in a row."""
        return {*filter(self.reader.has_occurred, names), *names.intersection(self.layout.columns)}

    # --- Cells

    def resolve_cell(self, entry: int, kind: int, number: float, content: bytes) -> None:
        """Use a cell, and decide what its entry means."""
        if entry == -1:
            name = content.decode(errors="surrogatepass")
            raise SampleError(f"it has two values for feature {name!r}", code="duplicate")
        if entry < 0:
            raise SampleError(f"it has no list {self.layout.key!r}")
        parent, action, feature, _ = self.reader.get(entry)
        if parent == compiled.LABELS:
            self._resolve_label(entry, kind, content)
        elif kind == OBJECT:
            self._resolve_object(entry, action)
        elif action == UNKNOWN and kind == INVALID:
            self._reject_key(self.reader.get_spelling(entry))
        elif action == UNKNOWN:
            self._infer_role(entry)
        elif action in (CELL, CATEGORICAL) and kind in (TEXT, LIST, INVALID, FULL):
            self._use_report(entry, kind, feature >= 0, bool(number), content)
        elif action == CELL:
            self._reject_number(self.reader.get_path(entry), number)
        elif action == LABEL:
            raise SampleError(f"label {self._label!r} is not a number, a string or a bool")
        elif action == WEIGHT:
            self._use_weight(entry, kind, number, content)
        elif action == VECTOR:
            value = None
            if kind != NUL:
                is_json = self._record_format == JSON
                value = self._decode_content(kind, content) if is_json else self.lists[int(number)]
            self._reject_list(self.reader.get_path(entry), kind, value)

    def _resolve_object(self, entry: int, action: int) -> None:
        """Decide what to do with the members of an object, and of other objects of its name."""
        path = self.reader.get_path(entry)
        role = self._roles.get(path)
        problems: dict[Any, str] = {
            LABEL: f"label {path!r} is not a number, a string or a bool",
            WEIGHT: f"weight {path!r} is an object, not a number",
            VECTOR: f"it has no list {path!r}",
        }
        if role in problems:
            raise SampleError(problems[role])
        prefix = f"{path}."
        has_named = any(str(name).startswith(prefix) for name in (*self._roles, *self._slots))
        is_skipped = action == IGNORE and not has_named
        is_skipped |= action == UNKNOWN and self._may_be_label(path)
        members = compiled.SKIP_MEMBERS if is_skipped else compiled.READ_MEMBERS
        self.reader.set(entry, action, self.reader.get(entry)[2], members)

    def _use_report(
        self, entry: int, kind: int, had_number: bool, is_category: bool, content: bytes
    ) -> None:
        """Note the first string of a column, or an ignored cell; reject an invalid string."""
        path = self.reader.get_path(entry)
        if kind == LIST:
            self._add_notice("list", path, describe_ignored_list(path))
        elif kind == FULL:
            self._add_notice("full", path, describe_full_column(path, MAX_STRING_FEATURES))
        elif kind == INVALID:
            self._decode_string(path, TEXT, content)  # raises the error
            raise MemoryError
        elif path not in self.string_columns:
            text = content.decode()
            if not is_category and [*encode_string(path, text)] == [f"{path}={text}"]:
                has_types = self._record_format != CSV
                notice = describe_first_string(path, text, had_number, has_types)
                self._add_notice("string", path, notice)
            self._add_string_column(path)

    def _add_string_column(self, path: str) -> None:
        if self.learns and path not in self.string_columns:
            self.string_columns[path] = 0
            self._new_columns.append(path)

    def _reject_key(self, spelling: bytes) -> None:
        """Raise the error of a key that cannot be decoded."""
        key = spelling.decode()
        if self._record_format == JSON:
            json.loads(f'"{key}"').encode()
        raise MemoryError

    def _resolve_label(self, entry: int, kind: int, content: bytes) -> None:
        """Decide which label a content is."""
        value = self._decode_string(str(self._label), kind, content)
        self.reader.set(entry, LABEL, self._read_label(kind, value))

    def _add_notice(self, code: str, column: str, text: str) -> None:
        """Report something about a column once, unless the text is empty."""
        if text and (code, column) not in self._described:
            self._new_notices[code, column] = text

    def _use_weight(self, entry: int, kind: int, number: float, content: bytes) -> None:
        """Accept a weight that is missing or valid; otherwise, reject the record."""
        text = f"{number:g}"
        if self._record_format != ARROW or kind != NUMBER:
            text = str(self._decode_content(kind, content))[:50]
        if self._is_text and text.strip() in self._options.null_values:
            return
        if 0 <= number < math.inf:  # the number could have meant null
            self.reader.use_weight(number)
            return
        raise SampleError(
            f"weight {self._options.weight!r} is {text!r}, not a finite number greater than or "
            "equal to 0",
            code="weight",
        )

    def _reject_list(self, name: str, kind: int, value: Any) -> None:
        """Reject a list that cannot hold the features; it may be missing if labels come later."""
        is_json = self._record_format == JSON
        subject = f"{'list' if is_json else 'column'} {name!r}"
        is_list = isinstance(value, list | np.ndarray)
        if self._options.has_join and (kind == NUL or (is_list and len(value) == 0)):
            return
        if kind == NUL or not is_list:
            raise SampleError(f"it has no {subject}" if is_json else f"{subject} is null")
        if len(value) == 0 and not self.element_names:
            raise SampleError(f"{subject} is empty")
        if not self.element_names and len(value) > self.max_elements:
            text = f"{subject} has {len(value):,} values, more than a model may have"
            raise SampleError(text, code="list_length")
        reason = explain_unusable_list(
            subject, value, self.element_names, self.layout.find_scale(name),
            is_standardized=bool(self._options.standardize),
        )  # fmt: skip
        raise SampleError(reason, code=reason.code)

    def _reject_number(self, name: str, number: float) -> None:
        """Reject a number that is not finite, that the scale makes infinite, or out of range."""
        if not math.isfinite(number):
            is_text = self._record_format == CSV
            advice = "; if it is a code, name its column with --categorical" if is_text else ""
            raise SampleError(f"feature {name!r} is not finite{advice}", code="not_finite")
        raise SampleError(
            describe_large_number(name, number, self.layout.find_scale(name)), code="too_large"
        )

    # --- Contents

    def _decode_content(self, kind: int, content: bytes) -> Any:
        """Return the content of a cell as a Python value."""
        if kind == NUL and self._record_format != CSV:
            return None
        if self._record_format == JSON:
            value = json.loads(content)
            if b"\\u" in content:  # an escaped lone surrogate cannot be encoded
                json.dumps(value, ensure_ascii=False).encode()
            return value
        text = self._decode_field(content)
        return (
            self.layout.dialect.replace_decimal_comma(text) if self._record_format == CSV else text
        )

    def _decode_string(self, column: str, kind: int, content: bytes) -> Any:
        """Return the content of a cell that may be a string."""
        try:
            return self._decode_content(kind, content)
        except UnicodeDecodeError:
            if self._record_format != ARROW:
                raise
            raise SampleError(f"column {column!r} is not UTF-8") from None

    def _decode_kept(self, name: str, kind: int, content: bytes) -> object:
        """Return a kept cell; in CSV, as a string, or by its kind if records are raw."""
        if self._record_format != CSV:
            return self._decode_content(kind, content)
        if not self._is_raw or kind == TEXT:
            return self._decode_field(content)
        if kind == NUL:
            return None
        text = self._decode_content(kind, content).strip()
        if kind == NUMBER:
            is_category = name in self._options.categorical
            return format_number(text, float(text)) if is_category else float(text)
        return text.lower() if name in self._options.categorical else text.lower() == "true"

    def _decode_field(self, content: bytes) -> str:
        """Return the text of a field, without its CSV quotes."""
        text = content.decode()
        if self._record_format == CSV and text.startswith('"'):
            return text[1:-1].replace('""', '"')
        return text

    @property
    def _is_text(self) -> bool:
        """Whether numbers are written as strings."""
        return self._record_format in (CSV, LIBSVM)

    def _read_label(self, kind: int, value: Any) -> int:
        """Return the ID of a label; -1 if it is missing."""
        is_formatted = kind == NUMBER and self._record_format == ARROW
        if not is_formatted and is_missing(value, self._options.null_values):
            return -1
        if isinstance(value, list):
            raise SampleError(f"label {self._label!r} is not a number, a string or a bool")
        if self._is_text:
            value = value.strip()
        # Numbers in Arrow are formatted, and have a declared type.
        is_text = self._is_text or self._record_format == ARROW
        label_type = self.schema.label_type or self.layout.label_type
        label_type = label_type or infer_label_type(value, is_text)
        try:
            label = convert_label(value, label_type, is_text)
        except ValueError as error:
            raise SampleError(f"label {error}", code="label") from None
        if self.schema.label_type is None:
            self.schema = replace(self.schema, label_type=label_type)
            self.reader.change_schema()
        k = len(self.labels)
        label_id = self._label_ids.get(label, k)
        if label_id == k:
            d = min(self.reader.n_before, self.max_features)
            if self._has_limit and count_weights(k + 1, d) > self._max_weights:
                raise SampleError(LABEL_DOES_NOT_FIT)
            self._label_ids[label] = k
            self.labels.append(label)
        return label_id

    # --- Records

    def determine_record_status(
        self, status: int, row: int, contents: Sequence[tuple[int, bytes]]
    ) -> int:
        """Return the status of a record given the contents of the columns in `kept_names`."""
        options, offset = self._options, None
        values: tuple[object, ...] = ()
        try:
            if status != compiled.MALFORMED:
                if self._record_format == ARROW:
                    values = self.kept_rows[self._first_row + row]
                    kept = dict(zip(self.kept_names, values, strict=True))
                else:
                    cells = zip(self.kept_names, contents, strict=True)
                    kept = {name: self._decode_kept(name, *cell) for name, cell in cells}
                if options.position:
                    places = [kept[name] for name in options.position]
                    offset = parse_offset(options, places, self._is_text)
                    if self._redeliveries is not None and self._redeliveries.update(offset):
                        status = REDELIVERED
                values = tuple([kept[name] for name in self.passthrough_names])
        finally:
            self.offsets.append(offset)
            self.passthrough.append(values)
        return status

    def finish_record(self, outcome: int) -> None:
        """Keep what a record has added, or undo it."""
        if outcome == DROPPED:
            for label in self.labels[self._n_labels :]:
                del self._label_ids[label]
            del self.labels[self._n_labels :]
            if self._label != self._committed[1]:
                del self._roles[self._label]
                self.reader.seek_label(True)
            self.schema, self._label = self._committed
            for column in self._new_columns:
                del self.string_columns[column]
        else:
            row = self.reader.row
            self.added_label_rows += [row] * (len(self.labels) - self._n_labels)
            self.added_strings += [(row, column, 0) for column in self._new_columns]
            self.notices += [(row, text) for text in self._new_notices.values()]
            self._described.update(self._new_notices)
        self._commit_record()

    def _commit_record(self) -> None:
        if self._has_limit:
            n_fitting = count_fitting_features(len(self.labels), self._max_weights)
            self.max_features = min(n_fitting, _NO_LIMIT)
        self.reader.set_max_features(self.max_features)
        self._n_labels, self._committed = len(self.labels), (self.schema, self._label)
        self._new_columns.clear()
        self._new_notices.clear()

    def iter_records(self, batch: Batch) -> Iterator[Mapping[Any, object]]:
        """Yield the raw records of a batch without rejected rows, or their features by name."""
        if not self._is_raw:
            yield from batch.dicts()
        elif self._record_format != JSON:
            for values in batch.passthrough or [()] * len(batch):
                yield dict(zip(self.passthrough_names, values, strict=True))
        else:
            used = [path for path, role in self._roles.items() if role != CATEGORICAL]
            assert batch.lines is not None
            for i in range(len(batch)):
                yield _remove_paths(json.loads(batch.lines.read(i)), used)

    def explain(self, record: bytes) -> Reason:
        """Return why a record is malformed."""
        layout = self.layout
        if self._record_format == JSON:
            reason = explain_json(record, has_columns=bool(self.schema.columns))
        elif self._record_format == LIBSVM:
            reason = explain_libsvm(record)
        else:
            reason = explain_csv(record, layout.dialect, len(layout.columns))
        return Reason(reason[:_MAX_REASON], reason.code)

    def describe_error(self, error: Exception) -> Reason:
        """Return the reason for a rejection, given the error that a cell has raised."""
        if isinstance(error, SampleError):
            return Reason(str(error)[: 10 * _MAX_REASON], error.code)
        if isinstance(error, UnicodeEncodeError):
            return Reason("an escape in it is half of a surrogate pair")
        if isinstance(error, UnicodeError):
            return Reason(NOT_UTF8)
        if isinstance(error, RecursionError):
            return Reason("it is nested too deeply")
        return Reason("it has a number that is too long or not valid in JSON")


def _encode(name: str) -> bytes:
    """Return a name as the compiled reader spells it."""
    return name.encode(errors="surrogatepass")


def _remove_paths(record: dict[str, Any], paths: Collection[str], prefix: str = "") -> Any:
    """Return a record without the members that paths identify, and without spaces around names."""
    members = ((name.strip(), value) for name, value in record.items())
    return {
        name: _remove_paths(value, paths, f"{prefix}{name}.") if isinstance(value, dict) else value
        for name, value in members
        if f"{prefix}{name}" not in paths
    }
