"""stream-perceptron inspect."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .command import Options, command
from .options import json_option, model_argument
from .printable import (
    format_class_table,
    format_count,
    format_entry,
    get_stdout_width,
    measure_width,
    printable,
    wrap_text,
)

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.data.position import FilePosition
    from stream_perceptron.model.arrays import Array

_N_STRONGEST = 5  # features listed for a class
_MAX_CLASSES = 40  # classes listed
_MAX_LISTED = 20  # files, or entries in the lineage
# The fields of Progress that --json prints.
_PROGRESS_FIELDS = (
    "missing", "unlabeled", "skipped", "accuracy", "window_accuracy",
    "mean_error",
)  # fmt: skip
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
_MAX_NAME_WIDTH = 24  # terminal columns; wider names do not affect the alignment of the texts


@command()
@model_argument
@json_option
def inspect(o: Options) -> None:
    """Show the contents of a saved model.

    \b
    stream-perceptron inspect mnist.npz
    """
    from stream_perceptron import LiveModel

    path = o.model
    live = LiveModel.load(path)
    if o.as_json:
        click.echo(json.dumps({"path": str(path), **_build_json(live)}, default=str))
        return
    for title, lines in _format_sections(live, path):
        click.echo("\n".join([*wrap_text(printable(title), get_stdout_width()), *lines]))


def _format_sections(live: LiveModel, path: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the title and the lines of each section of the output."""
    from stream_perceptron.diagnostics.diagnosis import collect_findings
    from stream_perceptron.live.history import format_lr
    from stream_perceptron.model.class_weights import format_class_weight

    model, history = live.model, live.history
    yield str(path), _format_pairs(_list_read_settings(live))
    entries = history.format_lines()
    if len(entries) > _MAX_LISTED:
        n_left_out = len(entries) - _MAX_LISTED
        half = _MAX_LISTED // 2
        entries[half:-half] = [f"... {n_left_out:,} more, which --json lists"]
    if history.run.shards is not None:
        shards = history.run.shards
        entries.append(f"now {shards}, {shards.rounds:,} done in this pass")
    yield "learned from", _format_list(entries or ["nothing"])
    if any(not position.is_stream for position in history.positions):
        yield "files", _format_pairs(_list_files(live))
    yield "results", _format_pairs(_list_figures(live))
    limit = f", the first {_MAX_CLASSES} classes" if len(model.classes_) > _MAX_CLASSES else ""
    if live.progress.confusion.tested:
        metrics = live.progress.compute_metrics(len(model.classes_))
        figures = metrics.precision, metrics.recall, metrics.counts
        classes = zip(model.classes_[:_MAX_CLASSES], *figures, strict=False)
        yield f"by class{limit}", format_class_table(classes, get_stdout_width(), 2)
    settings = {
        "lr": format_lr(model.lr),
        "epsilon": f"{model.epsilon:g}",
        "activation": model.activation,
        "init range": f"{model.init_range:g}",
        "seed": str(model.seed_),
    }
    if model.class_weight is not None:
        settings["class weights"] = format_class_weight(model.class_weight)
    if part := live.python_only_part:
        settings["runs"] = f"only in Python, because of its {part}"
    yield "hyperparameters", _format_pairs(settings.items())
    if model.weights.size:
        features = model.features_
        strongest = (
            (
                str(label),
                ", ".join(f"{f} {w:+.3f}" for f, w in _find_strongest_features(features, weights)),
            )
            for label, weights in zip(model.classes_[:_MAX_CLASSES], model.weights, strict=False)
        )
        yield f"strongest features{limit}", _format_pairs(strongest)
    if findings := list(collect_findings(live)):
        yield "diagnosis", _format_list(map(str, findings))


