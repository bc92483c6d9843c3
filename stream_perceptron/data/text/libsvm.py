"""LIBSVM: the format and its reference parser."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stream_perceptron.data import roles
from stream_perceptron.data.describe import Described, Note, describe
from stream_perceptron.data.interpreter import Context
from stream_perceptron.data.naming import LABEL_NAMES, names_in
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.data.source import Request
from stream_perceptron.data.text.scanning import LIBSVM_LABEL, LibsvmScanner
from stream_perceptron.data.text.records import NOT_UTF8, RawLines
from stream_perceptron.data.text.sample import NUMBER, Rejected, Sample, scale_features
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.model.vocabulary import doubled, natural_order

_PAIR = re.compile(rf"([^\s:]+):({NUMBER})")


class LibsvmFormat:
    """Lines of LIBSVM: a label, then pairs of a feature and its value, such as 3:0.5."""

    has_comments = True
    n_header_lines = 0

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records of lines: one each, comments excepted."""
        return (replace(each, has_comments=True) for each in lines)

    def decoder(self, request: Request, where: str, first: bytes) -> LibsvmDecoder:
        """Return the decoder of the records."""
        asked = request.selection
        has_columns = asked.position or asked.weight or asked.one_hot
        if asked.kept or (request.to_learn and has_columns):
            raise SourceError(
                f"{where}: lines of LIBSVM have no columns for --position, --weight, --one-hot, "
                "--join or --keep"
            )
        return LibsvmDecoder(asked, request.schema)


class LibsvmDecoder:
    """Reads LIBSVM records.

    Features keep their names, counted from 0 or 1. A line that begins with a pair has no label.
    """

    def __init__(self, selection: Selection, schema: Schema) -> None:
        self.selection, self.schema = selection, schema
        self.label = selection.label or LABEL_NAMES[0]
        self._known = frozenset(schema.features or ())

    @property
    def context(self) -> Context:
        """What the meaning of a record depends on."""
        return Context(replace(self.selection, label=LIBSVM_LABEL), self.schema, is_text=True)

    def scanner(self) -> LibsvmScanner:
        """Return a scanner of the records."""
        return LibsvmScanner()

    def with_schema(self, schema: Schema) -> LibsvmDecoder:
        """Return the decoder for a later schema."""
        return LibsvmDecoder(self.selection, schema)

    def outlook(self, first: bytes) -> Schema:
        """Return the schema before the first record."""
        return self.schema

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return the sample in a record, or why it is rejected."""
        try:
            text, x = self._parsed(record)
            unknown = [name for name in x if name not in self._known] if self._known else []
            if unknown:
                raise SampleError(f"it adds {names_in(unknown)} to the features of the model")
            values = np.fromiter(x.values(), np.float64, len(x))
            if not np.isfinite(values).all():
                name = list(x)[int(np.flatnonzero(~np.isfinite(values))[0])]
                raise SampleError(f"feature {name!r} is not finite")
            values = scale_features(self.selection, tuple(x), values)
            text = roles.present(text, self.selection, is_text=True)
            label, schema = self.schema.with_label(text, is_text=True)
        except SampleError as error:
            return Rejected(str(error))
        if schema.is_new:
            schema = replace(schema, texts=())
        if label is not None:
            schema = schema.with_numbers(x)
        return Sample(tuple(x), values, label, 1.0, None, schema)

    def _parsed(self, record: bytes) -> tuple[str | None, dict[str, float]]:
        """Return the label and the features of a record."""
        try:
            tokens = record.decode().partition("#")[0].split()
        except UnicodeDecodeError:
            raise SampleError(NOT_UTF8) from None
        text = tokens.pop(0) if tokens and ":" not in tokens[0] else None
        pairs = [_pair(token) for token in tokens]
        twice = doubled([name for name, _ in pairs])
        if twice:
            raise SampleError(f"it has feature {str(twice[0])[:50]!r} twice")
        return text, {name: value for name, value in pairs if name not in self.selection.ignore}

    def describe(
        self, told: Sequence[tuple[bytes, Sample]], first: Sequence[bytes | None]
    ) -> tuple[Note, ...]:
        """Return notes on the features and the label."""
        scale = 1.0 if self.selection.scale is None else self.selection.scale
        names = tuple(map(str, natural_order(told[0][1].names)))
        found = Described(names, " from 'features'", [scale], self.label)
        return describe(self.selection, self.schema, found)


def _pair(token: str) -> tuple[str, Any]:
    match = _PAIR.fullmatch(token)
    if match is None:
        raise SampleError(f"it is not LIBSVM: {token[:50]!r} is not an index:value pair")
    return match[1], float(match[2])
