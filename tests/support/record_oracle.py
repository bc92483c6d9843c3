"""The meaning of records of text, read one at a time by the standard library."""

from __future__ import annotations

import csv
import json
import math
import re
from typing import NamedTuple

from stream_perceptron.encoders import (
    encode_date,
    encode_words,
    format_value,
    is_missing,
    join_texts,
)

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)(\.0*)?", re.ASCII)


class Row(NamedTuple):
    """What a record means."""

    label: object
    features: dict[str, float]
    weight: float


class RejectedError(Exception):
    """A record that cannot be used."""


class RecordOracle:
    """Reads records in order; those that are learned decide the types of the next ones.

    `key` is where the features of JSON are: "" for the record itself. If `is_list`, a list holds n.
    """

    def __init__(self, form, options, columns=(), key="", is_list=False, n=0):
        self.form, self.options, self.columns = form, options, columns
        self.key, self.is_list, self.n = key, is_list, n
        self.types = {}  # "number" or "text", by name
        self.label_type = None

    def read(self, record):
        """Return the row of a record; None if it is rejected."""
        types, label_type = dict(self.types), self.label_type
        try:
            row = self._read(record)
        except RejectedError:
            self.types, self.label_type = types, label_type
            return None
        if row.label is None and not self.options.join:
            row = row._replace(features={n: v for n, v in row.features.items() if n in types})
            self.types, self.label_type = types, label_type
        return row

    def _read(self, record):
        if self.form == "libsvm":
            return self._read_pairs(record.partition("#")[0].split())
        cells = self._split(record)
        options, features = self.options, {}
        label = self._read_label(cells.pop("label", None))
        weight = self._read_weight(cells.pop("w", None)) if options.weight else 1.0
        encoded = {
            n: cells.pop(n)
            for n in (*options.one_hot, *options.dates, *options.words)
            if n in cells
        }
        for name in options.roles:
            cells.pop(name, None)
        has_only_label = options.join and all(
            value is None for value in [*cells.values(), *encoded.values()]
        )
        if not has_only_label:
            features = self._read_features(cells, encoded, has_label=label is not None)
        return Row(label, features, weight)

    def _split(self, record):
        """Return the cells of a record by name or path, all in one dict."""
        if self.form == "csv":
            try:
                (fields,) = csv.reader([record], strict=True)
            except (csv.Error, ValueError):
                raise RejectedError from None
            if len(fields) != len(self.columns):
                raise RejectedError
            return dict(zip(self.columns, fields, strict=True))
        value = json.loads(record)
        if self.key and not self.is_list:
            inner = value.pop(self.key, None)
            encoded = {name: value.get(name) for name in self.options.encoded}
            if inner is None and self._may_have_only_label(encoded):
                inner = {}
            if not isinstance(inner, dict):
                raise RejectedError
            roles = {"label", *self.options.roles, *self.options.encoded}
            outer = {n: v for n, v in value.items() if n in roles}
            value = inner | outer
        return dict(self._iter_paths(value))

    def _iter_paths(self, value, prefix=""):
        for name, member in value.items():
            role = f"{prefix}{name}" in {"label", *self.options.roles, *self.options.encoded}
            if isinstance(member, dict) and not role:
                yield from self._iter_paths(member, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", member

    def _may_have_only_label(self, encoded):
        nulls = {"", *self.options.missing}
        are_null = (value == [] or is_missing(value, nulls) for value in encoded.values())
        return self.options.join and all(are_null)

    def _read_label(self, value):
        is_text = self.form != "json"
        nulls = {"", *self.options.missing} if is_text else set(self.options.missing)
        if value is None or (isinstance(value, str) and value.strip() in nulls):
            return None
        if isinstance(value, list | dict):
            raise RejectedError
        is_whole = bool(WHOLE.fullmatch(value)) if is_text else isinstance(value, int)
        kind = self.label_type or ("int" if is_whole else "str")
        if kind == "int" and not is_whole:
            raise RejectedError
        if kind == "str" and not isinstance(value, str):
            raise RejectedError
        self.label_type = kind
        return int(float(value)) if kind == "int" else value

    def _read_weight(self, value):
        if value is None or (self.form == "csv" and value.strip() in {"", *self.options.missing}):
            return 1.0
        number = self._parse_number(value)
        if number is None or not 0 <= number < math.inf:
            raise RejectedError
        return number

    def _parse_number(self, value):
        """Return a cell as a number; None if it is something else."""
        if isinstance(value, bool | int | float):
            return float(value)
        if self.form == "csv" and value.strip().lower() in ("true", "false"):
            return float(value.strip().lower() == "true")
        if self.form == "csv" and NUMBER.fullmatch(value.strip()):
            return float(value)
        return None

    def _scale(self, number):
        number *= self.options.scale or 1.0
        if not math.isfinite(number):
            raise RejectedError
        return number

    def _read_features(self, cells, encoded, has_label):
        features, nulls = {}, {"", *self.options.missing}
        if self.is_list:
            values = cells.get(self.key)
            if any(name.startswith(f"{self.key}.") for name in cells):
                raise RejectedError
            if values is not None or not self._may_have_only_label(encoded):
                features = self._read_list(values)
        elif self.form == "json" and not cells and not encoded:
            raise RejectedError
        for name, value in cells.items() if not self.is_list else ():
            if value is None or (isinstance(value, str) and value.strip() in nulls):
                continue
            if self.types.get(name) == "text":
                continue
            number = None if isinstance(value, list | dict) else self._parse_number(value)
            if number is None and not isinstance(value, str):
                raise RejectedError
            if number is None and self.types.get(name) == "number":
                raise RejectedError
            self.types[name] = "text" if number is None else "number"
            if number is not None:
                features[name] = self._scale(number)
        has_null = any(is_missing(v, nulls) for v in cells.values() if not isinstance(v, list))
        has_any = features or has_null or encoded or "number" in self.types.values()
        if self.form == "json" and has_label and not has_any and not self.is_list:
            raise RejectedError  # all values are texts
        for name, value in encoded.items():
            features |= {n: v for n, v in self._encode(name, value).items() if n not in features}
        return features

    def _read_list(self, values):
        while isinstance(values, list) and values and all(isinstance(v, list) for v in values):
            values = [item for value in values for item in value]
        if not isinstance(values, list) or len(values) != self.n:
            raise RejectedError
        if any(isinstance(v, str | list | dict) for v in values):
            raise RejectedError
        pairs = {
            f"{self.key}{i}": self._scale(float(v)) for i, v in enumerate(values) if v is not None
        }
        self.types |= dict.fromkeys(pairs, "number")
        return pairs

    def _encode(self, column, value):
        options, is_text, nulls = self.options, self.form == "csv", {"", *self.options.missing}
        features = {}
        values = value if isinstance(value, list) else [value]
        if any(isinstance(item, list | dict) for item in values):
            raise RejectedError
        if column in options.one_hot:
            for item in values:
                if not is_missing(item, nulls):
                    features[f"{column}_{format_value(item, is_text)}"] = 1.0
        if column in options.dates and not is_missing(value, nulls):
            try:
                features |= encode_date(column, str(value))
            except ValueError:
                raise RejectedError from None
        if column in options.words and not is_missing(value, nulls):
            text = value if isinstance(value, str) else join_texts(column, value, nulls)
            features |= encode_words(column, text)
        self.types |= dict.fromkeys(features, "number")
        return features

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
        self.types |= dict.fromkeys(features, "number")
        return Row(self._read_label(text), features, 1.0)
