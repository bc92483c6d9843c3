"""The meaning of records of text, read one at a time by the standard library."""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
import re
import sys
from typing import NamedTuple

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
CANONICAL = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0*)?", re.ASCII)
DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)([T ](\d\d)(:?[0-5]\d(:?[0-6]\d([.,]\d+)?)?)?"
    r"\s?(Z|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?)?",
    re.ASCII,
)
WORD = re.compile(r"[^\W_]+")


class Row(NamedTuple):
    """What a record means."""

    label: object
    features: dict[str, float]
    weight: float


class RejectedError(Exception):
    """A record that cannot be used."""


def flatten(values):
    """Return the elements of a list, flattened while all of them are lists."""
    while values and all(isinstance(value, list) for value in values):
        values = [item for value in values for item in value]
    return values


class RecordOracle:
    """Reads records in order; the strings of a column add at most `max_features` features.

    `key` is where the list of features is; None if there is none, or if the first learned record
    of JSON decides.
    """

    def __init__(self, form, options, columns=(), key=None, decides=False, max_features=2**15):
        self.form, self.options, self.key, self.n = form, options, key, None
        self.columns = [name.strip() for name in columns]
        self.decides = decides
        self.nulls = {"", *options.missing}
        self.names, self.label_type, self.max_features = set(), None, max_features

    def read(self, record):
        """Return the row of a record; None if it is rejected."""
        label_type, self.new = self.label_type, set()
        try:
            label, features, weight = self._read(record)
        except RejectedError:
            self.label_type = label_type
            return None
        is_learned = label is not None or self.options.join
        if self.decides and is_learned and features:
            self.decides = False
            self.key = self._find_only_list(json.loads(record), features)
            if self.key:
                self.label_type = label_type
                return self.read(record)
        if not is_learned:
            features = {name: x for name, x in features.items() if name in self.names}
            self.label_type = label_type
        else:
            self.names.update(features)
        return Row(label, features, weight)

    def _read(self, record):
        if self.form == "libsvm":
            return self._read_pairs(record.partition("#")[0].split())
        cells = self._split(record)
        label = self._read_label(cells.pop(self.options.label, None))
        weight = self._read_weight(cells.pop(self.options.weight, None))
        features = {}
        for name, value in cells.items():
            if name in self.options.columns_with_role or (
                self.key and name.split(".")[0] != self.key
            ):
                continue
            pairs = self._read_list(value) if name == self.key else self._encode(name, value)
            for feature, number in pairs:
                if features.setdefault(feature, number) != number:
                    raise RejectedError
        if self.key and self.key not in cells and not self.options.join:
            raise RejectedError
        return Row(label, features, weight)

    def _find_only_list(self, record, features):
        """Return the name of the only list of numbers if it has all features; else None."""
        lists = [
            name
            for name, value in record.items()
            if isinstance(value, list)
            and name not in {*self.options.columns_with_role, self.options.label}
            if any(isinstance(item, int | float) for item in flatten(value))
            if not any(isinstance(item, str) for item in flatten(value))
            if name not in self.options.categorical and list(self._encode(name, value))
        ]
        if len(lists) != 1:
            return None
        (name,) = lists
        return name if features.keys() == dict(self._encode(name, record[name])).keys() else None

    def _split(self, record):
        """Return the cells of a record by name or path, all in one dict."""
        if self.form == "json":
            try:
                value = json.loads(record)
            except ValueError:
                raise RejectedError from None
            if not isinstance(value, dict):
                raise RejectedError
            return dict(self._iter_paths(value))
        try:
            (fields,) = csv.reader([record], strict=True)
        except (csv.Error, ValueError):
            raise RejectedError from None
        if len(fields) != len(self.columns):
            raise RejectedError
        return dict(zip(self.columns, fields, strict=True))

    def _iter_paths(self, value, prefix=""):
        for name, member in value.items():
            path = f"{prefix}{name.strip()}"
            roles = {self.options.label, self.key, *self.options.columns_with_role}
            if isinstance(member, dict) and path not in roles:
                yield from self._iter_paths(member, f"{path}.")
            else:
                yield path, member

    def _is_null(self, value):
        return value is None or (isinstance(value, str) and value.strip() in self.nulls)

    def _parse_number(self, value):
        """Return a cell as a number; None if it is something else."""
        if isinstance(value, bool | int | float):
            return float(value)
        if self.form != "json" and isinstance(value, str):
            text = value.strip().lower()
            if text in ("true", "false"):
                return float(text == "true")
            return float(text) if NUMBER.fullmatch(text) else None
        return None

    def _scale(self, number):
        number *= self.options.scale or 1.0
        if not abs(number) <= (1e100 if self.options.standardize else sys.float_info.max):
            raise RejectedError
        return number

    def _encode(self, name, value):
        """Return the features of a cell, with their values."""
        is_categorical = name in self.options.categorical
        if isinstance(value, list):
            flat = flatten(value)
            has_text = any(isinstance(item, str) for item in flat)
            if any(isinstance(item, list | dict) for item in flat) or (has_text and flat != value):
                return []
            present = [(i, item) for i, item in enumerate(flat) if not self._is_null(item)]
            if has_text or is_categorical or not any(isinstance(x, float) for _, x in present):
                return [pair for _, item in present for pair in self._categorize(name, item)]
            pairs = [(f"{name}{i}", self._scale(float(item))) for i, item in present]
            return self._limit(pairs)
        if isinstance(value, dict):
            raise RejectedError
        if self._is_null(value):
            return []
        if is_categorical:
            return self._categorize(name, value)
        if (number := self._parse_number(value)) is not None:
            return self._limit([(name, self._scale(number))])
        text = value.strip()
        if match := DATE.fullmatch(text):
            try:
                date, hour = dt.date.fromisoformat(match[1]), match[3]
                hours = [(f"{name}.hour={dt.time(int(hour)).hour}", 1.0)] if hour else []
            except ValueError:
                pass
            else:
                return self._limit(
                    [
                        *hours, (f"{name}.weekday={date.strftime('%A').lower()}", 1.0),
                        (f"{name}.month={date.month}", 1.0),
                        (f"{name}.days", (date - dt.date(2020, 1, 1)).days / 365),
                    ]
                )  # fmt: skip
        words = WORD.findall(text.lower())
        if len(words) <= 3:
            return self._limit([(f"{name}={text}", 1.0)])
        return self._limit([(f"{name}={word}", 1.0) for word in words])

    def _categorize(self, name, value):
        is_null = self._is_null(value)
        return [] if is_null else self._limit([(f"{name}={self._shorten(value)}", 1.0)])

    def _limit(self, pairs):
        """Return features without those that a full column would add."""
        for feature, value in pairs:
            column, sign, _ = feature.partition("=")
            known = self.names | self.new
            n = sum(name.partition("=")[:2] == (column, "=") for name in known)
            if feature in known or not sign or n < self.max_features or self.options.join:
                self.new.add(feature)
                yield feature, value

    def _shorten(self, value):
        """Return the shortest form of a number; strings in JSON stay as they are."""
        is_text = self.form == "csv" and isinstance(value, str)
        text = value.strip() if isinstance(value, str) else json.dumps(value)
        if text.lower() in ("true", "false") and is_text:
            return text.lower()
        is_number = is_text and CANONICAL.fullmatch(text) and math.isfinite(float(text))
        if not is_number and (isinstance(value, str | bool)):
            return text
        if re.fullmatch(r"[+-]?\d+", text):
            return str(int(text))
        return str(int(float(text))) if float(text).is_integer() else str(float(text))

    def _read_label(self, value):
        if self._is_null(value):
            return None
        if isinstance(value, list | dict):
            raise RejectedError
        is_text = self.form != "json"
        is_whole = bool(WHOLE.fullmatch(value)) if is_text else isinstance(value, int)
        kind = self.label_type or ("int" if is_whole else "str")
        if not is_whole if kind == "int" else not isinstance(value, str):
            raise RejectedError
        self.label_type = kind
        return int(float(value)) if kind == "int" else value.strip() if is_text else value

    def _read_weight(self, value):
        if self._is_null(value):
            return 1.0
        number = self._parse_number(value)
        if number is None or not 0 <= number < math.inf:
            raise RejectedError
        return number

    def _read_list(self, values):
        if values in (None, []) and self.options.join:
            return []
        if not isinstance(values, list):
            raise RejectedError
        values = flatten(values)
        self.n = self.n or len(values)
        if len(values) != self.n:
            raise RejectedError
        if any(isinstance(v, str | list | dict) for v in values):
            raise RejectedError
        pairs = ((f"{self.key}{i}", v) for i, v in enumerate(values) if v is not None)
        return [(name, self._scale(float(v))) for name, v in pairs]

    def _read_pairs(self, tokens):
        text = tokens.pop(0) if tokens and ":" not in tokens[0] else None
        features = {}
        for token in tokens:
            name, _, number = token.partition(":")
            if not name or name in features or not NUMBER.fullmatch(number):
                raise RejectedError
            features[name] = self._scale(float(number))
        for name in self.options.ignore:
            features.pop(name, None)
        return Row(self._read_label(text), features, 1.0)