def _list_files(live: LiveModel) -> Iterator[tuple[str, str]]:
    """Yield the names and statuses of the files that the model learned from.

    If there are many files, those whose names differ only in numbers are combined into one entry,
    with a * for each number.
    """
    files = [(position, _STATUSES[status]) for position, status in _find_statuses(live)]
    if len(files) <= _MAX_LISTED:
        for position, status in files:
            yield position.display_name, f"{format_count(position.rows, 'row')}, {status}"
        return
    groups: dict[tuple[str, str], list[int]] = {}
    for position, status in files:
        folder, name = os.path.split(position.display_name)
        pattern = os.path.join(folder, re.sub("[0-9]+", "*", name))
        groups.setdefault((pattern, status), []).append(position.rows)
    for (pattern, status), counts in groups.items():
        n_rows = format_count(sum(counts), "row")
        yield pattern, f"{format_count(len(counts), 'file')}, {n_rows}, {status}"


def _find_statuses(live: LiveModel) -> Iterator[tuple[FilePosition, str]]:
    """Yield the position of each file with the file's status, a key of `_STATUSES`."""
    from stream_perceptron.data.byte_input import is_remote
    from stream_perceptron.data.position import FileContent
    from stream_perceptron.errors import SourceError
    from stream_perceptron.live.history import IN_ORDER

    run, positions = live.history.run, live.history.positions
    repeats_rows = run.passes > 0 or run.is_again or run.order != IN_ORDER
    is_in_pass = repeats_rows and not run.is_finished
    newest = {position.name: position for position in positions}
    for position in positions:
        name = position.name
        if position.is_stream:
            continue
        if newest[name] is not position:
            status = "replaced"
        elif is_in_pass and name in run.files:
            status = "in_pass"
        elif not position.is_finished or position.left:
            status = "unfinished"
        elif is_remote(name):
            status = "remote"
        elif not os.path.isfile(name):
            status = "missing"
        else:
            is_same = False
            with suppress(SourceError):
                content = FileContent(name)
                is_same = content.matches(position) and not content.has_more(position)
            status = "finished" if is_same else "changed"
        yield position, status


