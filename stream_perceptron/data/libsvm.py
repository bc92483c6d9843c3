"""Records of LIBSVM."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from stream_perceptron.data.batch import RawLines
from stream_perceptron.data.csv import NUMBER
from stream_perceptron.data.jsonl import scaled
from stream_perceptron.data.lines import Decoder, Rejected, Sample
from stream_perceptron.data.plain import SKIP, LibsvmPlan, Plan, Reading, refused
from stream_perceptron.data.schema import (
    LABEL_NAMES,
    Described,
    Schema,
    Selection,
    describe,
    names_in,
)
from stream_perceptron.data.source import Numbers, Request
from stream_perceptron.errors import SampleError, SourceError
from stream_perceptron.frozen import frozen
from stream_perceptron.model.rows import Names
from stream_perceptron.model.vocabulary import natural_order

_PAIR = re.compile(rf"([^\s:]+):({NUMBER})")


class LibsvmFormat:
    """Lines of LIBSVM: a label, and pairs such as 3:0.5 of a feature and its value."""

    n_header_lines = 0

    def records(self, lines: Iterator[RawLines]) -> Iterator[RawLines]:
        """Yield the records that lines make: one each."""
        return lines

    def decoder(self, request: Request, where: str, first: str) -> LibsvmDecoder:
        """Return what reads the records."""
        asked = request.selection
        has_columns = asked.position or asked.weight or asked.one_hot
        if asked.keep or (request.to_learn and has_columns):
            raise SourceError(
                f"{where}: lines of LIBSVM have no columns for --position, --weight, --one-hot or "
                "--keep"
            )
        return LibsvmDecoder(
            asked,
            request.schema,
            asked.label or LABEL_NAMES[0],
            request.numbers,
            request.to_learn,
            float(np.finfo(request.dtype).max),
        )


@frozen
class LibsvmDecoder:
    """How records of LIBSVM are read.

    The names of the features are kept as they are, whether they begin with 0 or 1. A line that
    begins with a pair has no label.
    """

    selection: Selection
    schema: Schema
    label: str
    numbers: Numbers
    to_learn: bool
    largest: float  # that a feature may be
    names: Names | None = None  # in the first row

    @property
    def outlook(self) -> Schema:
        """What is known."""
        return self.schema

    def decode(self, record: bytes) -> Sample | Rejected:
        """Return what a record says."""
        try:
            tokens = record.decode().partition("#")[0].split()
            has_label = bool(tokens) and ":" not in tokens[0]
            text = tokens.pop(0) if has_label else None
            pairs = [_pair(token) for token in tokens]
            x = {name: value for name, value in pairs if name not in self.selection.ignore}
            names = [name for name, _ in pairs]
            if len(set(names)) < len(names):
                twice = next(name for i, name in enumerate(names) if name in names[:i])
                raise SampleError(f"it has feature {twice[:50]!r} twice")
            unknown = [name for name in x if name not in self._known] if self._known else []
            if unknown:
                raise SampleError(f"it adds {names_in(unknown)} to the features of the model")
            values = np.fromiter(x.values(), np.float64, len(x))
            if not np.isfinite(values).all():
                name = list(x)[int(np.flatnonzero(~np.isfinite(values))[0])]
                raise SampleError(f"feature {name!r} is not finite")
            values = scaled(self.selection, values)
            label, schema = self.schema.with_label(text, is_text=True)
        except UnicodeDecodeError:
            return Rejected("it is not UTF-8")
        except SampleError as error:
            return Rejected(str(error))
        after, features = self, tuple(x)
        if self.schema.is_new:
            schema = replace(schema, texts=())
        if schema is not self.schema or self.names is None:
            in_order = tuple(map(str, natural_order(features)))
            first = in_order if self.names is None else self.names
            after = replace(self, schema=schema, names=first)
        return Sample(features, values, label, 1.0, None, after, are_columns=False)

    def take_note(self, sample: Sample) -> None:
        """Take note of the features of a record that is learned."""
        self.numbers.names.update(dict.fromkeys(map(str, sample.names)))

    def plan(self, record: bytes, before: Decoder) -> Plan | None:
        """Return how records that are plain are read, None if they never are."""
        if self.to_learn and self.schema is not before.schema:
            return self._planned(refused)
        return self._plan

    @cached_property
    def _plan(self) -> Plan:
        return self._planned(self._to_label)

    def _planned(self, to_label: Reading) -> Plan:
        asked, largest = self.selection, self.largest
        roles = dict.fromkeys(asked.ignore, SKIP)
        numbers = self.numbers.names if self.to_learn else dict(self.numbers.names)
        if self._known:
            numbers = dict.fromkeys(self.schema.features or ())
        return LibsvmPlan(roles, numbers, not self._known, [to_label], asked.scale, largest)

    def _to_label(self, data: bytes) -> Any:
        if self.schema.label_type is None:
            raise SampleError("the first label tells of which type all are")
        return self.schema.with_label(data.decode(), is_text=True)[0]

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.schema.features or ())

    def describe(self) -> tuple[str, ...]:
        """Say in a few lines what is used and what is not."""
        scale = 1.0 if self.selection.scale is None else self.selection.scale
        names = tuple(map(str, self.names or ()))
        found = Described(names, " from 'features'", [scale], self.label)
        return describe(self.selection, self.schema, found)


def _pair(token: str) -> tuple[str, float]:
    match = _PAIR.fullmatch(token)
    if match is None:
        raise SampleError(f"it is not LIBSVM: {token[:50]!r} is not an index:value pair")
    return match[1], float(match[2])
