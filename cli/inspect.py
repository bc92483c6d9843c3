"""stream-perceptron inspect."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .command import command
from .options import JsonOption, ModelArgument
from .printable import beside, class_table, columns_of_stdout, counted, printable, width_of, wrapped
from .progress_line import UNTESTED, waiting_of
from .summary import baseline_of, shown_waiting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stream_perceptron import LiveModel
    from stream_perceptron.live.marks import Mark

_STRONGEST = 5  # features of a class
_MOST = 40  # classes
_MAX_LISTED = 20  # files, and entries of the lineage
# The fields of Progress in JSON.
_PROGRESS = (
    "missing", "unlabelled", "skipped", "accuracy", "window_accuracy", "training_accuracy",
    "mean_error",
)  # fmt: skip
# What is shown of a file, by its status.
_STATUSES = {
    "finished": "finished: can be deleted",
    "remote": "finished",
    "missing": "finished, no longer there",
    "unfinished": "not finished: further runs need it",
    "changed": "changed since: further runs need it",
    "in_pass": "needed until the present pass is finished",
    "replaced": "replaced by other content",
}
_LONGEST = 24  # columns of the widest name that sets the alignment


@dataclass(init=False, eq=False, repr=False)
class InspectOptions(ModelArgument, JsonOption):
    """The options of `inspect`."""


@command(InspectOptions)
def inspect(options: InspectOptions) -> None:
    """Show what is in a saved model.

    \b
    stream-perceptron inspect mnist.npz
    """
    from stream_perceptron import LiveModel

    path = options.path
    live = LiveModel.load(path)
    if options.as_json:
        click.echo(json.dumps({"path": str(path), **_contents(live)}, default=str))
        return
    for title, lines in _groups(live, path):
        click.echo("\n".join([*wrapped(printable(title), columns_of_stdout()), *lines]))


def _groups(live: LiveModel, path: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the sections of the output: titles with their lines."""
    from stream_perceptron.checkpoint.codec import encode_class_weight
    from stream_perceptron.diagnostics.diagnosis import findings_in
    from stream_perceptron.live.lineage import shown_class_weight, shown_lr

    model, cursor = live.model, live.cursor
    yield str(path), _named(_reading(live))
    lineage = live.lineage.lines()
    if len(lineage) > _MAX_LISTED:
        n_left_out = len(lineage) - _MAX_LISTED
        half = _MAX_LISTED // 2
        lineage[half:-half] = [f"... {n_left_out:,} more, which --json lists"]
    if cursor.shards is not None:
        lineage.append(f"now {cursor.shards}, {cursor.shards.rounds:,} done in this pass")
    yield "learned from", _indented(lineage or ["nothing"])
    if live.marks:
        yield "files", _named(_files(live))
    yield "how well", _named(_figures(live))
    more = f", the first {_MOST} classes" if len(model.classes_) > _MOST else ""
    if live.progress.tally.tested:
        scores = live.progress.scores(len(model.classes_))
        figures = scores.precision, scores.recall, scores.counts
        classes = zip(model.classes_[:_MOST], *figures, strict=False)
        of_what = "" if live.progress.progressive.tested else ", in training"
        yield f"by class{of_what}{more}", class_table(classes, columns_of_stdout(), 2)
    settings = {
        "lr": shown_lr(model.lr),
        "epsilon": f"{model.epsilon:g}",
        "activation": model.activation,
        "init range": f"{model.init_range:g}",
        "seed": str(model.seed_),
        "kernel": live.kernel,
    }
    if model.class_weight is not None:
        saved = encode_class_weight(model.class_weight)
        settings["class weights"] = shown_class_weight(saved)
    if live.python_step is not None:
        settings["step before it"] = f"{live.python_step}, which runs only in Python"
    yield "hyperparameters", _named(settings.items())
    if model.weights.size:
        features = model.features_
        strongest = (
            (str(label), ", ".join(f"{f} {w:+.3f}" for f, w in _strongest(features, weights)))
            for label, weights in zip(model.classes_[:_MOST], model.weights, strict=False)
        )
        yield f"strongest features{more}", _named(strongest)
    if findings := list(findings_in(live)):
        yield "diagnosis", _indented(map(str, findings))


