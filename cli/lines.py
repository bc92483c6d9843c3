"""Lines of predictions, in JSON or CSV, and of rejected rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import compress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from stream_perceptron.data.schema import ReadOptions
    from stream_perceptron.live.step_result import StepResult

_MAX_CACHED_TEXTS = 2**16  # labels whose JSON is cached

# With `typed`, 1 and True are different labels.
_to_json = lru_cache(_MAX_CACHED_TEXTS, typed=True)(partial(json.dumps, default=str))


def _iterate_line_values(result: StepResult) -> Iterator[tuple[Any, ...]]:
    """Yield the values of each line.

    They are the row number, the class ID and the score of the prediction, the label, the
    passthrough columns, and the scores of all classes. No line is written for a row that completes
    a pending sample.
    """
    n = len(result.rows)
    all_scores = result.all_scores
    samples = zip(
        result.rows.tolist(),
        result.predicted.tolist(),
        result.scores.tolist(),
        result.labels,
        result.copied_columns or [{}] * n,
        [[]] * n if all_scores is None else all_scores.tolist(),
        strict=True,
    )
    return (
        samples
        if result.is_late_label is None
        else compress(samples, (~result.is_late_label).tolist())
    )


class LineFormatter:
    """Formats results as lines; the base class of all formatters."""

    header = ""
    content = "predictions"
    prefixes: tuple[bytes, ...] = (b'{"row": ', b"row,prediction")  # how the output begins

    def __call__(self, result: StepResult) -> Iterator[str]:
        """Yield a line for each sample."""
        raise NotImplementedError


class JsonFormatter(LineFormatter):
    """Formats samples as lines of JSON."""

    def __call__(self, result: StepResult) -> Iterator[str]:
        # This produces the same text as `json.dumps`, but faster.
        classes = result.classes
        keys: list[str] = []
        if result.all_scores is not None:
            keys = [json.dumps(str(label)) for label in classes]
        samples = _iterate_line_values(result)
        for row, class_id, score, label, carried, class_scores in samples:
            name, score_text = "null", "null"  # for class ID -1: no label was known
            if class_id >= 0:
                name, score_text = _to_json(classes[class_id]), repr(score)
            extra_fields = ""
            if carried:
                extra_fields = f", {json.dumps(_replace_infinities(carried), default=str)[1:-1]}"
            if result.all_scores is not None:
                # NaN: the label was not known yet.
                known_scores = (
                    (key, p) for key, p in zip(keys, class_scores, strict=True) if p == p
                )
                extra_fields += (
                    f', "scores": {{{", ".join(f"{key}: {p!r}" for key, p in known_scores)}}}'
                )
            yield (
                f'{{"row": {row}, "prediction": {name}, "score": {score_text}, '
                f'"label": {_to_json(label)}{extra_fields}}}\n'
            )


class CsvFormatter(LineFormatter):
    """Formats samples as lines of CSV, after a header."""

    def __init__(self, carried: tuple[str, ...]) -> None:
        self._carried = carried
        names = ["row", "prediction", "score", "label", *self._carried]
        self.header = ",".join(map(_format_cell, names)) + "\n"

    def __call__(self, result: StepResult) -> Iterator[str]:
        names = [*map(_format_cell, result.classes), ""]
        for row, class_id, score, label, carried, _ in _iterate_line_values(result):
            score_text = "" if class_id < 0 else repr(score)
            cells = [str(row), names[class_id], score_text, _format_cell(label)]
            extra_fields = [_format_cell(carried.get(name)) for name in self._carried]
            yield ",".join([*cells, *extra_fields]) + "\n"


class RejectedRowFormatter(LineFormatter):
    """Formats rejected rows as lines of JSON, with the line of each row of text."""

    content = "rejected rows"
    prefixes = (b'{"source": ',)

    def __call__(self, result: StepResult) -> Iterator[str]:
        if result.is_repeated:
            return  # the lines were written when the rows were first read
        for source, row, reason, text in result.rejected:
            record: dict[str, object] = {"source": source, "row": row, "reason": reason}
            if text is not None:
                record["line"] = text.removesuffix("\n").removesuffix("\r")
            yield json.dumps(record) + "\n"


def make_formatter(
    path: str, output_format: str | None, read_options: ReadOptions, with_all_scores: bool
) -> LineFormatter:
    """Return the formatter for `output_format`, or for the format implied by the suffix of `path`.

    Raises
    ------
    click.UsageError
        If CSV is to have the scores of all classes.

    """
    if (output_format or ("csv" if path.lower().endswith(".csv") else "json")) == "json":
        return JsonFormatter()
    if with_all_scores:
        raise click.UsageError("CSV has no columns for --scores: write JSON (--output-format json)")
    return CsvFormatter(tuple(dict.fromkeys([*read_options.position, *read_options.passthrough])))


def _format_cell(value: object) -> str:
    """Return a value as a CSV cell; None becomes an empty cell."""
    if value is None:
        return ""
    is_json = isinstance(value, bool | int | float | list | dict)
    text = json.dumps(value, default=str) if is_json else str(value)
    if any(c in text for c in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _replace_infinities(value: object) -> object:
    """Return a value with infinities and NaN, which JSON lacks, replaced by strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_replace_infinities(item) for item in value]
    if isinstance(value, dict):
        return {name: _replace_infinities(item) for name, item in value.items()}
    return value
