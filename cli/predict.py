"""stream-perceptron predict."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from .command import command
from .files import REMEDY, require_different
from .options import (
    KEPT_NAMES_ARE_NEW,
    OverwriteOption,
    PredictionOptions,
    ReadingOptions,
    Rule,
    SavedModelOption,
    option,
)
from .predictions import lines_for, open_predictions
from .printable import counted, tell
from .reading import batches_of, hint_at_terminal, load_to_read, require_known_classes
from .signals import Signals, ending_in_order

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.data.batch import Batch
    from stream_perceptron.live.step_result import StepResult

_PATIENCE = 0.1  # seconds between two looks for a missing model


@dataclass(init=False, eq=False, repr=False)
class PredictOptions(SavedModelOption, ReadingOptions, PredictionOptions, OverwriteOption):
    """The options of `predict`."""

    follow: bool = option("--follow", "Reload MODEL whenever it is saved again.")

    rules: ClassVar[tuple[Rule, ...]] = (KEPT_NAMES_ARE_NEW,)


@command(PredictOptions, "Predict samples with a saved model.")
def predict(options: PredictOptions) -> None:
    """Predict samples with a saved model, a line of JSON or CSV each, and learn nothing.

    SOURCE is as for `learn`, and needs no label. Columns that the model does not know are ignored,
    with a warning; a table that lacks one of its features is an error.

    \b
    echo '[0.5, 0.25]' | stream-perceptron predict -m points.npz
    stream-perceptron predict mnist-test.parquet -m mnist.npz > predictions.jsonl
    stream-perceptron predict customers.csv -m churn.npz --keep id -p predictions.csv
    """
    o = options
    hint_at_terminal(o.sources)
    require_different(SOURCE=o.sources, MODEL=o.path, the_predictions=o.output)
    with ending_in_order() as signals:
        while o.follow and not o.path.exists():
            signals.sleep(_PATIENCE)
            signals.check()
        _predict(o, signals)


def _predict(options: PredictOptions, signals: Signals) -> None:
    from stream_perceptron import CheckpointError, SourceError
    from stream_perceptron.data.byte_stream import is_stream
    from stream_perceptron.live.driver import drive

    o, path = options, options.path
    output_path = o.output or "-"
    seen = os.stat(path)
    live = _load(o)
    require_known_classes(o.threshold or (), live)
    thresholds = o.thresholds
    classes = live.model.classes_ if o.probabilities else None
    lines = lines_for(output_path, o.output_format, live.selection, classes, o.with_learned)

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
        result = live.predict(batch, o.probabilities or thresholds is not None)
        return result if thresholds is None else thresholds.apply(result, o.probabilities)

    # Check sources before the file of predictions is truncated.
    files = {i: read(name) for i, name in enumerate(o.sources) if not is_stream(name)}
    remedy = None if o.overwrite else REMEDY
    output = open_predictions(output_path, lines, signals, remedy=remedy)
    count = _Count()
    for i, name in enumerate(o.sources):
        batches = files.get(i) or read(name)
        for result in drive(batches, predict_batch, o.skip_rejected):
            output.write(result)
            count.add(result)
            for text in result.rejected:
                tell(f"skipped: {text}", err=True)
        if signals.is_set:
            break
    if output_path != "-":
        tell(f"{output_path}: {count}", err=True)


@dataclass
class _Count:
    """The number of predictions, and how many of those with a label were right."""

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
        text = counted(self.n, "prediction")
        if not self.n_labeled:
            return text
        of_labeled = "" if self.n_labeled == self.n else f" of the {self.n_labeled:,} labeled rows"
        return f"{text}, accuracy {self.n_right / self.n_labeled:.2%}{of_labeled}"


def _load(options: PredictOptions) -> LiveModel:
    """Load the model, to read as the options say."""
    live = load_to_read(options.path, options)
    live.selection = replace(live.selection, keep=options.keep)
    return live


def _is_other(now: os.stat_result, seen: os.stat_result) -> bool:
    return (now.st_ino, now.st_mtime_ns) != (seen.st_ino, seen.st_mtime_ns)
