"""Lines of LIBSVM."""

from __future__ import annotations

from typing import Any

from stream_perceptron.data.jsonl import NESTED, JsonLayout, decoded
from stream_perceptron.data.schema import LABEL_NAMES
from stream_perceptron.errors import SampleError

__all__ = ["LibsvmLayout"]


class LibsvmLayout(JsonLayout):
    """How lines of LIBSVM are read: a label, and pairs such as 3:0.5 of a feature and its value.

    The names of the features are kept as they are, whether they begin with 0 or 1. A line that
    begins with a pair has no label.

    """

    is_text = True
    may_be_empty = True

    def _value(self, line: bytes | None) -> dict[str, Any]:
        try:
            tokens = decoded(line).partition("#")[0].split()
        except UnicodeError:
            raise SampleError("it is not UTF-8") from None
        has_label = bool(tokens) and ":" not in tokens[0]
        label = tokens.pop(0) if has_label else None
        features: dict[str, float] = {}
        for token in tokens:
            name, _, value = token.partition(":")
            try:
                features[name] = float(value)
            except ValueError:
                raise SampleError(f"it is not LIBSVM: {token[:50]!r} is no pair") from None
        return {self.schema.label or LABEL_NAMES[0]: label, NESTED: features}
