"""stream-perceptron evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from .command import Options, command
from .options import (
    json_option,
    make_threshold_option,
    output_option,
    reading_options,
    saved_model_option,
)
from .reading import (
    announce_terminal_input,
    load_for_prediction,
    open_sources,
    predict_source,
    require_known_classes,
)
from .signals import exit_on_signal
from .tables import format_class_table, format_table, shorten_name
from .terminal import (
    format_count,
    get_stdout_width,
    get_terminal_width,
    make_printable,
    print_json,
    print_message,
    wrap_text,
)

if TYPE_CHECKING:
    from stream_perceptron.live.evaluation import Evaluation


_MAX_TABLE_ROWS = 20  # classes, or pairs of classes, in a printed table or matrix
_MAX_NAME_WIDTH = 16  # terminal columns for a row's name in the confusion matrix
_MAX_PAIR_NAME_WIDTH = 26  # terminal columns for each name in the list of confused pairs
_MIN_HEADER_WIDTH = 5  # terminal columns for a shortened name in the header of the matrix


@command(short_help="Test a saved model on labeled samples.")
@saved_model_option
@reading_options
@make_threshold_option()
@output_option(
    "--scores", is_flag=True,
    help="Show how well the scores of each class rank the samples. Default: if there are two "
    "classes.",
)  # fmt: skip
@json_option
def evaluate(options: Options) -> None:
    """Test a saved model on labeled samples, without learning.

    SOURCE is as for `learn`. Balanced accuracy is the mean of the recalls of all classes, and macro
    F1 the mean of their F1 scores, including classes that the model does not know. Average
    precision, ROC AUC, the recall at two precisions and the threshold with the best F1 are computed
    to within 0.001 from the scores of each class, regardless of the predicted class; models with
    more than 100 classes have no such figures. With --json, "pairs" counts each (label, prediction)
    pair, and "confusion" is the confusion matrix, for up to 1,000 classes. After a signal, the
    figures cover the samples tested so far and are marked as "interrupted".

    \b
    stream-perceptron evaluate mnist-test.parquet -m mnist.npz
    """
    from stream_perceptron import SourceError
    from stream_perceptron.data.input.bytes import get_display_name
    from stream_perceptron.live.evaluation import Evaluation
    from stream_perceptron.live.ranking import MAX_CLASSES
    from stream_perceptron.live.thresholds import Thresholds

    announce_terminal_input(options.sources)
    live, read_options = load_for_prediction(options)
    require_known_classes(options.threshold or (), live)
    thresholds, evaluation = Thresholds(options.threshold), Evaluation(live.model.classes_)
    needs_scores = bool(options.threshold) or len(live.model.classes_) <= MAX_CLASSES

    with exit_on_signal() as signals:
        for name in options.sources:
            (source,) = open_sources([name], options.file_format, signals)
            results = predict_source(
                source, live, is_test=True, read_options=read_options, joins_labels=True,
                skip_rejected=options.skip_bad, with_all_scores=needs_scores,
            )  # fmt: skip
            for result in results:
                evaluation.update(thresholds.apply(result, with_all_scores=True))
            if signals.is_set:
                break
        if evaluation.confusion.tested:
            figures = evaluation.figures() | {"interrupted": signals.is_set}
            labels = [row["class"] for row in figures["per_class"] if row["samples"]]
            if live.model.classes_ and set(labels).isdisjoint(live.model.classes_):
                print_message(
                    "no label is a class of the model: if another column has the labels, name it "
                    "with --label",
                    kind="warning",
                )
            if options.as_json:
                print_json(figures)
            else:
                _print_results(evaluation, figures, options.scores)
        elif not signals.is_set:
            raise SourceError(
                f"{get_display_name(options.sources[0])}: no labels to test against: name their "
                "column with --label"
            )


def _print_results(evaluation: Evaluation, figures: dict[str, Any], has_scores: bool) -> None:
    """Print the accuracy, the figures for each class, and the confused classes."""
    from stream_perceptron.live.metrics import format_kappa

    columns = get_stdout_width()
    largest = make_printable(str(figures["majority_class"]))
    summary = [
        f"{format_count(figures['samples'], 'sample')}: accuracy {figures['accuracy']:.2%}",
        f"majority class: {largest}, {figures['majority_share']:.2%} of the samples",
        f"kappa: {format_kappa(figures['cohen_kappa'])}, balanced accuracy "
        f"{figures['balanced_accuracy']:.2%}, macro F1 {figures['macro_f1']:.2%}",
    ]
    if figures["interrupted"]:
        summary.insert(0, "interrupted: not all samples were tested")
    if figures["unlabeled"] or figures["skipped"]:
        summary.append(f"{figures['unlabeled']:,} unlabeled, {figures['skipped']:,} skipped")
    names = ("class", "precision", "recall", "samples")
    classes = [[row[name] for name in names] for row in figures["per_class"]]
    lines = [line for text in summary for line in wrap_text(text, columns)]
    lines += ["", *format_class_table(classes, columns), ""]
    if has_scores or len(classes) == 2:
        lines += _format_ranking(figures, columns)
    lines += _format_confusion(evaluation, figures, columns)
    click.echo("\n".join(lines))


def _format_ranking(figures: dict[str, Any], columns: int) -> Iterator[str]:
    """Yield lines with the metrics for samples ranked by the score of each class."""
    rows = [row for row in figures["per_class"] if row["roc_auc"] is not None]
    if not rows:
        return
    yield "samples ranked by the score of each class"
    header_rows = [("class", "average", "", "recall at precision", "", "best", ""),
             ("", "precision", "ROC AUC", "50%", "90%", "F1", "threshold")]  # fmt: skip
    class_rows = [
        (
            make_printable(str(row["class"])), f"{row['average_precision']:.2%}",
            f"{row['roc_auc']:.4f}", f"{row['recall_at_precision_50']:.2%}",
            f"{row['recall_at_precision_90']:.2%}", f"{row['best_f1']:.2%}",
            str(row["best_threshold"]),
        )
        for row in rows[:_MAX_TABLE_ROWS]
    ]  # fmt: skip
    yield from format_table([*header_rows, *class_rows], columns)
    if (n_left_out := len(rows) - _MAX_TABLE_ROWS) > 0:
        noun = "class" if n_left_out == 1 else "classes"
        yield f"and {n_left_out:,} other {noun}; --json lists them all"
    yield ""


def _format_confusion(
    evaluation: Evaluation, figures: dict[str, Any], columns: int
) -> Iterator[str]:
    """Yield the lines of a confusion matrix or, if it is too large, of the most confused pairs."""
    counts = {row["class"]: row["samples"] for row in figures["per_class"]}
    confused_pairs = sorted(
        (pair for pair in figures["pairs"] if pair[0] != pair[1]), key=lambda p: -p[2]
    )
    if not evaluation.classes:
        yield "the model has no classes yet, so it predicted none"
    elif len(counts) <= _MAX_TABLE_ROWS and (
        matrix := _format_matrix(list(counts), figures["confusion"])
    ):
        yield "confusion matrix (rows: true, columns: predicted)"
        yield from matrix
    elif confused_pairs:
        yield "most confused classes"
        rows = [("true -> predicted", "samples", "share of true")]
        for true, predicted, n in confused_pairs[:_MAX_TABLE_ROWS]:
            names = [
                shorten_name(make_printable(str(name)), _MAX_PAIR_NAME_WIDTH)
                for name in (true, predicted)
            ]
            rows.append((" -> ".join(names), f"{n:,}", f"{n / counts[true]:.2%}"))
        yield from format_table(rows, columns)
        if (others := len(confused_pairs) - _MAX_TABLE_ROWS) > 0:
            yield f"and {format_count(others, 'other pair')}; --json lists them all"


def _format_matrix(classes: Sequence[object], counts: Sequence[Sequence[int]]) -> list[str]:
    """Return the lines of a confusion matrix, or [] if the terminal is too narrow."""
    names = [shorten_name(make_printable(str(name)), _MAX_NAME_WIDTH) for name in classes]
    columns, widest = get_terminal_width(), max(map(len, names))
    room = (columns - widest) // len(names) - 2
    digits = len(f"{max(map(max, counts)):,}")
    if room < max(digits, min(widest, _MIN_HEADER_WIDTH)):
        return []
    cell = max(digits, min(widest, room))
    rows = [["", *(shorten_name(name, cell) for name in names)]]
    rows += [[name, *map("{:,}".format, row)] for name, row in zip(names, counts, strict=True)]
    return list(format_table(rows, columns))
