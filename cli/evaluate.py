"""stream-perceptron evaluate."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from .command import command
from .options import JsonOption, ReadingOptions, SavedModelOption, ThresholdOption
from .printable import class_table, columns_of_stdout, counted, printable, table, width_of, wrapped
from .reading import batches_of, hint_at_terminal, load_to_read, require_known_classes
from .signals import ending_in_order

if TYPE_CHECKING:
    from stream_perceptron.live.step_result import StepResult
    from stream_perceptron.live.thresholds import Thresholds


_MOST_IN_MATRIX = 1000  # classes, for a matrix in JSON
_MOST_SHOWN = 20  # classes in a printed matrix, or else pairs of classes
_LONGEST = 16  # columns of a row's name in the confusion matrix
_SHORTEST = 5  # columns of a shortened name above it


@dataclass(init=False, eq=False, repr=False)
class EvaluateOptions(SavedModelOption, ReadingOptions, JsonOption, ThresholdOption):
    """The options of `evaluate`."""


@command(EvaluateOptions, "Test a saved model on labelled samples.")
def evaluate(options: EvaluateOptions) -> None:
    """Test a saved model on labelled samples, without learning.

    SOURCE is as for `learn`. Balanced accuracy is the mean recall over the classes, and macro F1
    the mean F1, including classes that the model does not know. Average precision, ROC AUC, the
    recall at two precisions and the threshold with the best F1 follow from the scores of a class,
    whatever class is predicted: exactly for up to 40 million scores, beyond by 65,536 bins. --json
    has how often each label was predicted as each in "pairs", and up to 1,000 classes as a matrix
    in "confusion". After a signal, the figures are those of the samples tested until then, marked
    as "interrupted".

    \b
    stream-perceptron evaluate mnist-test.parquet -m mnist.npz
    """
    from stream_perceptron import SourceError
    from stream_perceptron.data.byte_stream import name_of
    from stream_perceptron.live.driver import drive

    o = options
    hint_at_terminal(o.sources)
    live = load_to_read(o.path, o)
    require_known_classes(o.threshold or (), live)
    test = _Test(live.model.classes_, o.thresholds)
    with ending_in_order() as signals:
        for name in o.sources:
            batches = batches_of(name, o.file_format, live, signals, joins_labels=True)
            predict = partial(live.predict, with_every=True)
            for result in drive(batches, predict, o.skip_rejected):
                test.update(result)
            if signals.is_set:
                break
        if test.confusion.tested:
            figures = test.figures() | {"interrupted": signals.is_set}
            if o.as_json:
                click.echo(json.dumps(figures, default=str))
            else:
                _show(test, figures)
        elif not signals.is_set:
            raise SourceError(
                f"{name_of(o.sources[0])}: no labels to test against: name their column with "
                "--label"
            )


def _show(test: _Test, figures: dict[str, Any]) -> None:
    """Print accuracy, the figures of each class, and the confused classes."""
    from stream_perceptron.live.metrics import format_percent

    columns = columns_of_stdout()
    largest = printable(str(figures["largest_class"]))
    kappa = format_percent(figures["cohen_kappa"])
    told = [
        f"{counted(figures['samples'], 'sample')}: accuracy {figures['accuracy']:.2%}, "
        f"balanced accuracy {figures['balanced_accuracy']:.2%}, macro F1 "
        f"{figures['macro_f1']:.2%}, Cohen's kappa {kappa}",
        f"largest class: {largest}, {figures['largest_share']:.2%} of the samples",
    ]
    if figures["interrupted"]:
        told.insert(0, "interrupted: not all samples were tested")
    if figures["unlabelled"] or figures["skipped"]:
        told.append(f"{figures['unlabelled']:,} unlabelled, {figures['skipped']:,} skipped")
    names = ("class", "precision", "recall", "samples")
    classes = [[row[name] for name in names] for row in figures["per_class"]]
    lines = [line for text in told for line in wrapped(text, columns)]
    lines += ["", *class_table(classes, columns), "", *_ranking(figures, columns)]
    lines += _confusion(test, figures, columns)
    click.echo("\n".join(lines))


def _ranking(figures: dict[str, Any], columns: int) -> Iterator[str]:
    """Yield the lines of the figures that rank samples by the scores of each class."""
    rows = [row for row in figures["per_class"] if row["roc_auc"] is not None]
    if not rows:
        return
    how = "" if figures["ranking"] == "exact" else f", by {figures['ranking']}"
    yield f"samples ranked by the score of each class{how}"
    heads = [("class", "average", "", "recall at precision", "", "best", ""),
             ("", "precision", "ROC AUC", "50%", "90%", "F1", "threshold")]  # fmt: skip
    shown = [
        (
            printable(str(row["class"])), f"{row['average_precision']:.2%}",
            f"{row['roc_auc']:.4f}", f"{row['recall_at_precision_50']:.2%}",
            f"{row['recall_at_precision_90']:.2%}", f"{row['best_f1']:.2%}",
            str(row["best_threshold"]),
        )
        for row in rows[:_MOST_SHOWN]
    ]  # fmt: skip
    yield from table([*heads, *shown], columns)
    if len(rows) > _MOST_SHOWN:
        yield f"and {counted(len(rows) - _MOST_SHOWN, 'other class')}; --json has all"
    yield ""


def _confusion(test: _Test, figures: dict[str, Any], columns: int) -> Iterator[str]:
    """Yield the lines of a confusion matrix or, if it is too large, the most confused pairs."""
    seen = {row["class"]: row["samples"] for row in figures["per_class"]}
    wrong = sorted((pair for pair in figures["pairs"] if pair[0] != pair[1]), key=lambda p: -p[2])
    if not test.known:
        yield "the model knows no class yet and predicted none"
    elif len(seen) <= _MOST_SHOWN and (matrix := _matrix(list(seen), figures["confusion"])):
        yield "confusion matrix (rows: true, columns: predicted)"
        yield from matrix
    elif wrong:
        yield "classes confused most"
        rows = [("true -> predicted", "samples", "share of true")]
        for true, said, n in wrong[:_MOST_SHOWN]:
            pair = printable(f"{true} -> {said}")
            rows.append((pair, f"{n:,}", f"{n / seen[true]:.2%}"))
        yield from table(rows, columns)
        if (others := len(wrong) - _MOST_SHOWN) > 0:
            yield f"and {counted(others, 'other pair')}; --json has all"


def _matrix(classes: Sequence[Any], counts: Sequence[Sequence[int]]) -> list[str]:
    """Return the lines of a confusion matrix, or [] if the terminal is too narrow."""
    names = [_shortened(printable(str(name)), _LONGEST) for name in classes]
    columns, widest = shutil.get_terminal_size().columns, max(map(width_of, names))
    room = (columns - widest) // len(names) - 2
    digits = len(f"{max(map(max, counts)):,}")
    if room < max(digits, min(widest, _SHORTEST)):
        return []
    cell = max(digits, min(widest, room))
    rows = [["", *(_shortened(name, cell) for name in names)]]
    rows += [[name, *map("{:,}".format, row)] for name, row in zip(names, counts, strict=True)]
    return list(table(rows, columns))


def _shortened(name: str, width: int) -> str:
    """Cut the middle out of a wide name, as names differ at either end."""
    short, kept = name, width - 2
    while width_of(short) > width:
        short = f"{name[: (kept + 1) // 2]}..{name[len(name) - kept // 2 :]}"
        kept -= 1
    return short


class _Test:
    """Counts of predictions by label; the model may not know all labels."""

    def __init__(self, known: list[Any], thresholds: Thresholds | None) -> None:
        from stream_perceptron.live.metrics import Confusion
        from stream_perceptron.live.ranking import Ranking

        self.known, self._thresholds = known, thresholds
        self._ranking = Ranking(len(known))
        self._numbers = {label: i for i, label in enumerate([*known, None])}
        self.confusion = Confusion()
        self._unlabelled = self._skipped = 0

    def update(self, result: StepResult) -> None:
        """Count the labelled samples."""
        import numpy as np

        labelled = [i for i, label in enumerate(result.labels) if label is not None]
        self._unlabelled += len(result.labels) - len(labelled)
        self._skipped += len(result.rejected)
        new = {result.labels[i] for i in labelled} - self._numbers.keys()
        for label in sorted(new, key=repr):  # so that ties for the largest class resolve alike
            self._numbers[label] = len(self._numbers)
        targets = np.array([self._numbers[result.labels[i]] for i in labelled], np.intp)
        if result.every_probability is not None:
            self._ranking.update(targets, result.every_probability[labelled])
        if self._thresholds is not None:
            result = self._thresholds.apply(result, with_every=False)
        predicted = result.predicted[labelled]
        # A model without labels predicts None.
        predicted = np.where(predicted < 0, len(self.known), predicted)
        self.confusion.update(targets, predicted)

    @property
    def order(self) -> list[int]:
        """The numbers of all labels: known labels first, then the others by name."""
        others = sorted(self._numbers.keys() - set(self.known) - {None}, key=repr)
        return [self._numbers[label] for label in [*self.known, *others]]

    def _rank(self, label: int) -> dict[str, float | None]:
        """Return the figures that rank samples by the score of a class."""
        from stream_perceptron.live.ranking import RankingFigures

        figures = self._ranking.figures(label) if label < len(self.known) else None
        return dict.fromkeys(RankingFigures._fields) if figures is None else figures._asdict()

    def figures(self) -> dict[str, Any]:
        """Return accuracy, macro F1, Cohen's kappa, and the precision and recall of each class."""
        confusion, labels, order = self.confusion, list(self._numbers), self.order
        scores, classes = confusion.scores(len(labels)), [labels[i] for i in order]
        is_small = len(order) <= _MOST_IN_MATRIX
        return {
            "samples": confusion.tested,
            "accuracy": confusion.right / confusion.tested,
            "balanced_accuracy": scores.balanced_accuracy,
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
                    **self._rank(i),
                }
                for label, i in zip(classes, order, strict=True)
            ],
            "ranking": self._ranking.method,
            "unlabelled": self._unlabelled,
            "skipped": self._skipped,
        }
