"""stream-perceptron predict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .files import REMEDY, OutputFile, require_different
from .options import (
    Command,
    format_option,
    hint_at_terminal,
    ignore_option,
    model_option,
    option,
    overwrite_option,
    prediction_options,
    reading_options,
    require_runnable,
    skip_option,
    sources_argument,
)
from .predictions import lines_for, open_predictions
from .printable import counted, tell
from .reading import asking, batches_of
from .signals import Signals, ending_in_order

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.data.batch import Batch
    from stream_perceptron.live.step_result import StepResult

_PATIENCE = 0.1  # seconds between two looks for a missing model


@dataclass(frozen=True)
class _Options:
    """The options of `predict`."""

    sources: tuple[str, ...]
    path: Path
    file_format: str | None
    label: str | None
    missing: tuple[str, ...] | None
    delimiter: str | None
    decimal: str | None
    ignore: tuple[str, ...]
    output: str
    overwrite: bool
    keep: tuple[str, ...]
    probabilities: bool
    with_learned: bool
    output_format: str | None
    follow: bool
    skip_rejected: bool


@click.command(cls=Command, short_help="Predict samples with a saved model.")
@sources_argument
@model_option
@format_option()
@reading_options
@ignore_option()
@option(
    "-p/--predictions FILE|-",
    "File to write, CSV if it ends in .csv. Default: stdout.",
    OutputFile(),
    "-",
    name="output",
)
@overwrite_option
@prediction_options()
@option("--follow", "Reload MODEL whenever it is saved again.")
@skip_option("report")
def predict(**options: Any) -> None:
    """Predict samples with a saved model, a line of JSON or CSV each, and learn nothing.

    SOURCE is as for `learn`, and needs no label. Columns that the model does not know are ignored,
    with a warning; a table that lacks one of its features is an error.

    \b
    echo '[0.5, 0.25]' | stream-perceptron predict -m points.npz
    stream-perceptron predict mnist-test.parquet -m mnist.npz > predictions.jsonl
    stream-perceptron predict customers.csv -m churn.npz --keep id -p predictions.csv
    """
    o = _Options(**options)
    hint_at_terminal(o.sources)
    require_different(SOURCE=o.sources, MODEL=o.path, the_predictions=o.output)
    with ending_in_order() as signals:
        while o.follow and not o.path.exists():
            signals.sleep(_PATIENCE)
            signals.check()
        _predict(o, signals)


def _predict(options: _Options, signals: Signals) -> None:
    from stream_perceptron import CheckpointError, SourceError
    from stream_perceptron.data.byte_stream import is_stream
    from stream_perceptron.live.driver import drive

    o, path = options, options.path
    seen = os.stat(path)
    live = _load(o)
    classes = live.model.classes_ if o.probabilities else None
    lines = lines_for(o.output, o.output_format, live.selection, classes, o.with_learned)

    def reload(require_fit: Callable[[LiveModel], None]) -> LiveModel:
        nonlocal live, seen
        if not path.exists() or not _is_other(now := os.stat(path), seen):
            return live
        seen = now
        try:
            other = _load(o)
            require_fit(other)
        except (CheckpointError, SourceError, OSError) as error:
            tell(f"warning: {error}; still predicting with the model loaded before", err=True)
        else:
            live = other
            n = counted(live.model.n_seen, "sample")
            tell(f"reloaded {path}: {n}", err=True)
        return live

    def read(name: str) -> Iterator[Batch]:
        return batches_of(name, o.file_format, live, signals, reload if o.follow else None)

    def predict_batch(batch: Batch) -> StepResult:
        return live.predict(batch, o.probabilities)

    # Check sources before the file of predictions is truncated.
    files = {i: read(name) for i, name in enumerate(o.sources) if not is_stream(name)}
    remedy = None if o.overwrite else REMEDY
    output = open_predictions(o.output, lines, signals, remedy=remedy)
    for i, name in enumerate(o.sources):
        batches = files.get(i) or read(name)
        for result in drive(batches, predict_batch, o.skip_rejected):
            output.write(result)
            for text in result.rejected:
                tell(f"skipped: {text}", err=True)
        if signals.is_set:
            break


def _load(options: _Options) -> LiveModel:
    """Load the model, to read as the options say."""
    from stream_perceptron import LiveModel

    o, live = options, LiveModel.load(options.path)
    require_runnable(live, o.path)
    asking(
        live, o.ignore, label=o.label, missing=o.missing, delimiter=o.delimiter, decimal=o.decimal
    )
    live.selection = replace(live.selection, keep=o.keep)
    return live


def _is_other(now: os.stat_result, seen: os.stat_result) -> bool:
    return (now.st_ino, now.st_mtime_ns) != (seen.st_ino, seen.st_mtime_ns)
