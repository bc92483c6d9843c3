"""stream-perceptron evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import (
    Command,
    format_option,
    hint_at_terminal,
    ignore_option,
    model_option,
    skip_option,
    sources_argument,
)
from .printable import printable
from .reading import batches_of, ignoring
from .signals import ending_in_order

if TYPE_CHECKING:
    from stream_perceptron.live.step_result import StepResult


@click.command(cls=Command, short_help="Test a saved model on samples with labels.")
@sources_argument
@model_option
@format_option()
@ignore_option()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@skip_option("count")
def evaluate(
    sources: tuple[str, ...],
    path: Path,
    file_format: str | None,
    ignore: tuple[str, ...],
    as_json: bool,
    skip_rejected: bool,
) -> None:
    """Test a saved model on samples with labels, and learn nothing.

    SOURCE is as for `learn`. Precision and recall are of each class; macro F1 is the mean over the
    classes. A class that the model does not know counts as well.

    \b
    stream-perceptron evaluate mnist-test.parquet -m mnist.npz
    """
    from stream_perceptron import LiveModel, SourceError
    from stream_perceptron.data.byte_stream import without_password

    hint_at_terminal(sources)
    live = LiveModel.load(path)
    ignoring(live, ignore)
    test = _Test(live.model.classes_)
    skipped = 0
    with ending_in_order() as signals:
        for name in sources:
            for batch in batches_of(name, file_format, live, signals):
                if not skip_rejected:
                    batch.require_usable()
                result = live.predict(batch)
                skipped += len(result.rejected)
                test.update(result)
                signals.check()
    if not test.confusion.tested:
        raise SourceError(f"{without_password(sources[0])}: there are no labels to test against")
    figures = test.figures()
    unlabelled = test.unlabelled
    figures |= {"unlabelled": unlabelled, "skipped": skipped}
    if as_json:
        click.echo(json.dumps(figures, default=str))
        return
    click.echo(
        f"{figures['samples']:,} samples: accuracy {figures['accuracy']:.2%}, "
        f"macro F1 {figures['macro_f1']:.2%}, Cohen's kappa {figures['cohen_kappa']:.2%}"
    )
    if unlabelled or skipped:
        click.echo(f"{unlabelled:,} without label, {skipped:,} skipped")
    names = [printable(str(row["class"])) for row in figures["per_class"]]
    width = max(5, *map(len, names))
    click.echo(f"\n{'class':>{width}}  precision  recall  samples")
    for name, row in zip(names, figures["per_class"], strict=True):
        click.echo(
            f"{name:>{width}}  {row['precision']:>9.2%}  {row['recall']:>6.2%}"
            f"  {row['samples']:>7,}"
        )
    cell = max(width, *(len(f"{n:,}") for line in figures["confusion"] for n in line))
    click.echo("\nconfusion: a row for each class, its samples by what was predicted")
    click.echo("  ".join(f"{name:>{cell}}" for name in ["", *names]))
    for name, line in zip(names, figures["confusion"], strict=True):
        click.echo("  ".join([f"{name:>{cell}}", *(f"{n:>{cell},}" for n in line)]))


class _Test:
    """Predictions beside labels, of which the model may not know all."""

    def __init__(self, known: list[Any]) -> None:
        from stream_perceptron.live.metrics import Confusion

        self._known = known
        self._numbers = {label: i for i, label in enumerate([*known, None])}
        self.confusion = Confusion()
        self.unlabelled = 0

    def update(self, result: StepResult) -> None:
        """Count the labelled samples."""
        import numpy as np

        labelled = [i for i, label in enumerate(result.labels) if label is not None]
        self.unlabelled += len(result.labels) - len(labelled)
        for label in {result.labels[i] for i in labelled} - self._numbers.keys():
            self._numbers[label] = len(self._numbers)
        targets = [self._numbers[result.labels[i]] for i in labelled]
        predicted = result.predicted[labelled]
        # A model without labels predicts None.
        predicted = np.where(predicted < 0, len(self._known), predicted)
        self.confusion.update(np.array(targets, np.intp), predicted)

    def figures(self) -> dict[str, Any]:
        """Return accuracy, macro F1 and Cohen's kappa, and precision and recall of each class."""
        confusion = self.confusion
        scores = confusion.scores(len(self._numbers))
        others = sorted(self._numbers.keys() - set(self._known) - {None}, key=repr)
        classes = [*self._known, *others]
        order = [self._numbers[label] for label in classes]
        matrix = confusion.matrix(len(self._numbers))
        return {
            "samples": confusion.tested,
            "accuracy": confusion.right / confusion.tested,
            "macro_f1": scores.macro_f1,
            "cohen_kappa": scores.cohen_kappa,
            "classes": classes,
            "confusion": matrix[order][:, order].tolist(),
            "per_class": [
                {
                    "class": label,
                    "precision": float(scores.precision[i]),
                    "recall": float(scores.recall[i]),
                    "samples": int(scores.seen[i]),
                }
                for label, i in zip(classes, order, strict=True)
            ],
        }
