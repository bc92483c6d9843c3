"""stream-perceptron inspect."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from math import isnan
from typing import TYPE_CHECKING, Any

import click

from .command import Options, command
from .options import COUNT, json_option, model_argument, output_option
from .tables import format_class_table, format_entry
from .terminal import format_count, get_stdout_width, make_printable, print_json, wrap_text

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.data.input.positions import FilePosition
    from stream_perceptron.live.files import FileProgress

_MAX_LISTED = 40  # entries of the history, files or classes
_MAX_NAME_WIDTH = 24  # terminal columns; wider names do not affect the alignment of the values
# The values that each section of the text shows, and their formats.
_SETTINGS = {
    "classes": "{}", "features": "{}", "label": "{}", "label_type": "{}", "standardize": "yes",
    "scale": "{}", "categorical": "{}", "missing_strings": "{}",
    "ignored": "{}", "weight": "{}", "join": "{}", "next_offsets": "{}",
}  # fmt: skip
_RESULTS = {
    "samples": "{:,}", "updates": "{:,}", "accuracy": "{:.2%}", "window_accuracy": "{:.2%}",
    "majority_class": "{}", "majority_share": "{:.2%}", "cohen_kappa": "{:.3f}",
    "balanced_accuracy": "{:.2%}", "macro_f1": "{:.2%}", "mean_error": "{:.4g}",
    "pending": "{:,}", "evicted": "{:,}", "missing": "{:,}", "unlabeled": "{:,}",
    "skipped": "{:,}",
}  # fmt: skip
_HYPERPARAMETERS = {
    "lr": "{}", "epsilon": "{:g}", "activation": "{}", "init_range": "{:g}", "seed": "{}",
    "class_weight": "{}", "runs": "{}",
}  # fmt: skip
# The text shown for each status of a file.
_STATUSES = {
    "finished": "finished: can be deleted",
    "remote": "finished",
    "missing": "finished, no longer there",
    "unfinished": "not finished: further runs need it",
    "changed": "has changed: further runs need it",
    "in_pass": "needed until the current pass is finished",
    "replaced": "replaced by other content",
}


@command()
@model_argument
@json_option
@output_option(
    "--top", metavar="N", type=COUNT, default=5, show_default=True,
    help="Number of features with the largest weights to list for each class.",
)  # fmt: skip
def inspect(options: Options) -> None:
    """Show the contents of a saved model.

    \b
    stream-perceptron inspect mnist.npz
    """
    from stream_perceptron import LiveModel

    live = LiveModel.load(options.model)
    contents = _describe_model(live, options)
    if options.as_json:
        print_json(contents)
        return
    for title, lines in _format_sections(contents, live.history.format_lines()):
        if texts := [*lines]:
            click.echo("\n".join([*wrap_text(make_printable(title), get_stdout_width()), *texts]))


def _describe_model(live: LiveModel, options: Options) -> dict[str, Any]:
    """Return the contents of a model as a JSON object."""
    from stream_perceptron.checkpoint.encoding import convert_to_json_value
    from stream_perceptron.checkpoint.migrations import FORMAT_VERSION
    from stream_perceptron.diagnostics.diagnosis import collect_findings
    from stream_perceptron.diagnostics.strongest_features import find_strongest_features

    model = live.model
    return {
        "path": str(options.model),
        "format_version": FORMAT_VERSION,
        **_describe_settings(live),
        **_describe_results(live),
        "files": [
            {
                "name": file.position.name, "rows": file.position.rows, "passes": file.passes,
                "status": status,
                "can_be_deleted": status == "finished",
            }
            for file, status in _find_file_statuses(live)
        ],
        "is_complete": live.history.is_complete,
        "entries": convert_to_json_value(live.history.entries),
        "strongest_features": [
            {"class": label, "features": find_strongest_features(model, label_id, options.top)}
            for label_id, label in enumerate(model.classes_)
        ],
        "diagnosis": [finding.to_dict() for finding in collect_findings(live)],
    }  # fmt: skip


def _describe_settings(live: LiveModel) -> dict[str, Any]:
    """Return the classes, features, read options and parameters of a model."""
    from stream_perceptron.model.rates import format_lr

    model, schema, read_options = live.model, live.schema, live.read_options
    weights, part = model.class_weight, live.part_not_in_sources
    return {
        "classes": model.classes_,
        "features": model.features_,
        "label": schema.label or read_options.label,
        "label_type": schema.label_type,
        "columns": list(schema.columns),
        "weight": read_options.weight,
        "join": read_options.join,
        "ignored": list(read_options.ignore),
        "scale": read_options.scale,
        "standardize": read_options.standardize,
        "categorical": list(read_options.categorical),
        "missing_strings": list(read_options.missing),
        "next_offsets": [
            dict(zip(read_options.position, [*partition, offset + 1], strict=True))
            for partition, offset in sorted(live.state.redeliveries.offsets.items())
        ],
        "lr": model.lr_ if isinstance(model.lr_, float) else format_lr(model.lr_),
        "epsilon": model.epsilon,
        "activation": model.activation,
        "init_range": model.init_range,
        "seed": model.seed_,
        "class_weight": list(weights.items()) if isinstance(weights, dict) else weights,
        "runs": part and f"only in Python, because of its {part}",
    }


def _describe_results(live: LiveModel) -> dict[str, Any]:
    """Return the counts, metrics and drift events of a model."""
    from .summary import compute_figures

    model, progress = live.model, live.progress
    metrics = progress.compute_metrics(len(model.classes_))
    return {
        **compute_figures(live),
        "samples": model.n_seen,
        "updates": model.n_updates,
        "last_error": None if isnan(model.last_error) else model.last_error,
        "per_class": [
            {"class": label, "precision": precision, "recall": recall, "samples": n}
            for label, precision, recall, n in zip(
                model.classes_, metrics.precision.tolist(), metrics.recall.tolist(),
                metrics.label_counts.tolist(), strict=True,
            )
        ] if progress.confusion.tested else [],
        "events": [{**asdict(event), "text": str(event)} for event in progress.events],
    }  # fmt: skip


def _find_file_statuses(live: LiveModel) -> Iterator[tuple[FileProgress, str]]:
    """Yield the progress of each file with the file's status, a key of `_STATUSES`."""
    from stream_perceptron.data.input.bytes import is_remote

    newest = {file.position.name: file for file in live.history.files}
    for file in live.history.files:
        name = file.position.name
        if file.is_stream:
            continue
        if newest[name] is not file:
            status = "replaced"
        elif file.further_pass is not None:
            status = "in_pass"
        elif not file.passes or file.n_unread_bytes:
            status = "unfinished"
        elif is_remote(name):
            status = "remote"
        elif not os.path.isfile(name):
            status = "missing"
        else:
            status = "finished" if _is_unchanged(file.position) else "changed"
        yield file, status