def _files(live: LiveModel) -> Iterator[tuple[str, str]]:
    """Yield the files that the model learned from; if there are many, those of like names as one.

    A number in a name is then a *.
    """
    files = [(mark, _STATUSES[status]) for mark, status in _statuses(live)]
    if len(files) <= _MAX_LISTED:
        for mark, status in files:
            yield mark.source.name, f"{counted(mark.n_rows, 'row')}, {status}"
        return
    groups: dict[tuple[str, str], list[int]] = {}
    for mark, status in files:
        folder, name = os.path.split(mark.source.name)
        pattern = os.path.join(folder, re.sub("[0-9]+", "*", name))
        groups.setdefault((pattern, status), []).append(mark.n_rows)
    for (pattern, status), counts in groups.items():
        n_rows = counted(sum(counts), "row")
        yield pattern, f"{counted(len(counts), 'file')}, {n_rows}, {status}"


def _statuses(live: LiveModel) -> Iterator[tuple[Mark, str]]:
    """Yield each mark with the status of its file, a key of `_STATUSES`."""
    from stream_perceptron.data.byte_stream import is_remote
    from stream_perceptron.data.identity import FileState

    cursor = live.cursor
    is_in_pass = not (cursor.finished or cursor.begins_at_marks)
    last = {mark.source.name: mark for mark in live.marks}
    for mark in live.marks:
        state = FileState.find(mark.source.name)
        if last[mark.source.name] is not mark:
            status = "replaced"
        elif is_in_pass and mark.source in cursor.sources:
            status = "in_pass"
        elif mark.source.has_changed:
            status = "changed"
        elif not mark.is_finished:
            status = "unfinished"
        elif is_remote(mark.source.name):
            status = "remote"
        elif mark.state is None or state is None:
            status = "missing"
        elif state != replace(mark.state, time=mark.state.time or state.time):
            status = "changed"
        else:
            status = "finished"
        yield mark, status


