"""What the cells of a source mean: the roles and types of columns, and unusual cells.

The compiled reader asks `Columns` about the first cell under each name, the first occurrence of
each label and string, and cells that are not what they should be; it handles all other cells
itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from stream_perceptron.data.batch import Offset, Redeliveries, parse_offset
from stream_perceptron.data.encodings import encode_content
from stream_perceptron.data.labels import convert_label, infer_label_type
from stream_perceptron.data.layout import Kind, Layout
from stream_perceptron.data.naming import LABEL_NAMES, quote_names
from stream_perceptron.data.reasons import (
    explain_csv,
    explain_json,
    explain_libsvm,
    explain_list,
    explain_missing_features,
    explain_text,
    explain_value,
)
from stream_perceptron.data.records import iter_paths, parse_json_record
from stream_perceptron.data.request import Request
from stream_perceptron.data.schema import Encoding, Schema
from stream_perceptron.data.values import NOT_UTF8, is_number_or_bool
from stream_perceptron.errors import SampleError

compiled: Any = import_module("stream_perceptron.data.reader._reader")

ARROW, CSV, JSON, LIBSVM = compiled.ARROW, compiled.CSV, compiled.JSON, compiled.LIBSVM
NUL, NUMBER, TEXT = compiled.NUL, compiled.NUMBER, compiled.TEXT
LIST, OBJECT = compiled.LIST, compiled.OBJECT
_NUMERIC = NUMBER, compiled.BOOL
UNKNOWN, ASK, IGNORE, FEATURE = compiled.UNKNOWN, compiled.ASK, compiled.IGNORE, compiled.FEATURE
VECTOR, ONE_HOT, WORDS = compiled.VECTOR, compiled.ONE_HOT, compiled.WORDS
LABEL, WEIGHT = compiled.LABEL, compiled.WEIGHT
DROPPED, FORGOTTEN = compiled.DROPPED, compiled.FORGOTTEN
REJECTED, REDELIVERED = compiled.REJECTED, compiled.REDELIVERED

# Spellings of names that usually denote a label.
_SPELLED_LABEL_NAMES = [
    spell(name) for name in LABEL_NAMES for spell in (str.lower, str.capitalize, str.upper)
]

UNNAMED_LIST = "x"  # the key of a record that is itself a list
_MAX_REASON = 300  # characters

# Features of a cell, by ID.
Features = Sequence[tuple[int, float]]


class Columns:
    """The columns of a table, or the names in records, with their roles.

    Parameters
    ----------
    layout
        Where the label and the features are.
    request
        The request for the rows, with the schema and the names that the model knows.
    infers
        Whether unlabeled rows decide the schema and add features, too.

    Attributes
    ----------
    names
        The features, in order of appearance; the ID of a feature is its index.
    labels
        The labels, in order of appearance.
    schema
        The schema after the last row.
    offsets, passthrough
        The offset and the passthrough columns of each row of the last block, if there are any.
    other_labels
        Names that usually denote a label, but are not the label.
    unknown_names
        Names of numbers that are ignored because the model lacks them.
    asks_in_every_row
        Whether reading calls Python for every row.

    """

    def __init__(self, layout: Layout, request: Request, infers: bool = False) -> None:
        self.layout, self.schema, self.learns = layout, request.schema, request.to_learn
        self.names: list[str] = list(request.names)
        self.labels: list[object] = []
        self.offsets: list[Offset | None] = []
        self.passthrough: list[tuple[object, ...]] = []
        self.other_labels: set[str] = set()
        self.unknown_names: list[str] = []
        self.member_names: tuple[str, ...] = layout.members
        # For Arrow: the values of columns that are asked about, and the kept values of each row.
        self.objects: dict[int, Any] = {}
        self.kept_rows: list[tuple[object, ...]] = []
        self.types: dict[int, str] = {}  # the type codes of columns of numbers, by entry
        self._options, self._form = layout.read_options, layout.form
        self._label_ids: dict[object, int] = {}
        self._label = layout.label
        self._ids: dict[str, int] = {}
        self._paths: dict[int, str] = {}  # of the entries that are names
        self._new_paths: list[int] = []  # the entries whose paths this record has added
        self._new_unknown_names: list[str] = []  # of this record
        self._new_types: dict[str, bool] = {}  # whether each name typed by this record is a number
        self._option_entries: dict[str, list[int]] = {}
        self._redeliveries: Redeliveries | None = request.redeliveries
        self.max_features = request.max_features
        self._first_row = 0  # of the last block in its record batch
        options, schema = self._options, self.schema
        self._encodings: dict[str, list[Encoding]] = {}
        for encoding in options.encodings:
            self._encodings.setdefault(encoding.column, []).append(encoding)
        self._roles = self._find_roles()
        # The names that may be features; None for all.
        self._expected: set[str] | None = None
        if schema.features is not None:
            self._expected = {*schema.features, *schema.untyped}
        elif not self.learns:
            self._expected = set(self.names)
        self.asks_in_every_row = bool(
            options.passthrough or options.position or ASK in self._roles.values()
        )
        self.reader = compiled.Reader(
            self,
            layout.form,
            delimiter=layout.dialect.delimiter.encode(),
            decimal=layout.dialect.decimal.encode(),
            scale=options.scale or 1.0,
            learns=self.learns,
            keeps_unlabeled=options.has_join or infers or request.keeps_unlabeled,
            keeps_zeros=request.keeps_zeros or options.standardize or options.has_join,
            has_null_numbers=layout.form == CSV and any(map(is_number_or_bool, options.missing)),
            may_lack_features=options.has_join,
        )
        is_named = (layout.has_column_names or layout.form == JSON) and not layout.is_list
        # Whether the next learned record decides a part of the schema, whatever its cells are.
        self._is_undecided = self.learns and (
            schema.is_new
            or (is_named and not schema.columns)
            or (layout.form == JSON and schema.key is None)
        )
        # If the schema is inferred from unlabeled rows, too: the features that encode a column.
        self.encoded_names: set[str] = set()
        self._infers = infers
        # The features that have no entry yet; any further entry of a feature is an alias.
        self._unspelled = set(range(len(self.names)))
        self._begin()
        self._commit()

    def _find_roles(self) -> dict[str, int]:
        """Return the action for each name with a role."""
        options, actions = self._options, {"one_hot": ONE_HOT, "words": WORDS}
        roles = dict.fromkeys(options.roles, IGNORE)
        if options.weight is not None:
            roles[options.weight] = WEIGHT
        for name, encodings in self._encodings.items():
            is_single = len(encodings) == 1
            roles[name] = actions.get(encodings[0].option, ASK) if is_single else ASK
        if self._label is not None:
            roles[self._label] = LABEL
        return roles

    def read(self, data: bytes, begin: int, max_rows: int, is_last: bool = False) -> Any:
        """Read at most `max_rows` records of text; see `Reader.read`."""
        self.offsets, self.passthrough = [], []
        return self.reader.read(data, begin, max_rows, is_last)

    def read_arrow(
        self, buffers: list[tuple[Any, ...]], start: int, end: int, n_rows: int,
        errors: Mapping[int, str],
    ) -> Any:  # fmt: skip
        """Read rows [start, end) of a record batch of `n_rows` rows; see `Reader.read_arrow`."""
        self.offsets, self.passthrough, self._first_row = [], [], start
        is_rejected = np.zeros(max(n_rows, 1), np.uint8)
        is_rejected[list(errors)] = 1
        return self.reader.read_arrow(buffers, start, end, is_rejected, errors)

    def infer_schema(self) -> Schema:
        """Return the schema of a source that declares the types of its columns."""
        return self._build_schema(has_features=True) if self.learns else self.schema

    # --- The first entries

    def _begin(self) -> None:
        """Add the first entries: columns of a table, or the names in the options and the model."""
        intern, layout = self.reader.intern, self.layout
        open_parent, required, list_entry = -2, -1, -1
        passthrough = (*self._options.position, *self._options.passthrough)
        if self._form in (CSV, ARROW):
            for i, name in enumerate(layout.columns):
                self._paths[intern(-1, name.encode(errors="surrogatepass"))] = name
                self.reader.set(i, *self._find_column_action(name))
            if self._form == ARROW:
                open_parent = -1
            else:
                for slot, name in enumerate(passthrough):
                    if name in layout.columns:
                        self.reader.set_slot(layout.columns.index(name), slot)
        else:
            root = intern(-1, b"")
            self._paths[root] = ""
            if self._form == LIBSVM:
                self.reader.set(intern(-1, b"label"), LABEL)
            open_parent = self._begin_names(root)
            if self._form == JSON or self.schema.features is not None:
                required = open_parent
            if self._form == JSON:
                if layout.is_list and layout.key == UNNAMED_LIST:
                    list_entry = required
                for slot, name in enumerate(passthrough):
                    for entry in self._intern_path(root, name):
                        self.reader.set_slot(entry, slot)
            if layout.is_list or self.schema.features is not None:
                open_parent = -2
        if layout.is_list and layout.members:
            self.set_members(layout.members)
        nulls = intern(-2, b"")
        for text in self._options.null_values:
            intern(nulls, text.encode(errors="surrogatepass"))
        self.reader.begin(
            nulls, open_parent, required, list_entry, len(layout.columns), len(passthrough),
            self._is_undecided,
        )  # fmt: skip

    def _find_column_action(self, name: str) -> tuple[int, int]:
        """Return the action for a column of a table, and its feature, or -1 if it has none yet."""
        layout = self.layout
        if name in self._roles:
            return self._roles[name], -1
        if layout.is_list:
            return (VECTOR if name == layout.key else IGNORE), -1
        is_number = self._form == CSV or name in layout.declared_numbers
        is_text = name in (self.schema.texts or ())
        if name in layout.unknown_columns or is_text or not is_number:
            return IGNORE, -1
        feature = self._find_id(name)
        if feature >= 0:
            self._unspelled.discard(feature)
            return FEATURE, feature
        return (UNKNOWN if self.learns else IGNORE), -1

    def _begin_names(self, root: int) -> int:
        """Add the names in the options and the model; return the entry that holds the features."""
        layout, reader, key = self.layout, self.reader, self.layout.key
        is_json = self._form == JSON
        if is_json and (self.learns or self._label is None):
            for name in _SPELLED_LABEL_NAMES:
                reader.set(self._add_name(root, name), ASK)
        parent = self._add_name(root, key) if key else root
        for name, action in self._roles.items():
            for entry in self._intern_path(root, name):
                reader.set(entry, action)
            if key and not layout.is_list and action != LABEL:
                for entry in self._intern_path(parent, name, f"{key}."):
                    reader.set(entry, action)
        if layout.is_list:
            reader.set(parent, VECTOR)
            return parent
        reader.set(parent, ASK if key else UNKNOWN, -1, compiled.READ_MEMBERS)
        prefix = f"{key}." if key else ""
        for name in self.schema.texts or ():
            entry = self._add_name(parent, name)
            self._paths[entry] = f"{prefix}{name}"
            if reader.get(entry)[2] == UNKNOWN:
                reader.set(entry, IGNORE)
        self._unspelled -= reader.add_names(parent, self.names, is_json)
        for feature in sorted(self._unspelled) if is_json else ():
            for entry in self._intern_path(parent, self.names[feature], prefix):
                *_, action, _, members = reader.get(entry)
                if action == UNKNOWN:
                    reader.set(entry, FEATURE, feature, members)
            reader.set_aliases()
        self._unspelled.clear()
        return parent

    def _add_name(self, parent: int, name: str) -> int:
        """Return the entry of a name in an object."""
        spelling = name
        if self._form == JSON:
            spelling = json.dumps(name, ensure_ascii=False)[1:-1]
        entry: int = self.reader.intern(parent, spelling.encode(errors="surrogatepass"))
        self._paths[entry] = name
        return entry

    def _intern_path(self, parent: int, name: str, prefix: str = "") -> list[int]:
        """Return the entries that a name in an object may refer to: a key, and a path."""
        entries = [self._add_name(parent, name)]
        self._paths[entries[0]] = f"{prefix}{name}"
        first, *rest = name.split(".")
        if rest and self._form == JSON:
            entry, path = self._add_name(parent, first), f"{prefix}{first}"
            for part in rest:
                self._paths[entry] = path
                _, _, action, feature, _ = self.reader.get(entry)
                self.reader.set(entry, action, feature, compiled.READ_MEMBERS)
                entry, path = self._add_name(entry, part), f"{path}.{part}"
            self._paths[entry] = path
            entries.append(entry)
        self._option_entries.setdefault(name, []).extend(entries)
        return entries

    def set_members(self, names: Sequence[str]) -> None:
        """Set the names of the elements of the list that holds the features."""
        self.member_names = tuple(names)
        self.reader.set_members([self._find_id(name) for name in names])

    # --- Names

    def _find_id(self, name: str) -> int:
        """Return the ID of a feature, or -1."""
        if len(self._ids) < len(self.names):
            n = len(self._ids)
            self._ids.update(zip(self.names[n:], range(n, len(self.names)), strict=True))
        return self._ids.get(name, -1)

    def _add_feature(self, name: str) -> int:
        """Return the ID of a feature, for a new entry; -1 if the feature is unknown."""
        feature = self._find_id(name)
        if feature < 0:
            if not self.learns:
                return -1
            feature = self.reader.add_feature(name)
            self.names.append(name)
        elif feature in self._unspelled:
            self._unspelled.discard(feature)
        else:
            self.reader.set_aliases()
        return feature

    def _add_encoded_feature(self, name: str) -> int:
        """Return the ID of a feature that encodes a column; -1 if the feature is unknown."""
        if self._infers:
            self.encoded_names.add(name)
        return self._add_feature(name)

    def _find_path(self, entry: int) -> str:
        """Return the path of a name: the keys that lead to it, joined by dots."""
        if entry not in self._paths:
            parent, spelling, *_ = self.reader.get(entry)
            name = self.decode(TEXT, b'"%b"' % spelling if self._form == JSON else spelling)
            above = self._find_path(parent) if parent >= 0 else ""
            self._paths[entry] = f"{above}.{name}" if above else name
            self._new_paths.append(entry)
        return self._paths[entry]

    def _find_name(self, path: str) -> str:
        """Return the name of a feature, given its path."""
        is_inside = self._form == JSON and self.layout.key and not self.layout.is_list
        return path.removeprefix(f"{self.layout.key}.") if is_inside else path

    def find_seen(self, names: Collection[str]) -> frozenset[str]:
        """Return the names in options that have occurred in a row."""
        has_occurred = self.reader.has_occurred
        return frozenset(
            name for name in names if any(map(has_occurred, self._option_entries.get(name, ())))
        )

    # --- Cells

    def ask(self, entry: int, kind: int, number: float, content: bytes) -> Features | None:
        """Use a cell, and decide what its entry means; return features as IDs and values."""
        if entry < 0:
            raise SampleError(f"it has two values for feature {self.names[int(number)]!r}")
        try:
            return self._use_cell(entry, kind, number, content)
        except UnicodeError:
            if self._form != ARROW:
                raise
            parent = self.reader.get(entry)[0]  # the column, if the entry is that of a value
            column = self._paths[entry if parent < 0 else parent]
            raise SampleError(f"column {column!r} is not UTF-8") from None

    def _use_cell(self, entry: int, kind: int, number: float, content: bytes) -> Features | None:
        """Use a cell, and decide what its entry means; return features as IDs and values."""
        parent, _, action, feature, _ = self.reader.get(entry)
        parent_action = self.reader.get(parent)[2] if parent >= 0 else UNKNOWN
        if parent_action in (LABEL, ONE_HOT, WORDS):
            self._add_content(entry, parent, parent_action, kind, number, content)
            return None
        if parent < 0 and self._form in (JSON, LIBSVM) and action == UNKNOWN:
            self._require_features(content)
            return None
        path = self._find_path(entry)
        name = self._find_name(path)
        if kind == OBJECT and self._form == JSON:
            self._read_object(entry, path, action)
        elif action == UNKNOWN:
            return self._decide(entry, path, name, kind, number, content)
        elif name in self._encodings and action in (ASK, ONE_HOT, WORDS):
            return self._encode(name, self._decode_cell(entry, kind, number, content))
        elif action == ASK and path == self.layout.key:
            if kind != NUL or not self._options.has_join:
                raise SampleError(f"it has no object {path!r}")
            self.reader.ignore_occurrence(entry)
        elif action == ASK:
            self._decide_label(entry, name, kind, number, content)
        elif action == WEIGHT:
            self._reject_weight(entry, kind, number, content)
        elif action == VECTOR:
            self._reject_list(entry, name, kind, self._decode_cell(entry, kind, number, content))
        elif action == FEATURE:
            return self._read_feature(name, feature, kind, number, content)
        return None

    def _add_content(
        self, entry: int, parent: int, action: int, kind: int, number: float, content: bytes
    ) -> None:
        """Decide what a value of a column means: a label or a feature."""
        column = self._find_name(self._find_path(parent))
        if action == WORDS:
            name = f"{column}={content.decode()}"
        else:
            value = self._decode_cell(parent, kind, number, content)
            if action == LABEL:
                self.reader.set(entry, IGNORE, self._read_label(value))
                return
            encoding = Encoding("one_hot", column)
            encoded = encode_content(encoding, value, self._options, self._is_text)
            if not encoded:
                return
            (name,) = encoded
        feature = self._add_encoded_feature(name)
        self.reader.set(entry, FEATURE if feature >= 0 else IGNORE, feature)

    def _decide(
        self, entry: int, path: str, name: str, kind: int, number: float, content: bytes
    ) -> Features | None:
        """Decide what a name means, given its first value, and use that value."""
        role = self._roles.get(path, self._roles.get(name))
        if role is not None:
            self.reader.set(entry, role)
            self.reader.use(entry, kind, number, content)
            return None
        is_number = kind != TEXT
        if self._form == CSV and not is_number:  # it may be a number that cannot be learned: nan
            is_number = is_number_or_bool(content.decode(errors="replace").strip('"'))
        if self._is_outside(path) or name in (self.schema.texts or ()):
            self.reader.set(entry, IGNORE)
        elif self._expected is not None and name not in self._expected:
            if self.schema.features is not None and kind in _NUMERIC:
                self._new_unknown_names.append(name)
            self.reader.set(entry, IGNORE)
        elif not is_number:
            feature = self._find_id(name)
            if self._form == JSON and feature >= 0:
                raise SampleError(explain_text(name, str(self.decode(kind, content)), is_json=True))
            self.reader.set(entry, IGNORE)
            self._add_type(name, is_number=False)
        elif kind == LIST:
            raise SampleError(explain_value(name, self.decode(kind, content)))
        else:
            feature = self._add_feature(name)
            self.reader.set(entry, FEATURE if feature >= 0 else IGNORE, feature)
            if self._form == CSV or self.schema.features is not None:
                self._add_type(name, is_number=True)
            if feature >= 0:
                return self._read_feature(name, feature, kind, number, content)
        return None

    def _add_type(self, name: str, is_number: bool) -> None:
        """Note the type of a column or name, if this record is learned."""
        if self.learns:
            self._new_types[name] = is_number
            self.reader.change_schema()

    def _is_outside(self, path: str) -> bool:
        """Whether a name is outside the object or list with the features."""
        if self._form != JSON or not self.layout.key:
            return False
        return self.layout.is_list or not path.startswith(f"{self.layout.key}.")

    def _read_object(self, entry: int, path: str, action: int) -> None:
        """Decide what to do with the members of an object."""
        if action == LABEL or (action == ASK and path in LABEL_NAMES and self._label is None):
            raise SampleError(f"label {path!r} is not a number, a string or a bool")
        if self._find_name(path) in self._encodings:
            raise SampleError(f"{path!r} is not a string, a number or a bool")
        if action == WEIGHT:
            raise SampleError(f"weight {path!r} is an object, not a number")
        if action == VECTOR:
            raise SampleError(f"it has no list {path!r}")
        is_whole = path in self._roles or (self._options.label is None and path in LABEL_NAMES)
        is_whole = is_whole or self._is_outside(path)
        members = compiled.SKIP_MEMBERS if is_whole else compiled.READ_MEMBERS
        self.reader.set(entry, action, self.reader.get(entry)[3], members)

    def _decide_label(
        self, entry: int, name: str, kind: int, number: float, content: bytes
    ) -> None:
        """Decide whether a name that usually denotes a label is the label."""
        if self._label is None:
            self._label = name
            self.reader.set(entry, LABEL)
            self.reader.change_schema()
        elif self.schema.label is None and self._label != self.layout.label:
            labels = sorted([self._label, name], key=lambda label: LABEL_NAMES.index(label.lower()))
            raise SampleError(
                f"{quote_names(labels)} could each be the label: choose one with --label, and "
                "--ignore the others"
            )
        else:
            self.other_labels.add(name)
            feature = self._find_id(name)
            is_text = name in (self.schema.texts or ())
            action = FEATURE if feature >= 0 else IGNORE if is_text else UNKNOWN
            self.reader.set(entry, action, feature)
        self.reader.use(entry, kind, number, content)

    def _reject_weight(self, entry: int, kind: int, number: float, content: bytes) -> None:
        """Accept a weight that is missing or valid; otherwise, reject the record."""
        text = str(self._decode_cell(entry, kind, number, content))[:50]
        if self._is_text and text.strip() in self._options.null_values:
            return
        if kind == NUMBER and 0 <= number < math.inf:  # the number could have meant null
            self.reader.use_weight(number)
            return
        raise SampleError(
            f"weight {self._find_path(entry)!r} is {text!r}, not a finite number greater than or "
            "equal to 0"
        )

    def _reject_list(self, entry: int, name: str, kind: int, value: Any) -> None:
        """Reject a list that cannot hold the features; it may be missing if labels come later."""
        is_json = self._form == JSON
        subject = f"{'list' if is_json else 'column'} {name!r}"
        if self._options.has_join and (kind == NUL or value == []):
            self.reader.ignore_occurrence(entry)
            return
        if kind == NUL or not isinstance(value, list):
            raise SampleError(f"it has no {subject}" if is_json else f"{subject} is null")
        if not value and not self.member_names:
            raise SampleError(f"{subject} is empty")
        if not self.member_names and len(value) > self.max_features:
            raise SampleError(f"{subject} has {len(value):,} values, more than a model may have")
        scale = self.layout.find_scale(name)
        raise SampleError(explain_list(subject, value, self.member_names, scale))

    def _require_features(self, record: bytes) -> None:
        """Check that a record whose features are all null or strings has features at all."""
        if self._form == LIBSVM:
            if b":" in record:
                raise SampleError("it has none of the model's features")
            return
        value, key, is_list = parse_json_record(record), self.layout.key, self.layout.is_list
        members = value if isinstance(value, dict) else {UNNAMED_LIST: value}
        if key and not isinstance(members.get(key), list if is_list else dict):
            raise SampleError(f"it has no {'list' if is_list else 'object'} {key!r}")
        roles = {*self._roles, self._label}
        names = {
            self._find_name(path): member
            for path, member in iter_paths({n: v for n, v in members.items() if n not in roles})
            if path not in roles and not self._is_outside(path)
        }
        if not names:
            raise SampleError("it has no features")
        are_numbers = (isinstance(member, int | float) for member in names.values())
        if self.schema.features is not None and any(are_numbers):
            raise SampleError("it has none of the model's features")
        texts = {name: member for name, member in names.items() if isinstance(member, str)}
        is_first = self.learns and not self.names and self.reader.has_label()
        if is_first and len(texts) == len(names):
            raise SampleError(explain_missing_features(texts))

    # --- Contents

    def _decode_cell(self, entry: int, kind: int, number: float, content: bytes) -> Any:
        """Return the content of a cell, which may be in a column of a declared type."""
        if self._form != ARROW or kind == TEXT:
            return self.decode(kind, content)
        if entry in self.objects:
            return self.objects[entry][int(number)] if kind != NUL else None
        return None if kind == NUL else np.frombuffer(content, self.types[entry])[0].item()

    def decode(self, kind: int, content: bytes) -> Any:
        """Return the content of a cell as a Python value."""
        if kind == NUL and self._form != CSV:
            return None
        if self._form == JSON:
            value = json.loads(content)
            if b"\\u" in content:  # an escaped lone surrogate cannot be encoded
                json.dumps(value, ensure_ascii=False).encode()
            return value
        return self._options.convert_decimal_comma(self._decode_field(content), self._is_text)

    def _decode_field(self, content: bytes) -> str:
        """Return the text of a field, without its CSV quotes."""
        text = content.decode()
        if self._form == CSV and text.startswith('"'):
            return text[1:-1].replace('""', '"')
        return text

    @property
    def _is_text(self) -> bool:
        """Whether numbers are written as strings."""
        return self._form in (CSV, LIBSVM)

    def _read_label(self, value: Any) -> int:
        """Return the ID of a label; -1 if it is missing."""
        nulls = self._options.null_values if self._is_text else self._options.missing
        if value is None or value != value or (isinstance(value, str) and value.strip() in nulls):
            return -1
        if isinstance(value, list | dict):
            raise SampleError(f"label {self._label!r} is not a number, a string or a bool")
        label_type = self.schema.label_type or infer_label_type(value, self._is_text)
        try:
            label = convert_label(value, label_type, self._is_text)
        except ValueError as error:
            raise SampleError(f"label {error}") from None
        if self.schema.label_type is None:
            self.schema = replace(self.schema, label_type=label_type)
            self.reader.change_schema()
        label_id = self._label_ids.setdefault(label, len(self.labels))
        if label_id == len(self.labels):
            self.labels.append(label)
        return label_id

    def _encode(self, column: str, value: object) -> Features:
        """Return the features for the content of a column with dates, words or lists."""
        features: dict[int, float] = {}
        is_missing = True
        for encoding in self._encodings[column]:
            encoded = encode_content(encoding, value, self._options, self._is_text)
            is_missing = is_missing and encoded is None
            for name, number in (encoded or {}).items():
                feature = self._find_id(name)
                if feature < 0:
                    feature = self._add_encoded_feature(name)
                features.setdefault(feature, number)
        features.pop(-1, None)
        if is_missing:
            self.reader.count_missing()
        else:
            self.reader.note_features()
        return list(features.items())

    def _read_feature(
        self, name: str, feature: int, kind: int, number: float, content: bytes
    ) -> Features:
        """Return a feature's value that is not a plain number, or explain why it is invalid."""
        is_json = self._form == JSON
        if kind == LIST:
            raise SampleError(explain_value(name, self.decode(kind, content)))
        if kind == TEXT:
            raise SampleError(explain_text(name, str(self.decode(kind, content)), is_json))
        value: Any = number if self._form == ARROW else self.decode(kind, content)
        try:
            exact = number if math.isfinite(number) else float(value)
        except OverflowError:
            exact = math.inf
        if not math.isfinite(exact):
            subject = "column" if self._form in (CSV, ARROW) else "feature"
            advice = ": clean or drop it" if is_json else ""
            raise SampleError(f"{subject} {name!r} is {str(value)[:50]}, not finite{advice}")
        scaled = exact * self.layout.find_scale(name)
        if not math.isfinite(scaled):
            scale = self._options.scale
            raise SampleError(f"feature {name!r} is {exact:g}, too large for --scale {scale:g}")
        return [(feature, scaled)]

    # --- Records

    def judge(self, status: int, row: int, contents: Sequence[tuple[int, bytes]]) -> int:
        """Return the status of a record given its kept cells."""
        options, offset = self._options, None
        values: tuple[object, ...] = ()
        n = len(options.position)
        try:
            if status != compiled.MALFORMED:
                if self._form == ARROW:
                    kept = list(self.kept_rows[self._first_row + row])
                elif self._form == CSV:
                    kept = [self._decode_field(content) for _, content in contents]
                else:
                    kept = [self.decode(kind, content) for kind, content in contents]
                if n:
                    offset = parse_offset(options, kept[:n], self._is_text)
                    if self._redeliveries is not None and self._redeliveries.update(offset):
                        status = REDELIVERED
                values = tuple(kept[n:])
        finally:
            self.offsets.append(offset)
            self.passthrough.append(values)
        return status

    def finish(
        self, outcome: int, n_before: int, n_entries: int, is_empty: bool, record: bytes | None
    ) -> bool:
        """Keep what a record has added, or undo it and keep only the first `n_before` names.

        Return whether the next record decides a part of the schema; `record` is given if the
        current record does.
        """
        if outcome == DROPPED:
            del self.names[n_before:]
            while len(self._ids) > n_before:
                self._ids.popitem()
            for label in self.labels[self._n_labels :]:
                del self._label_ids[label]
            del self.labels[self._n_labels :]
            self.schema, self._label = self._committed
        if outcome in (DROPPED, FORGOTTEN):
            for entry in self._new_paths:
                if entry >= n_entries:
                    del self._paths[entry]
        else:
            self.unknown_names += self._new_unknown_names
        has_new_label = self._form == JSON and self._label != self._committed[1]
        is_changed = self._is_undecided or self._new_types or has_new_label
        if outcome != DROPPED and self.learns and is_changed:
            has_features = not (is_empty and self._options.has_join) or bool(self._new_types)
            self.schema = self._build_schema(has_features)
            if self._is_undecided and has_features:
                self._is_undecided = False
                self._add_columns(record)
        self._commit()
        return self._is_undecided

    def _commit(self) -> None:
        self._n_labels, self._committed = len(self.labels), (self.schema, self._label)
        self._new_paths.clear()
        self._new_types.clear()
        self._new_unknown_names.clear()

    def _add_columns(self, record: bytes | None) -> None:
        """Add the names in the first learned JSON record to the schema."""
        key, schema = self.layout.key, self.schema
        if self._form != JSON or schema.columns or schema.is_list or record is None:
            return
        names = [path for path, _ in iter_paths(json.loads(record))]
        if key:
            used = {self._label, *self._options.roles}
            names = [
                name.removeprefix(f"{key}.")
                for name in names
                if name in used or name.startswith(f"{key}.")
            ]
        if len(set(names)) == len(names):
            self.schema = replace(schema, columns=tuple(names))

    def _build_schema(self, has_features: bool) -> Schema:
        """Return the schema after a record."""
        layout, schema = self.layout, self.schema
        texts = [*(schema.texts or ())]
        texts += [name for name, is_number in self._new_types.items() if not is_number]
        if self._form in (CSV, ARROW):
            return self._build_table_schema(texts)
        if self._form == LIBSVM:
            return replace(schema, texts=tuple(texts))
        if not has_features:
            return replace(schema, label=schema.label or self._label)
        if layout.is_list:
            features = None if schema.is_open else self.member_names
            schema = replace(schema, is_list=True, features=schema.features or features)
        else:
            schema = replace(self._with_new_types(schema), texts=tuple(texts))
        return replace(schema, key=layout.key, label=schema.label or self._label)

    def _with_new_types(self, schema: Schema) -> Schema:
        """Return the schema of a table after some of its untyped columns have been typed."""
        if schema.features is None:
            return schema
        numbers = [name for name, is_number in self._new_types.items() if is_number]
        features = tuple(dict.fromkeys((*schema.features, *numbers)))
        untyped = tuple(name for name in schema.untyped if name not in self._new_types)
        return replace(schema, features=features, untyped=untyped)

    def _build_table_schema(self, texts: list[str]) -> Schema:
        """Return the schema of a table, given its columns of strings."""
        layout, schema, options = self.layout, self.schema, self._options
        candidates = layout.candidates
        if options.has_join and not candidates:
            return schema
        if layout.is_list:
            features = None if schema.is_open else self.member_names
            return replace(schema, features=schema.features or features)
        if self._form == ARROW and schema.is_new:
            texts = [
                n for n in candidates if layout.types[n].kind is Kind.TEXT or n in options.encoded
            ]
        new: dict[str, Any] = {"texts": tuple(dict.fromkeys(texts))}
        if layout.has_column_names and not schema.columns:
            new |= {"columns": layout.columns, "label": layout.label}
        if schema.is_open:
            return replace(schema, **new)
        numbers = {
            *(schema.features or ()),
            *(n for n, is_number in self._new_types.items() if is_number),
        }
        if self._form == ARROW:
            numbers.update(layout.declared_numbers)
        new["features"] = tuple(name for name in layout.columns if name in numbers)
        if self._form == CSV:
            typed = {*numbers, *texts, *options.encoded}
            untyped = candidates if schema.features is None else schema.untyped
            new["untyped"] = tuple(name for name in untyped if name not in typed)
        return replace(schema, **new)

    def explain(self, record: bytes) -> str:
        """Return why a record is malformed."""
        layout = self.layout
        if self._form == JSON:
            reason = explain_json(record, has_columns=bool(self.schema.columns))
        elif self._form == LIBSVM:
            reason = explain_libsvm(record)
        else:
            reason = explain_csv(record, layout.dialect, len(layout.columns))
        return reason[:_MAX_REASON]

    def describe_error(self, error: ValueError) -> str:
        """Return the reason for a rejection, given the error that a cell has raised."""
        if isinstance(error, SampleError):
            return str(error)[: 10 * _MAX_REASON]
        if isinstance(error, UnicodeError):
            return NOT_UTF8
        return "it has a number that is too long or not valid in JSON"
