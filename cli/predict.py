"""stream-perceptron predict."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from .command import Options, command
from .files import OVERWRITE_ADVICE, require_distinct_files, require_expected_content
from .lines import make_formatter
from .options import (
    make_prediction_options,
    option,
    overwrite_option,
    reading_options,
    require_no_output_column,
    saved_model_option,
)
from .outputs import open_output
from .reading import (
    announce_terminal_input,
    load_for_prediction,
    open_sources,
    predict_source,
    require_known_classes,
)
from .signals import Signals, exit_on_signal
from .terminal import format_count, print_message

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.data.schema import ReadOptions

_POLL_INTERVAL = 0.1  # seconds between two checks for the model file


@command(short_help="Predict samples with a saved model.")
@saved_model_option
@reading_options
@make_prediction_options(hides_rare=False)
@overwrite_option
@option("--follow", is_flag=True, help="Reload MODEL whenever it is saved again.")
def predict(options: Options) -> None:
    """Predict samples with a saved model, without learning; write a line of JSON or CSV for each.

    SOURCE is as for `learn`, but needs no labels. Columns that the model does not know are ignored
    with a warning; a table that lacks a feature of the model is an error.

    \b
    echo '[0.5, 0.25]' | stream-perceptron predict -m points.npz
    stream-perceptron predict mnist-test.parquet -m mnist.npz > predictions.jsonl
    stream-perceptron predict customers.csv -m churn.npz --keep id -p scored.csv
    """
    require_no_output_column("--keep", *options.keep)
    announce_terminal_input(options.sources)
    require_distinct_files(
        SOURCE=options.sources, MODEL=options.model, the_predictions=options.predictions
    )
    with exit_on_signal() as signals:
        while options.follow and not options.model.exists():
            signals.wait(None, _POLL_INTERVAL)
            signals.raise_if_caught()
        _predict(options, signals)


def _predict(options: Options, signals: Signals) -> None:
    """Predict all samples with the model, which --follow reloads when it is saved again."""
    from stream_perceptron.data.input.bytes import is_stream
    from stream_perceptron.live.evaluation import Evaluation
    from stream_perceptron.live.thresholds import Thresholds

    model, path = _ReloadableModel(options), options.predictions or "-"
    require_known_classes(options.threshold or (), model.live)
    thresholds, needs_scores = (
        Thresholds(options.threshold),
        options.scores or bool(options.threshold),
    )
    formatter = make_formatter(path, options.output_format, model.read_options, options.scores)

    # Open the files first, so that an error in one of them does not truncate the predictions.
    names = [name for name in options.sources if not is_stream(name)]
    files = iter(open_sources(names, options.file_format, signals))
    if path != "-" and not options.overwrite:
        require_expected_content(path, formatter.prefixes, formatter.content, *OVERWRITE_ADVICE)
    output = open_output(path, formatter, signals)
    evaluation = Evaluation(())  # without classes to rank
    for name in options.sources:
        if is_stream(name):
            (source,) = open_sources([name], options.file_format, signals)
        else:
            source = next(files)
        results = predict_source(
            source, model.live, model.reload if options.follow else None,
            read_options=model.read_options, skip_rejected=options.skip_bad,
            with_all_scores=needs_scores,
        )  # fmt: skip
        for plain in results:
            result = thresholds.apply(plain, options.scores)
            output.write(result)
            evaluation.update(result)
            for rejection in result.rejected:
                print_message(f"skipped: {rejection}")
        if signals.is_set:
            break
    if path != "-":
        n_labeled = evaluation.confusion.tested
        n = n_labeled + evaluation.n_unlabeled
        accuracy = f", accuracy {evaluation.confusion.accuracy:.2%}" if n_labeled else ""
        scope = f" on the {n_labeled:,} labeled rows" if 0 < n_labeled < n else ""
        print_message(f"{path}: {format_count(n, 'prediction')}{accuracy}{scope}")


class _ReloadableModel:
    """The model, with the read options given on the command line."""

    def __init__(self, options: Options) -> None:
        self._options, self._status = options, os.stat(options.model)
        self.live, self.read_options = self._load()

    def _load(self) -> tuple[LiveModel, ReadOptions]:
        live, read_options = load_for_prediction(self._options)
        read_options = replace(read_options, keep=self._options.keep)
        return live, read_options.join_names_with_commas(live.schema.columns)

    def reload(self, require_fit: Callable[[LiveModel, ReadOptions], None]) -> LiveModel:
        """Load the model again if its file has been replaced by one that fits the source."""
        from stream_perceptron import CheckpointError, SourceError

        path = self._options.model
        if not path.exists():
            return self.live
        before, self._status = self._status, os.stat(path)
        if (before.st_ino, before.st_mtime_ns) == (self._status.st_ino, self._status.st_mtime_ns):
            return self.live
        try:
            live, read_options = self._load()
            require_fit(live, read_options)
        except (CheckpointError, SourceError, OSError) as error:
            text = f"{error}; still predicting with the previously loaded model"
            print_message(text, kind="warning")
        else:
            self.live, self.read_options = live, read_options
            n = format_count(live.model.n_seen, "sample")
            print_message(f"reloaded {path}: {n}")
        return self.live