def _format_pairs(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of (name, text) pairs, with the names on the left."""
    rows = [(printable(name), printable(text)) for name, text in rows]
    width = min(_MAX_NAME_WIDTH, max((measure_width(name) for name, _ in rows), default=0))
    for name, text in rows:
        yield from format_entry(name, text, width, get_stdout_width())


def _format_list(texts: Iterable[str]) -> Iterator[str]:
    for text in map(printable, texts):
        indent = len(text) - len(text.lstrip()) + 4
        yield from wrap_text(text, get_stdout_width(), indent, "  ")


def _list_figures(live: LiveModel) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the model's figures."""
    from stream_perceptron.live.metrics import format_percent

    from .output import UNTESTED, compute_baseline, format_pending

    model, progress = live.model, live.progress
    yield "samples", f"{model.n_seen:,}, of which {model.n_updates:,} changed the weights"
    if progress.accuracy is not None:
        yield "accuracy", f"{progress.accuracy:.2%}, each sample tested before it was learned"
    elif progress.samples:
        yield "accuracy", "-" if len(progress.window) else UNTESTED
    n_tested, n = progress.samples - progress.n_untested, len(progress.window)
    if n_tested > n or (n and progress.accuracy is None):
        yield f"last {n:,}", f"{progress.window_accuracy:.2%}"
    if progress.confusion.tested:
        for event in progress.events:
            yield event.kind, f"{event.name_metric(model.classes_)} {event.figures}"
        baseline = compute_baseline(live)
        yield "largest class", f"{baseline['largest_class']}, {baseline['largest_share']:.2%}"
        yield "Cohen's kappa", format_percent(baseline["cohen_kappa"])
        yield "balanced accuracy", f"{baseline['balanced_accuracy']:.2%}"
        yield "macro F1", f"{baseline['macro_f1']:.2%}"
    if progress.samples:
        yield "mean error", f"{progress.mean_error:.4g}"
    if live.read_options.has_join:
        yield "pending", format_pending(live)
    for name, count in (
        ("missing", progress.missing),
        ("unlabeled", progress.unlabeled),
        ("skipped", progress.skipped),
    ):
        if count:
            yield name, f"{count:,}"


def _list_read_settings(live: LiveModel) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the classes, the features and the read options."""
    from stream_perceptron.data.naming import format_names
    from stream_perceptron.data.notices import format_scale

    read_options, schema = live.read_options, live.schema
    classes, features = list(map(str, live.model.classes_)), list(map(str, live.model.features_))
    label = schema.label or read_options.label or "found by name"
    scaling = ", standardized" if read_options.standardize else ""
    if read_options.scale not in (None, 1):
        scaling += f", scaled by {format_scale(read_options.scale)}"
    names = f"{len(features):,}{scaling}: {format_names(schema.sort_by_column(features))}"
    yield "classes", f"{len(classes):,}: {format_names(classes)}" if classes else "none yet"
    yield "features", names if features else "none yet"
    yield "label", f"{label} ({schema.label_type})" if schema.label_type else label
    for name, setting in (
        ("one-hot", read_options.one_hot),
        ("dates", read_options.dates),
        ("words", read_options.words),
        ("missing", read_options.missing),
        ("ignored", read_options.ignore),
        ("weight", read_options.weight),
        ("joined by", read_options.join),
    ):
        if setting:
            yield name, setting if isinstance(setting, str) else ", ".join(setting)
    for partition, offset in sorted(live.redeliveries.offsets.items()):
        following = zip(read_options.position, [*partition, offset + 1], strict=True)
        yield "next", ", ".join(f"{name} {value}" for name, value in following)


def _build_json(live: LiveModel) -> dict[str, object]:
    """Return the JSON object that `inspect --json` prints, without the path."""
    from stream_perceptron.checkpoint.archive import FORMAT_VERSION
    from stream_perceptron.checkpoint.codec import to_json
    from stream_perceptron.diagnostics.diagnosis import collect_findings

    from .output import compute_baseline, count_pending

    model, schema, read_options = live.model, live.schema, live.read_options
    features, weights = model.features_, model.class_weight
    return {
        "format_version": FORMAT_VERSION,
        "lr": model.lr if isinstance(model.lr, float) else repr(model.lr),
        "epsilon": model.epsilon,
        "activation": model.activation,
        "init_range": model.init_range,
        "seed": model.seed_,
        "classes": model.classes_,
        "class_weight": list(weights.items()) if isinstance(weights, dict) else weights,
        "n_features": len(features),
        "features": features,
        "label": read_options.label,
        "label_type": schema.label_type,
        "columns": list(schema.columns),
        "weight": read_options.weight,
        "join": read_options.join,
        "ignored": list(read_options.ignore),
        "scale": read_options.scale,
        "standardize": read_options.standardize,
        "one_hot": list(read_options.one_hot),
        "dates": list(read_options.dates),
        "words": list(read_options.words),
        "missing_texts": list(read_options.missing),
        "samples": model.n_seen,
        "updates": model.n_updates,
        "last_error": None if isnan(model.last_error) else model.last_error,
        **{name: getattr(live.progress, name) for name in _PROGRESS_FIELDS},
        **count_pending(live),
        **compute_baseline(live),
        "events": [event.to_dict(model.classes_) for event in live.progress.events],
        "files": [_file_to_json(each, status) for each, status in _find_statuses(live)],
        "is_complete": live.history.is_complete,
        "entries": to_json(live.history.entries),
        "run": to_json(live.history.run),
        "position": list(read_options.position),
        "next_offsets": [
            dict(zip(read_options.position, [*partition, offset + 1], strict=True))
            for partition, offset in sorted(live.redeliveries.offsets.items())
        ],
        "strongest_features": [
            {"class": label, "features": _find_strongest_features(features, weights)}
            for label, weights in zip(model.classes_, model.weights, strict=True)
        ],
        "diagnosis": [finding.to_dict() for finding in collect_findings(live)],
    }


def _file_to_json(position: FilePosition, status: str) -> dict[str, object]:
    """Describe a file that the model learned from, for --json."""
    return {
        "name": position.name,
        "rows": position.rows,
        "status": status,
        "can_be_deleted": status == "finished",
    }


def _find_strongest_features(
    features: Sequence[Hashable], weights: Array
) -> list[tuple[Hashable, float]]:
    """Return the features with the largest absolute weights, each with its weight."""
    order = sorted(range(len(features)), key=lambda i: -abs(weights[i]))
    return [(features[i], float(weights[i])) for i in order[:_N_STRONGEST]]
