"""New models: what their first source decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stream_perceptron.data.meaning.labels import LABEL_TYPES, parse_classes
from stream_perceptron.data.naming import is_column_position
from stream_perceptron.data.opening import infer_from_sources
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.schema import ReadOptions, Schema
from stream_perceptron.data.source import Source
from stream_perceptron.errors import SourceError
from stream_perceptron.live.history import History
from stream_perceptron.live.state import LiveState
from stream_perceptron.model import defaults
from stream_perceptron.model.scaler import Scaler
from stream_perceptron.perceptron import SGDPerceptron


def create_model(
    sources: Sequence[Source],
    read_options: ReadOptions,
    classes: Sequence[str] | None,
    needs_label: bool,
    parameters: dict[str, Any],
) -> tuple[SGDPerceptron, LiveState]:
    """Return a new perceptron and a new state for some sources; see `LiveModel.start`."""
    max_weights = parameters.get("max_weights", defaults.MAX_WEIGHTS)
    request = ReadRequest(read_options, needs_label=needs_label, max_weights=max_weights)
    inferred = infer_from_sources(sources, request, is_new=True)
    if inferred.first is None or inferred.layout is None:
        source, problem = sources[0], "it has no rows"
        if source.n_unread_bytes:
            problem = "its first row ends within a quoted cell"
        raise SourceError(f"{source.name}: {problem}")
    has_label = inferred.layout.read_options.label is not None
    declared, schema = inferred.first.classes if has_label else None, Schema()
    if classes is not None:
        declared, label_type = parse_classes(classes, inferred.schema.label_type)
        schema = Schema(label_type=label_type)
    model = SGDPerceptron(classes=declared, **parameters)
    if inferred.read_options.standardize:
        model.network.scaler = Scaler()
    return model, LiveState(inferred.read_options, schema)


def infer_state(model: SGDPerceptron) -> LiveState:
    """Return the state of a perceptron that was made in Python."""
    types = {type(label).__name__ for label in model.classes_}
    label_type = types.pop() if len(types) == 1 and types < set(LABEL_TYPES) else None
    return LiveState(
        ReadOptions(standardize=model.network.scaler is not None),
        Schema(tuple(str(name) for name in model.features_), label_type),
        history=History(is_complete=model.n_seen == 0),
    )


def list_named_columns(read_options: ReadOptions) -> set[str]:
    """Return the names of columns in read options."""
    names = {*read_options.columns_with_role, *read_options.categorical, *read_options.keep}
    names.update(filter(None, [read_options.label]))
    return {name for name in names if not is_column_position(name)}
