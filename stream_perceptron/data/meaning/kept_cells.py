"""Cells that are kept as they are: passthrough columns, IDs and offsets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from stream_perceptron.data.batch import Offset, Redeliveries
from stream_perceptron.data.layout import Layout, compiled
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.encoders import name_number_category
from stream_perceptron.errors import SampleError

_NUMBER, _TEXT = compiled.NUMBER, compiled.TEXT
_MALFORMED, _REDELIVERED = compiled.MALFORMED, compiled.REDELIVERED
_INTEGER = re.compile(r" *-?[0-9]{1,19} *")


class KeptCells:
    """The kept cells of the rows of a block.

    Attributes
    ----------
    names
        The columns or paths whose cells are kept.
    passthrough_names
        The passthrough columns; for raw records, all columns without a role.
    offsets, passthrough
        The offset and the passthrough columns of each row of the last block.
    rows
        The values of the kept columns in each row of a record batch, for Arrow.
    first_row
        The first row of the last block in its record batch.

    """

    def __init__(self, layout: Layout, request: ReadRequest, is_raw: bool) -> None:
        options = layout.read_options
        self.passthrough_names = tuple(layout.feature_columns) if is_raw else options.passthrough
        self.names = list(dict.fromkeys((*options.position, *self.passthrough_names)))
        self.offsets: list[Offset | None] = []
        self.passthrough: list[tuple[object, ...]] = []
        self.rows: list[tuple[object, ...]] | None = None
        self.first_row = 0
        self._format, self._options, self._is_raw = layout.format, options, is_raw
        self._redeliveries: Redeliveries | None = request.redeliveries

    def clear(self) -> None:
        """Begin a block."""
        self.offsets, self.passthrough = [], []

    def read(self, status: int, row: int, contents: Sequence[tuple[int, bytes]]) -> int:
        """Add the kept cells of a row; return the row's status, given its status without them.

        Raises
        ------
        ValueError
            If a cell cannot be decoded, or is not an offset.

        """
        offset = None
        values: tuple[object, ...] = ()
        try:
            if status != _MALFORMED:
                kept = dict(zip(self.names, self._decode_row(row, contents), strict=True))
                if self._options.position:
                    offset = parse_offset(
                        self._options,
                        [kept[name] for name in self._options.position],
                        is_text=not self._format.has_typed_cells,
                    )
                    if self._redeliveries is not None and self._redeliveries.update(offset):
                        status = _REDELIVERED
                values = tuple([kept[name] for name in self.passthrough_names])
        finally:
            self.offsets.append(offset)
            self.passthrough.append(values)
        return status

    def _decode_row(self, row: int, contents: Sequence[tuple[int, bytes]]) -> Sequence[object]:
        if self.rows is not None:
            return self.rows[self.first_row + row]
        cells = zip(self.names, contents, strict=True)
        return [self._decode(name, *cell) for name, cell in cells]

    def _decode(self, name: str, cell_kind: int, content: bytes) -> object:
        """Return a cell; without types, as a string, or by its kind if records are raw."""
        if self._format.has_typed_cells:
            return self._format.decode(cell_kind, content)
        if not self._is_raw:
            return self._format.decode(_TEXT, content)
        value = self._format.decode(cell_kind, content)
        if name not in self._options.categorical or not isinstance(value, float | bool):
            return value
        spelling = str(self._format.decode_label(cell_kind, content))
        return name_number_category(spelling, value) if cell_kind == _NUMBER else spelling.lower()


def parse_offset(read_options: ReadOptions, values: Sequence[Any], is_text: bool) -> Offset:
    """Return the offset given by the contents of the position columns.

    Raises
    ------
    SampleError
        If a value has the wrong type or is too large.

    """
    if is_text:
        name, last = read_options.position[-1], values[-1]
        if not _INTEGER.fullmatch(last):
            raise SampleError(
                f"position {name!r} is {last[:50]!r}, not a whole number", code="offset"
            )
        values = [*values[:-1], int(last)]
    for name, value in zip(read_options.position, values, strict=True):
        is_last = name == read_options.position[-1]
        if type(value) is not int and (is_last or type(value) is not str):
            expected = "a whole number" if is_last else "a whole number or a string"
            text = f"position {name!r} is {str(value)[:50]!r}, not {expected}"
            raise SampleError(text, code="offset")
        if type(value) is int and not -(2**63) <= value < 2**63:
            text = f"position {name!r} is {value}, which is too large for an offset"
            raise SampleError(text, code="offset")
    return Offset(tuple(values[:-1]), values[-1])