def _is_unchanged(position: FilePosition) -> bool:
    """Whether a file still has the rows before a position, and no others."""
    from stream_perceptron.data.input.bytes import open_bytes
    from stream_perceptron.data.input.positions import FileContent
    from stream_perceptron.errors import SourceError

    with suppress(SourceError):
        content = FileContent(open_bytes(position.name))
        return content.matches(position) and not (content.is_text and content.has_more_text())
    return False


def _format_sections(
    contents: dict[str, Any], history_lines: list[str]
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the title and the lines of each section of the text; some have no lines."""
    folder, columns = os.path.join(os.getcwd(), ""), get_stdout_width()
    files = [
        (
            file["name"].removeprefix(folder),
            f"{format_count(file['rows'], 'row')}, {_STATUSES[file['status']]}",
        )
        for file in contents["files"]
    ]
    classes = [row.values() for row in contents["per_class"]]
    strongest = [
        (row["class"], ", ".join(f"{name} {weight:+.3f}" for name, weight in row["features"]))
        for row in contents["strongest_features"]
        if row["features"]
    ]
    yield contents["path"], _format_values(contents, _SETTINGS)
    yield (
        _format_title("learned from", history_lines),
        _format_list(history_lines[-_MAX_LISTED:] or ["nothing"]),
    )
    yield _format_title("files", files), _format_pairs(files[-_MAX_LISTED:])
    yield "results", _format_values(contents, _RESULTS)
    yield "events", _format_list(event["text"] for event in contents["events"])
    if classes:
        title = _format_title("by class", classes)
        yield title, format_class_table(classes[-_MAX_LISTED:], columns, 2)
    yield "hyperparameters", _format_values(contents, _HYPERPARAMETERS)
    yield _format_title("strongest features", strongest), _format_pairs(strongest[-_MAX_LISTED:])
    yield "diagnosis", _format_findings(contents["diagnosis"])


def _format_title(title: str, items: Sequence[object]) -> str:
    """Return a title that says how many of its items are listed."""
    n = len(items)
    return title if n <= _MAX_LISTED else f"{title}, the last {_MAX_LISTED} of {n:,}"


def _format_values(contents: Mapping[str, Any], formats: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of the values that are present and not empty."""
    from stream_perceptron.data.naming import format_names
    from stream_perceptron.data.notices import format_scale

    rows = []
    for name, value_format in formats.items():
        value: Any = contents.get(name)
        if value is None or value is False or value == []:
            continue
        if isinstance(value, list):
            count = f"{len(value):,}: " if name in ("classes", "features") else ""
            value = count + format_names([_format_element(element) for element in value])
        shown = format_scale(value) if name == "scale" else value
        rows.append((name.replace("_", " "), value_format.format(shown)))
    return _format_pairs(rows)


def _format_element(value: object) -> str:
    """Return a value as text; a pair or an object becomes its parts, separated by spaces."""
    if isinstance(value, dict):
        value = [*chain.from_iterable(value.items())]
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _format_pairs(pairs: Iterable[tuple[object, str]]) -> Iterator[str]:
    """Yield the lines of (name, text) pairs, with the names on the left."""
    rows = [(make_printable(str(name)), make_printable(text)) for name, text in pairs]
    width = min(_MAX_NAME_WIDTH, max((len(name) for name, _ in rows), default=0))
    for name, text in rows:
        yield from format_entry(name, text, width, get_stdout_width())


def _format_list(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        indent = len(text) - len(text.lstrip()) + 4
        yield from wrap_text(make_printable(text), get_stdout_width(), indent, "  ")


def _format_findings(findings: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for finding in findings:
        text = "{name}: {evidence}; {suggestion}".format(**finding)
        yield from _format_list([text + ":" * bool(finding["remedies"])])
        yield from (f"    {make_printable(remedy)}" for remedy in finding["remedies"])
