"""The meaning of cells, the same in every format: labels, weights, features, rejections.

`interpret_record` is the definition, for one record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_perceptron.data import roles
from stream_perceptron.data.batch import Offset, offset_of
from stream_perceptron.data.cells import Cells, Kind
from stream_perceptron.data.describe import advice_on, if_missing
from stream_perceptron.data.labels import is_missing
from stream_perceptron.data.naming import LABEL_NAMES, column_called, names_in, vector_names
from stream_perceptron.data.schema import Schema, Selection
from stream_perceptron.data.text.records import DECIMAL_COMMA, NOT_UTF8
from stream_perceptron.data.text.sample import Rejected, Sample, scale_features
from stream_perceptron.errors import SampleError
from stream_perceptron.model.validation import as_weight
from stream_perceptron.model.vocabulary import doubled, natural_order

FEATURES_KEY = "features"
BARE_LIST = "x"  # the name of a list without a name

_WHOLE = frozenset("0123456789")
_NUMERIC = (Kind.NUMBER, Kind.BOOL)


@dataclass(frozen=True, eq=False)
class Context:
    """What the meaning of a record depends on, beside its cells.

    Attributes
    ----------
    selection
        How the user wants the source read, with the exact names of its columns.
    schema
        The column types and roles found in the learned rows.
    learns
        Whether rows are learned; if they are only predicted, unknown names are ignored.
    max_features
        A list of more values is rejected.
    is_text
        Whether numbers are written as texts, so that the text 7 may be a number.
    columns
        The columns of a table; None if records name their cells.
    are_named
        Whether the columns have names of their own, in a header.
    unused
        The columns of a table that are not used, as the model does not know them.

    """

    selection: Selection
    schema: Schema = field(default_factory=Schema)
    learns: bool = True
    max_features: int = 2**22
    is_text: bool = False
    columns: tuple[str, ...] | None = None
    are_named: bool = False
    unused: frozenset[str] = frozenset()

    @property
    def is_only_known(self) -> bool:
        """Whether names that the model does not know are ignored."""
        return not self.learns and self.schema.features is None and len(self.schema.numbers) > 0


class _Record:
    """The cells of one record by name."""

    def __init__(self, cells: Cells, i: int, context: Context) -> None:
        self.cells, self.context = cells, context
        first, end = cells.starts[i : i + 2].tolist()
        self.index: dict[str, int] = {}  # the cell of each name, members of lists aside
        self.members: dict[str, range] = {}  # the cells of the members of each list
        names = cells.names
        if cells.name_ids is None:
            self.index = dict(zip(names, range(first, end), strict=True))
            return
        name_ids = cells.name_ids[first:end].tolist()
        positions = cells.positions[first:end].tolist() if cells.positions is not None else []
        for c, name_id in enumerate(name_ids, first):
            name = names[name_id]
            if positions and positions[c - first] >= 0:
                begin = self.members[name].start if name in self.members else c
                self.members[name] = range(begin, c + 1)
            else:
                self.index[name] = c
        self._name_bare_list()
        self._join_objects()

    def kind(self, name: str) -> Kind | None:
        c = self.index.get(name)
        return None if c is None else Kind(self.cells.kinds[c])

    def content(self, name: str) -> Any:
        c = self.index.get(name)
        return None if c is None else self.cells.content(c)

    def _name_bare_list(self) -> None:
        """Give the members of a list without a name the names of the known columns."""
        schema = self.context.schema
        if self.kind(BARE_LIST) is not Kind.LIST or not schema.columns:
            return
        members = self.members.pop(BARE_LIST, range(0))
        named: dict[str, int] = {}
        for name, c in self.index.items():
            columns = schema.columns_of(len(members)) or () if name == BARE_LIST else (name,)
            twice = [column for column in columns if column in named]
            if twice:
                raise SampleError(f"it has {twice[0]!r} in its list and beside it")
            named |= zip(columns, members if name == BARE_LIST else [c], strict=True)
        self.index = named

    def _join_objects(self) -> None:
        """Remove the members of objects that have a role as a whole, and other objects' heads."""
        context = self.context
        asked, schema = context.selection, context.schema
        labels = LABEL_NAMES if asked.label is None else (asked.label,)
        whole = {*asked.roles, *asked.kept, *labels, schema.label}
        self.has_features_object = self.kind(FEATURES_KEY) is Kind.OBJECT
        self.objects = {n: c for n, c in self.index.items() if self.cells.kinds[c] == Kind.OBJECT}
        for name in [name for name in self.objects if name in whole]:
            inside = [other for other in self.index if other.startswith(f"{name}.")]
            if name in asked.kept and name not in asked.roles:
                continue
            for other in inside:
                del self.index[other]
                self.members.pop(other, None)
        for name in self.objects:
            if name not in whole or name in asked.kept:
                self.index.pop(name, None)
