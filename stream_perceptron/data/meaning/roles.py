"""What the names of columns and keys mean: their roles."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stream_perceptron.data.layout import Layout, compiled
from stream_perceptron.data.naming import LABEL_NAMES, quote_names
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions
from stream_perceptron.encoders import PIXEL_COLUMNS
from stream_perceptron.errors import SourceError

UNKNOWN: int = compiled.UNKNOWN
IGNORE: int = compiled.IGNORE
CELL: int = compiled.CELL
CATEGORICAL: int = compiled.CATEGORICAL
LABEL: int = compiled.LABEL
WEIGHT: int = compiled.WEIGHT
VECTOR: int = compiled.VECTOR

_MAX_LABEL_RECORDS = 100  # records in which the label may be found
_NO_LIMIT = sys.maxsize >> 32
_COMBINABLE_ROLES = {"ignore", "join", "position"}  # roles whose columns are not features anyway


class Roles:
    """The roles of columns and keys: those that options name, and the label that a record shows.

    Attributes
    ----------
    actions
        What to do with the cells under each path that options name.
    default
        What to do with the cells of other keys; UNKNOWN if they are reported.
    found_labels
        The key that a record has shown to be the label, if one has.
    candidates
        The names, in lower case, that a key of the label may have; empty if the label is known.
    label_records
        The number of records in which the label may be found.
    unknown_names
        Names that are ignored because the model lacks them.
    unused_names
        Names that are ignored because rows are lists.

    """

    def __init__(
        self, layout: Layout, request: ReadRequest, source_name: str, is_raw: bool
    ) -> None:
        options, schema = layout.read_options, request.schema
        self._source_name, self._is_list = source_name, layout.is_list
        self._known_columns = {*schema.columns, *request.string_columns}
        self._given_label = layout.label
        self.found_labels: list[str] = []
        self.unknown_names: dict[str, None] = {}
        self.unused_names: dict[str, None] = {}
        self.actions = {
            **dict.fromkeys(() if layout.is_list else options.categorical, CATEGORICAL),
            **dict.fromkeys((*layout.ignored, *options.columns_with_role), IGNORE),
        }
        for path, action in ((options.weight, WEIGHT), (layout.label, LABEL), (layout.key, VECTOR)):
            if path is not None:
                self.actions[path] = action
        if layout.key in PIXEL_COLUMNS and not layout.columns:
            self.actions |= dict.fromkeys(PIXEL_COLUMNS, VECTOR)
        self.default = IGNORE if is_raw else CELL
        if layout.is_list or (schema.columns and not request.to_learn):
            self.default = UNKNOWN
        self.candidates: tuple[str, ...] = ()
        self.label_records = 0
        if not layout.columns and not layout.is_encoded and schema.label is None:
            self.candidates, self.label_records = LABEL_NAMES, _NO_LIMIT
            if layout.label is not None:
                self.candidates = (layout.label.lower(),)  # written in another letter case
            elif request.to_learn and not options.has_join:
                self.label_records = max(0, _MAX_LABEL_RECORDS - request.n_records)

    def find_cell_action(self, path: str, is_feature: bool) -> int:
        """Return what to do with cells under a path; report a path that the model does not use."""
        if path in self.actions:
            return self.actions[path]
        if self._is_list:
            self.unused_names[path] = None
            return IGNORE
        if self.default != UNKNOWN:
            return self.default
        if path in self._known_columns or is_feature:
            return CELL
        self.unknown_names[path] = None
        return IGNORE

    @property
    def label(self) -> str | None:
        """The label column or key; None if no record has shown it."""
        return self.found_labels[0] if self.found_labels else self._given_label

    def set_label(self, path: str) -> None:
        """Set the key of the label, as a record shows.

        Raises
        ------
        SourceError
            If the record has shown another key.

        """
        if self.found_labels:
            names = quote_names([*self.found_labels, path])
            raise SourceError(
                f"{self._source_name}: {names} could each be the label: choose one with --label, "
                "and --ignore the others"
            )
        self.found_labels.append(path)

    def truncate(self, n: int) -> None:
        """Remove all found labels after the first n."""
        del self.found_labels[n:]


def require_one_role(options: ReadOptions, source_name: str) -> None:
    """Check that no column has two roles.

    Raises
    ------
    SourceError
        If a column has two roles.

    """
    roles: dict[str, Sequence[str | None]] = {
        "label": [options.label], "weight": [options.weight], "join": [options.join],
        "position": options.position, "ignore": options.ignore,
        "categorical": options.categorical,
    }  # fmt: skip
    first_roles: dict[str | None, str] = {}
    for role, columns in roles.items():
        for column in columns:
            first = first_roles.setdefault(column, role)
            is_usable = first == role or {first, role} <= _COMBINABLE_ROLES
            if column is not None and not is_usable:
                raise SourceError(
                    f"{source_name}: column {column!r} cannot be in both --{role} and --{first}: "
                    "choose one"
                )
