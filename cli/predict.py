"""stream-perceptron predict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .command import Options, command
from .files import REMEDY, require_distinct_files
from .options import (
    build_thresholds,
    check_copied_columns,
    make_prediction_options,
    option,
    overwrite_option,
    reading_options,
    saved_model_option,
)
from .predictions import make_formatter, open_predictions
from .printable import format_count, print_message
from .reading import (
    announce_terminal_input,
    load_for_prediction,
    read_batches,
    require_known_classes,
)
from .signals import Signals, exit_on_signal

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.data.batch import Batch
    from stream_perceptron.live.step_result import StepResult

_POLL_INTERVAL = 0.1  # seconds between two checks for the model file


@command("Predict samples with a saved model.")
@saved_model_option
@reading_options
@make_prediction_options(hides_rare=False)
@overwrite_option
@option("--follow", is_flag=True, help="Reload MODEL whenever it is saved again.")
def predict(o: Options) -> None:
    """Predict samples with a saved model, without learning; write a line of JSON or CSV for each.

    SOURCE is as for `learn`, but needs no labels. Columns that the model does not know are ignored
    with a warning; a table that lacks a feature of the model is an error.

    \b
    echo '[0.5, 0.25]' | stream-perceptron predict -m points.npz
    stream-perceptron predict mnist-test.parquet -m mnist.npz > predictions.jsonl
    stream-perceptron predict customers.csv -m churn.npz --keep id -p predictions.csv
    """
    check_copied_columns("--keep", *o.keep)
    announce_terminal_input(o.sources)
    require_distinct_files(SOURCE=o.sources, MODEL=o.model, the_predictions=o.predictions)
    with exit_on_signal() as signals:
        while o.follow and not o.model.exists():
            signals.sleep(_POLL_INTERVAL)
            signals.check()
        _predict(o, signals)


def _predict(o: Options, signals: Signals) -> None:
    """Predict all samples with the model, which --follow reloads when it is saved again."""
    from stream_perceptron import CheckpointError, SourceError
    from stream_perceptron.data.byte_input import is_stream
    from stream_perceptron.live.loop import drive

    path, output_path = o.model, o.predictions or "-"
    loaded_status = os.stat(path)
    live = _load_model(o)
    require_known_classes(o.threshold or (), live)
    thresholds = build_thresholds(o)
    needs_scores = o.scores or thresholds is not None
    classes = live.model.classes_ if o.scores else None
    formatter = make_formatter(output_path, o.output_format, live.read_options, classes, o.learned)

    def reload(require_fit: Callable[[LiveModel], None]) -> LiveModel:
        nonlocal live, loaded_status
        if not path.exists() or not _has_changed(status := os.stat(path), loaded_status):
            return live
        loaded_status = status
        try:
            reloaded = _load_model(o)
            require_fit(reloaded)
        except (CheckpointError, SourceError, OSError) as error:
            print_message(
                f"warning: {error}; still predicting with the previously loaded model", err=True
            )
        else:
            live = reloaded
            n = format_count(live.model.n_seen, "sample")
            print_message(f"reloaded {path}: {n}", err=True)
        return live

    def open_batches(name: str) -> Iterator[Batch]:
        follow = reload if o.follow else None
        return read_batches(
            name, o.file_format, live, signals, follow, with_all_scores=needs_scores
        )

    def predict_batch(batch: Batch) -> StepResult:
        result = live.predict(batch, needs_scores)
        return result if thresholds is None else thresholds.apply(result, o.scores)

    # Open the files first, so that an error in one of them does not truncate the predictions.
    files = {i: open_batches(name) for i, name in enumerate(o.sources) if not is_stream(name)}
    remedy = None if o.overwrite else REMEDY
    output = open_predictions(output_path, formatter, signals, remedy=remedy)
    count = _PredictionCount()
    for i, name in enumerate(o.sources):
        batches = files.get(i) or open_batches(name)
        for result in drive(batches, predict_batch, o.skip_bad):
            output.write(result)
            count.add(result)
            for rejection in result.rejected:
                print_message(f"skipped: {rejection}", err=True)
        if signals.is_set:
            break
    if output_path != "-":
        print_message(f"{output_path}: {count}", err=True)


@dataclass
class _PredictionCount:
    """The number of predictions, and the accuracy on labeled samples."""

    n: int = 0
    n_labeled: int = 0
    n_right: int = 0

    def add(self, result: StepResult) -> None:
        """Count the predictions of a batch."""
        self.n += len(result.rows)
        labeled = [i for i, label in enumerate(result.labels) if label is not None]
        if labeled:
            predicted = result.predicted.tolist()
            self.n_labeled += len(labeled)
            self.n_right += sum(
                predicted[i] >= 0 and result.classes[predicted[i]] == result.labels[i]
                for i in labeled
            )

    def __str__(self) -> str:
        text = format_count(self.n, "prediction")
        if not self.n_labeled:
            return text
        scope = "" if self.n_labeled == self.n else f" on the {self.n_labeled:,} labeled rows"
        return f"{text}, accuracy {self.n_right / self.n_labeled:.2%}{scope}"


def _load_model(o: Options) -> LiveModel:
    """Load the model, with the read options given on the command line."""
    live = load_for_prediction(o)
    live.read_options = replace(live.read_options, keep=o.keep)
    return live


def _has_changed(status: os.stat_result, loaded_status: os.stat_result) -> bool:
    return (status.st_ino, status.st_mtime_ns) != (loaded_status.st_ino, loaded_status.st_mtime_ns)
