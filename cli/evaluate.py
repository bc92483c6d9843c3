"""stream-perceptron evaluate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    Command,
    format_option,
    hint_at_terminal,
    ignore_option,
    json_option,
    model_option,
    reading_options,
    skip_option,
    sources_argument,
)
from .printable import counted, printable
from .reading import asking, batches_of
from .signals import ending_in_order

if TYPE_CHECKING:
    from stream_perceptron.live.step_result import StepResult


_MOST_IN_MATRIX = 1000  # classes, of which JSON has a matrix beside the pairs
_LONGEST = 16  # characters of a name in the confusion matrix
_LONGEST_TITLE = 40  # that other columns are aligned to


@click.command(cls=Command, short_help="Test a saved model on labelled samples.")
@sources_argument
@model_option
@format_option()
@reading_options
@ignore_option()
@json_option
@skip_option("count")
def evaluate(
    sources: tuple[str, ...],
    path: Path,
    file_format: str | None,
    ignore: tuple[str, ...],
    as_json: bool,
    skip_rejected: bool,
    **how: Any,
) -> None:
    """Test a saved model on labelled samples, without learning.

    SOURCE is as for `learn`. Macro F1 is the mean F1 over the classes, including classes that the
    model does not know. --json has how often each label was predicted as each in "pairs", and up to
    1,000 classes as a matrix in "confusion".

    \b
    stream-perceptron evaluate mnist-test.parquet -m mnist.npz
    """
    from stream_perceptron import LiveModel, SourceError
    from stream_perceptron.data.byte_stream import name_of
    from stream_perceptron.live.driver import drive

    hint_at_terminal(sources)
    live = LiveModel.load(path)
    asking(live, ignore, **how)
    test = _Test(live.model.classes_)
    with ending_in_order() as signals:
        for name in sources:
            batches = batches_of(name, file_format, live, signals)
            for result in drive(batches, live.predict, skip_rejected):
                test.update(result)
                signals.check()
    if not test.confusion.tested:
        raise SourceError(
            f"{name_of(sources[0])}: no labels to test against: name their column with --label"
        )
    figures = test.figures()
    if as_json:
        click.echo(json.dumps(figures, default=str))
    else:
        _show(test, figures)


def _show(test: _Test, figures: dict[str, Any]) -> None:
    """Print accuracy, what is known of each class, and the confusion matrix."""
    click.echo(
        f"{counted(figures['samples'], 'sample')}: accuracy {figures['accuracy']:.2%}, "
        f"macro F1 {figures['macro_f1']:.2%}, Cohen's kappa {figures['cohen_kappa']:.2%}"
    )
    name = printable(str(figures["largest_class"]))
    click.echo(f"largest class: {name}, {figures['largest_share']:.2%} of the samples")
    if figures["unlabelled"] or figures["skipped"]:
        click.echo(f"{figures['unlabelled']:,} unlabelled, {figures['skipped']:,} skipped")
    names = [printable(str(row["class"])) for row in figures["per_class"]]
    width = min(_LONGEST_TITLE, max(5, *map(len, names)))
    click.echo(f"\n{'class':>{width}}  precision  recall  samples")
    for name, row in zip(names, figures["per_class"], strict=True):
        click.echo(
            f"{name:>{width}}  {row['precision']:>9.2%}  {row['recall']:>6.2%}"
            f"  {row['samples']:>7,}"
        )
    click.echo("\nconfusion matrix (rows: true, columns: predicted)")
    for line in _matrix(test, names, shutil.get_terminal_size().columns):
        click.echo(line)


def _shortened(name: str) -> str:
    """Return a name without its middle, if it is long: names differ at either end."""
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST // 2 - 2]}..{name[-_LONGEST // 2 :]}"


def _matrix(test: _Test, names: Sequence[str], columns: int) -> list[str]:
    """Return the lines of a confusion matrix, cut to the classes with most errors if it is wide."""
    names = list(map(_shortened, names))
    order = test.order
    seen, _, right = (part[order] for part in test.confusion.sums(max(order, default=0) + 1))
    cell = max(*map(len, names), len(f"{max(seen):,}"))
    most = max(2, columns // (cell + 2) - 1)
    shown = list(range(len(names)))
    lines = []
    if len(names) > most:
        errors = seen - right
        shown = sorted(sorted(shown, key=lambda i: -errors[i])[:most])
        lines = [f"the {most} of {len(names):,} classes with most errors; --json has all"]
    lines.append("  ".join(f"{name:>{cell}}" for name in ["", *(names[j] for j in shown)]))
    counts = test.confusion.matrix([order[i] for i in shown]).tolist()
    for i, line in zip(shown, counts, strict=True):
        lines.append("  ".join([f"{names[i]:>{cell}}", *(f"{count:>{cell},}" for count in line)]))
    return lines


class _Test:
    """Predictions beside labels, of which the model may not know all."""

    def __init__(self, known: list[Any]) -> None:
        from stream_perceptron.live.metrics import Confusion

        self._known = known
        self._numbers = {label: i for i, label in enumerate([*known, None])}
        self.confusion = Confusion()
        self._unlabelled = self._skipped = 0

    def update(self, result: StepResult) -> None:
        """Count the labelled samples."""
        import numpy as np

        labelled = [i for i, label in enumerate(result.labels) if label is not None]
        self._unlabelled += len(result.labels) - len(labelled)
        self._skipped += len(result.rejected)
        for label in {result.labels[i] for i in labelled} - self._numbers.keys():
            self._numbers[label] = len(self._numbers)
        targets = [self._numbers[result.labels[i]] for i in labelled]
        predicted = result.predicted[labelled]
        # A model without labels predicts None.
        predicted = np.where(predicted < 0, len(self._known), predicted)
        self.confusion.update(np.array(targets, np.intp), predicted)

    @property
    def order(self) -> list[int]:
        """The numbers of all labels: those that the model knows, and others by name."""
        others = sorted(self._numbers.keys() - set(self._known) - {None}, key=repr)
        return [self._numbers[label] for label in [*self._known, *others]]

    def figures(self) -> dict[str, Any]:
        """Return accuracy, macro F1 and Cohen's kappa, and precision and recall of each class."""
        confusion, labels, order = self.confusion, list(self._numbers), self.order
        scores, classes = confusion.scores(len(labels)), [labels[i] for i in order]
        is_small = len(order) <= _MOST_IN_MATRIX
        return {
            "samples": confusion.tested,
            "accuracy": confusion.right / confusion.tested,
            "macro_f1": scores.macro_f1,
            "cohen_kappa": scores.cohen_kappa,
            "largest_class": labels[scores.largest],
            "largest_share": scores.baseline,
            "classes": classes,
            "confusion": confusion.matrix(order).tolist() if is_small else None,
            "pairs": [[labels[i], labels[j], n] for i, j, n in confusion.pairs.tolist()],
            "per_class": [
                {
                    "class": label,
                    "precision": float(scores.precision[i]),
                    "recall": float(scores.recall[i]),
                    "samples": int(scores.seen[i]),
                }
                for label, i in zip(classes, order, strict=True)
            ],
            "unlabelled": self._unlabelled,
            "skipped": self._skipped,
        }
