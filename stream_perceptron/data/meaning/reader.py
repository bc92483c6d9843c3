"""Set up the compiled reader for a layout."""

from __future__ import annotations

from typing import Any

from stream_perceptron.data.layout import compiled
from stream_perceptron.data.meaning.cells import get_max_number
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.values import is_number_or_bool
from stream_perceptron.encoders import PIXEL_COLUMNS

NO_LIMIT = 2**31 - 1  # of the features of a model
MAX_STRING_FEATURES = 2**15  # that the strings of one column add
LABEL_COLUMN = "label"  # the label of records that consist of features


def build_reader(columns: Any, request: ReadRequest) -> Any:
    """Return a reader that asks `columns`, a `Columns`."""
    layout, roles, kept = columns.layout, columns.roles, columns.kept
    options, is_table = layout.read_options, bool(layout.columns)
    reader = compiled.Reader(
        columns,
        layout.format.scanner,
        columns.features.names,
        len(columns.labels.names),
        delimiter=layout.format.delimiter,
        decimal=layout.format.decimal,
        scale=options.scale or 1.0,
        max_number=get_max_number(layout),
        learns=columns.learns,
        keeps_unlabeled=options.has_join or request.keeps_unlabeled,
        keeps_zeros=bool(request.keeps_zeros or options.standardize or options.has_join),
        has_null_numbers=is_table
        and not layout.format.has_typed_cells
        and any(map(is_number_or_bool, options.missing)),
        has_missing=bool(options.missing),
        needs_vector=layout.is_list and not options.has_join,
        seeks_list=columns.lists.is_undecided,
        default_action=roles.default,
        label_records=roles.label_records,
        # Not with --join, because the features of pending samples are learned later.
        max_strings=NO_LIMIT if options.has_join else MAX_STRING_FEATURES,
        n_columns=len(layout.columns),
        n_kept=len(kept.names),
    )
    for name in layout.columns:
        reader.intern(compiled.COLUMNS, _encode(name))
    reader.number_features()
    for column, n in columns.features.string_columns.items():
        reader.set_n_strings(column, n)
    places = {name: i for i, name in enumerate(kept.names)}
    if is_table:
        for i, name in enumerate(layout.columns):
            action = roles.find_cell_action(name, reader.has_feature(name))
            reader.set_column(i, action, name, places.get(name, -1))
    else:
        reader.set_root(reader.intern(compiled.COLUMNS, b""))
        if layout.is_encoded:
            entry = reader.intern(compiled.COLUMNS, _encode(LABEL_COLUMN))
            reader.set_column(entry, compiled.LABEL, LABEL_COLUMN)
        for path, action in roles.actions.items():
            reader.set_role(path, action)
        for path, i in places.items():
            reader.keep_path(path, i)
    for parent, texts in (
        (compiled.NULLS, options.null_values),
        (compiled.CANDIDATES, roles.candidates),
        (compiled.IMAGES, PIXEL_COLUMNS),
    ):
        for text in texts:
            reader.intern(parent, _encode(text))
    if layout.element_names:
        reader.set_elements(layout.element_names)
    return reader


def _encode(name: str) -> bytes:
    """Return a name as the reader spells it."""
    return name.encode(errors="surrogatepass")