def _named(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield lines with names on the left and texts beside them."""
    rows = [(printable(name), printable(text)) for name, text in rows]
    width = min(_LONGEST, max((width_of(name) for name, _ in rows), default=0))
    for name, text in rows:
        yield from beside(name, text, width, columns_of_stdout())


def _indented(texts: Iterable[str]) -> Iterator[str]:
    for text in map(printable, texts):
        indent = len(text) - len(text.lstrip()) + 4
        yield from wrapped(text, columns_of_stdout(), indent, "  ")


def _figures(live: LiveModel) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of the model's figures."""
    from stream_perceptron.live.metrics import format_percent

    model, progress = live.model, live.progress
    yield "samples", f"{model.n_seen:,}, {model.n_updates:,} of them changed the weights"
    if progress.progressive.tested:
        yield "accuracy", f"{progress.accuracy:.2%}, each sample tested before it was learned"
        if progress.progressive.tested > len(progress.window):
            yield f"last {len(progress.window):,}", f"{progress.window_accuracy:.2%}"
    if progress.training_accuracy is not None:
        yield "training accuracy", f"{progress.training_accuracy:.2%}, on rows learned before"
    if progress.tally.tested:
        for event in progress.events:
            name = event.kind.replace("_", " ")
            yield name, f"{event.name_metric(model.classes_)} {event.figures}"
        told = baseline_of(live)
        yield "largest class", f"{told['largest_class']}, {told['largest_share']:.2%}"
        yield "Cohen's kappa", format_percent(told["cohen_kappa"])
        yield "balanced accuracy", f"{told['balanced_accuracy']:.2%}"
        yield "macro F1", f"{told['macro_f1']:.2%}"
    elif progress.samples:
        yield "accuracy", UNTESTED
    if progress.samples:
        yield "mean error", f"{progress.mean_error:.4g}"
    if live.selection.joins:
        yield "waiting for labels", shown_waiting(live)
    for name in ("missing", "unlabelled", "skipped"):
        if count := getattr(progress, name):
            yield name, f"{count:,}"


def _reading(live: LiveModel) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of how rows are read."""
    from stream_perceptron.data.describe import fraction
    from stream_perceptron.data.naming import listed

    selection, schema = live.selection, live.schema
    classes, features = list(map(str, live.model.classes_)), list(map(str, live.model.features_))
    label = schema.label or selection.label or "found by name"
    how = ", standardized" if selection.standardize else ""
    if selection.scale not in (None, 1):
        how += f", scaled by {fraction(selection.scale)}"
    names = f"{len(features):,}{how}: {listed(schema.in_order(features))}"
    yield "classes", f"{len(classes):,}: {listed(classes)}" if classes else "none yet"
    yield "features", names if features else "none yet"
    yield "label", f"{label} ({schema.label_type})" if schema.label_type else label
    for name, shown in (
        ("one-hot", selection.one_hot),
        ("dates", selection.dates),
        ("words", selection.words),
        ("missing", selection.missing),
        ("ignored", selection.ignore),
        ("weight", selection.weight),
        ("joined by", selection.join),
    ):
        if shown:
            yield name, shown if isinstance(shown, str) else ", ".join(shown)
    for part, offset in sorted(live.cursor.offsets.items()):
        following = zip(selection.position, [*part, offset + 1], strict=True)
        yield "next", ", ".join(f"{name} {value}" for name, value in following)


def _contents(live: LiveModel) -> dict[str, Any]:
    from stream_perceptron.checkpoint.archive import FORMAT_VERSION
    from stream_perceptron.checkpoint.codec import encode_class_weight, to_json
    from stream_perceptron.diagnostics.diagnosis import findings_in

    model, schema, selection = live.model, live.schema, live.selection
    features = model.features_
    return {
        "format_version": FORMAT_VERSION,
        "kernel": live.kernel,
        "lr": model.lr if isinstance(model.lr, float) else repr(model.lr),
        "epsilon": model.epsilon,
        "activation": model.activation,
        "init_range": model.init_range,
        "seed": model.seed_,
        "classes": model.classes_,
        "class_weight": encode_class_weight(model.class_weight),
        "n_features": len(features),
        "features": features,
        "label": selection.label,
        "label_type": schema.label_type,
        "columns": list(schema.columns),
        "weight": selection.weight,
        "join": selection.join,
        "ignored": list(selection.ignore),
        "scale": selection.scale,
        "standardize": selection.standardize,
        "one_hot": list(selection.one_hot),
        "dates": list(selection.dates),
        "words": list(selection.words),
        "missing_texts": list(selection.missing),
        "samples": model.n_seen,
        "updates": model.n_updates,
        "last_error": None if isnan(model.last_error) else model.last_error,
        **{name: getattr(live.progress, name) for name in _PROGRESS},
        **waiting_of(live),
        **baseline_of(live),
        "events": [event.to_dict(model.classes_) for event in live.progress.events],
        "files": [_describe_file(mark, status) for mark, status in _statuses(live)],
        "lineage": to_json(live.lineage),
        **_place(live),
        "strongest_features": [
            {"class": label, "features": _strongest(features, weights)}
            for label, weights in zip(model.classes_, model.weights, strict=True)
        ],
        "diagnosis": [vars(finding) for finding in findings_in(live)],
    }


def _describe_file(mark: Mark, status: str) -> dict[str, Any]:
    """Return a file that the model learned from as JSON."""
    return {
        "name": mark.source.name,
        "bytes": mark.source.size,
        "rows": mark.n_rows,
        "status": status,
        "can_be_deleted": status == "finished",
    }


def _place(live: LiveModel) -> dict[str, Any]:
    """Return the cursor as JSON."""
    cursor, position = live.cursor, live.selection.position
    return {
        "at_random": cursor.at_random,
        "turn": cursor.epoch,
        "source": cursor.index,
        "row": cursor.row,
        "rows_read": cursor.read,
        "shards": None if cursor.shards is None else vars(cursor.shards),
        "position": list(position),
        "next_offsets": [
            dict(zip(position, [*part, offset + 1], strict=True))
            for part, offset in sorted(cursor.offsets.items())
        ],
        "finished": cursor.finished,
    }


def _strongest(features: Sequence[Hashable], weights: NDArray[Any]) -> list[tuple[Hashable, float]]:
    """Return the features with the largest absolute weights, and the weights."""
    order = sorted(range(len(features)), key=lambda i: -abs(weights[i]))
    return [(features[i], float(weights[i])) for i in order[:_STRONGEST]]
