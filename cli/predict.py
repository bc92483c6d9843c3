"""stream-perceptron predict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from .command import Options, command
from .files import REPLACE_IT, require_distinct_files
from .options import (
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
    predict_source,
    require_known_classes,
)
from .signals import Signals, exit_on_signal

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.live.step_result import StepResult

_POLL_INTERVAL = 0.1  # seconds between two checks for the model file


@command(short_help="Predict samples with a saved model.")
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
    stream-perceptron predict customers.csv -m churn.npz --keep id -p scored.csv
    """
    check_copied_columns("--keep", *o.keep)
    announce_terminal_input(o.sources)
    require_distinct_files(SOURCE=o.sources, MODEL=o.model, the_predictions=o.predictions)
    with exit_on_signal() as signals:
        while o.follow and not o.model.exists():
            signals.wait(None, _POLL_INTERVAL)
            signals.check()
        _predict(o, signals)


def _predict(o: Options, signals: Signals) -> None:
    """Predict all samples with the model, which --follow reloads when it is saved again."""
    from stream_perceptron.data.byte_input import is_stream
    from stream_perceptron.live.evaluation import Evaluation
    from stream_perceptron.live.thresholds import Thresholds

    model, path = _Model(o), o.predictions or "-"
    require_known_classes(o.threshold or (), model.live)
    thresholds, needs_scores = Thresholds(o.threshold), o.scores or bool(o.threshold)
    classes = model.live.model.classes_ if o.scores else None
    options = model.live.read_options
    formatter = make_formatter(path, o.output_format, options, classes)

    def predict(name: str) -> Iterator[StepResult]:
        return predict_source(
            name, o.file_format, model.live, signals, model.reload if o.follow else None,
            skip_rejected=o.skip_bad, with_all_scores=needs_scores,
        )  # fmt: skip

    # Open the files first, so that an error in one of them does not truncate the predictions.
    files = {i: predict(name) for i, name in enumerate(o.sources) if not is_stream(name)}
    advice = () if o.overwrite else REPLACE_IT
    output = open_predictions(path, formatter, signals, advice=advice)
    evaluation = Evaluation(())  # without classes to rank
    for i, name in enumerate(o.sources):
        for plain in files.get(i) or predict(name):
            result = thresholds.apply(plain, o.scores)
            output.write(result)
            evaluation.update(result)
            for rejection in result.rejected:
                print_message(f"skipped: {rejection}", err=True)
        if signals.is_set:
            break
    if path != "-":
        n_labeled = evaluation.confusion.tested
        n = n_labeled + evaluation.n_unlabeled
        accuracy = f", accuracy {evaluation.accuracy:.2%}" if n_labeled else ""
        scope = f" on the {n_labeled:,} labeled rows" if 0 < n_labeled < n else ""
        print_message(f"{path}: {format_count(n, 'prediction')}{accuracy}{scope}", err=True)


class _Model:
    """The model, with the read options given on the command line."""

    def __init__(self, o: Options) -> None:
        self._o, self._status = o, os.stat(o.model)
        self.live = self._load()

    def _load(self) -> LiveModel:
        live = load_for_prediction(self._o)
        live.read_options = replace(live.read_options, keep=self._o.keep)
        return live

    def reload(self, require_fit: Callable[[LiveModel], None]) -> LiveModel:
        """Load the model again if its file has been replaced by one that fits the source."""
        from stream_perceptron import CheckpointError, SourceError

        path = self._o.model
        if not path.exists():
            return self.live
        before, self._status = self._status, os.stat(path)
        if (before.st_ino, before.st_mtime_ns) == (self._status.st_ino, self._status.st_mtime_ns):
            return self.live
        try:
            live = self._load()
            require_fit(live)
        except (CheckpointError, SourceError, OSError) as error:
            print_message(
                f"{error}; still predicting with the previously loaded model", err=True,
                kind="warning",
            )  # fmt: skip
        else:
            self.live = live
            n = format_count(live.model.n_seen, "sample")
            print_message(f"reloaded {path}: {n}", err=True)
        return self.live
