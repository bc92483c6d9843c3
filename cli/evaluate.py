"""stream-perceptron evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import Command, format_option, hint_at_terminal, model_option, sources_argument

if TYPE_CHECKING:
    from river.metrics import ConfusionMatrix


@click.command(cls=Command, short_help="Test a saved model on samples with labels.")
@sources_argument
@model_option
@format_option()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--skip-bad", is_flag=True, help="Skip rows that cannot be used, and count them.")
def evaluate(
    sources: tuple[str, ...], path: Path, file_format: str | None, as_json: bool, skip_bad: bool
) -> None:
    """Test a saved model on samples with labels, and learn nothing.

    SOURCE is as for `learn`. Precision and recall are of each class; macro F1 is the mean over the
    classes. A class that the model does not know counts as well.

    \b
    stream-perceptron evaluate mnist-test.parquet -m mnist.npz
    """
    from river.metrics import ConfusionMatrix

    from stream_perceptron import LiveModel, SourceError
    from stream_perceptron.data.opening import open_source

    hint_at_terminal(sources)
    live = LiveModel.load(path)
    confusion = ConfusionMatrix()
    unlabelled = skipped = 0
    for name in sources:
        for step in live.predict(open_source(name, file_format), skip_bad):
            skipped += len(step.skipped)
            for label, prediction in zip(step.labels, step.predictions, strict=True):
                if label is None:
                    unlabelled += 1
                else:
                    confusion.update(label, prediction)
    if not confusion.total_weight:
        raise SourceError(f"{sources[0]}: there are no labels to test against")
    figures = _figures(confusion, live.model.classes_)
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
    width = max(5, *(len(str(row["class"])) for row in figures["per_class"]))
    click.echo(f"\n{'class':>{width}}  precision  recall  samples")
    for row in figures["per_class"]:
        click.echo(
            f"{row['class']!s:>{width}}  {row['precision']:>9.2%}  {row['recall']:>6.2%}"
            f"  {row['samples']:>7,}"
        )
    cell = max(width, *(len(f"{n:,}") for line in figures["confusion"] for n in line))
    click.echo("\nconfusion: a row for each class, its samples by what was predicted")
    names = [str(row["class"]) for row in figures["per_class"]]
    click.echo("  ".join(f"{name:>{cell}}" for name in ["", *names]))
    for name, line in zip(names, figures["confusion"], strict=True):
        click.echo("  ".join([f"{name:>{cell}}", *(f"{n:>{cell},}" for n in line)]))


def _figures(confusion: ConfusionMatrix, known: list[Any]) -> dict[str, Any]:
    """Return River's metrics over a confusion matrix."""
    from river import metrics

    others = set(confusion.classes) - set(known) - {None}
    classes = [*known, *sorted(others, key=repr)]
    return {
        "samples": int(confusion.total_weight),
        "accuracy": metrics.Accuracy(cm=confusion).get(),
        "macro_f1": metrics.MacroF1(cm=confusion).get(),
        "cohen_kappa": metrics.CohenKappa(cm=confusion).get(),
        "classes": classes,
        "confusion": [[int(confusion[a][b]) for b in classes] for a in classes],
        "per_class": [
            {
                "class": label,
                "precision": _share(confusion.true_positives(label), confusion.sum_col[label]),
                "recall": _share(confusion.true_positives(label), confusion.sum_row[label]),
                "samples": int(confusion.sum_row[label]),
            }
            for label in classes
        ],
    }


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
