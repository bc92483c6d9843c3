"""The JSON Lines format."""

from __future__ import annotations

import json
from typing import Any

from stream_perceptron.data.layout import Layout, compiled
from stream_perceptron.data.meaning.occurrences import iter_paths
from stream_perceptron.data.meaning.roles import require_one_role
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.data.text.format import LineFormat
from stream_perceptron.data.values import NOT_UTF8
from stream_perceptron.errors import Reason, SampleError
from stream_perceptron.model.vocabulary import find_duplicates

_MAX_SHOWN = 50  # characters of a record or a path


class JsonFormat(LineFormat):
    """JSON Lines: each line is an object; members of objects in it are named by their paths."""

    scanner = compiled.JSON
    has_typed_cells = True

    def find_layout(self, request: ReadRequest, source_name: str) -> Layout:
        options, schema = request.read_options, request.schema
        if request.to_learn:
            require_one_role(options, source_name)
        label = options.label if options.is_label_required else schema.label or options.label
        if schema.list_key is not None:
            return Layout(
                self, options, label, key=schema.list_key, element_names=schema.element_names
            )
        return Layout(self, options, label)

    def decode(self, cell_kind: int, content: bytes) -> Any:
        value = json.loads(content) if content else None
        if b"\\u" in content:
            _require_valid_escapes(value)
        return value

    def decode_name(self, spelling: bytes) -> str:
        return str(self.decode(compiled.TEXT, b'"%s"' % spelling))

    def explain_rejection(self, record: bytes) -> Reason:
        value = _parse_record(record)
        for duplicate in find_duplicates([*iter_paths(value)])[:1]:
            text = f"it has {str(duplicate)[:_MAX_SHOWN]!r} twice: as a key, and as a path"
            return Reason(text, "duplicate")
        return Reason("it is nested too deeply")


def _parse_record(record: bytes) -> dict[str, object]:
    """Parse a record.

    Raises
    ------
    SampleError
        If it is not a valid object.
    ValueError, RecursionError
        If it has a number that Python cannot read, or is nested too deeply.

    """
    try:
        text = record.decode()
    except UnicodeError:
        raise SampleError(NOT_UTF8) from None
    try:
        value = json.loads(text, parse_constant=_reject_constant, object_pairs_hook=_build_object)
    except json.JSONDecodeError as error:
        text = f"it is not valid JSON from character {error.pos + 1:,} on"
        raise SampleError(text, code="invalid_json") from None
    if not isinstance(value, dict):
        text = f"it is {text.strip()[:_MAX_SHOWN]}, not an object"
        raise SampleError(text, code="invalid_json")
    _require_valid_escapes(value)
    return value


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the pairs of an object as a dict; a repeated name raises a SampleError."""
    for duplicate in find_duplicates([name.strip() for name, _ in pairs])[:1]:
        text = f"it has the key {str(duplicate)[:_MAX_SHOWN]!r} twice"
        raise SampleError(text, code="duplicate")
    return dict(pairs)


def _reject_constant(name: str) -> None:
    raise ValueError(name)


def _require_valid_escapes(value: object) -> None:
    """Raise a UnicodeError for half of a surrogate pair, which JSON can escape."""
    json.dumps(value, ensure_ascii=False).encode()
