"""stream-perceptron sweep."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from .command import bad_parameters_are_usage_errors, command
from .learn import LearnOptions
from .live_line import LiveLine
from .options import COUNT, option, several_of
from .printable import counted, printable, tell
from .reading import hint_at_terminal, hinting_at_skips
from .rejections import Rejections
from .signals import Signals, ending_in_order
from .summary import warn_of_unknown_classes, warn_of_unseen_names
from .training import TrainingOptions, usual_lr
from .values import SWITCH, several

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.sweep import Trial


_OPTIONAL_COLUMNS = ("last 1,000", "updated")  # which a narrow terminal does not show


@dataclass(init=False, eq=False, repr=False)
class SweepOptions(TrainingOptions):
    """The options of `sweep`."""

    standardize: tuple[bool, ...] | None = option(
        "--standardize on,off",
        "Standardize each feature, or not. Default: as `learn`.",
        several(SWITCH),
        section="Input",
        is_common=True,
        flag_value="on",
    )
    lr: tuple[float, ...] | None = several_of(LearnOptions, "lr")
    epsilon: tuple[float, ...] = several_of(LearnOptions, "epsilon")
    init_range: tuple[float, ...] = several_of(LearnOptions, "init_range")
    activation: tuple[str, ...] = several_of(LearnOptions, "activation")
    by: str = option(
        "--by accuracy|kappa|macro-f1",
        "The figure by which the settings are ordered.",
        click.Choice(["accuracy", "kappa", "macro-f1"]),
        "accuracy",
        section="Output",
        is_common=True,
    )
    n_threads: int | None = option(
        "--threads N",
        "Train N models at a time. Default: one per processor.",
        COUNT,
        section="Advanced",
    )


@command(SweepOptions, "Compare many settings in one read of a stream.")
def sweep(options: SweepOptions) -> None:
    """Compare every combination of some settings in one read of a stream.

    SOURCE is as for `learn`. Each combination trains its own model, with the same result as a
    separate run of `learn`. The best comes first. Nothing is saved.

    \b
    stream-perceptron sweep mnist-train.parquet --lr 0.01,0.1,1 --epsilon 3e-6,0.03
    cat iris.csv | stream-perceptron sweep --lr 0.01,0.1,1 --activation sigmoid,tanh

    "kappa" is Cohen's kappa: 0% is the accuracy expected by chance. "updated" is the share of
    samples that changed the weights. "would stop" is the first sample whose error was below the
    threshold, epsilon: where `learn --stop` stops. "training" is the accuracy on rows learned
    before, in later passes or drawn at random.
    """
    hint_at_terminal(options.sources)
    rejected = Rejections()
    with ending_in_order() as signals:
        sources, trials = signals.call(partial(_open, options, signals), options.sources)
        _learn(options, sources, trials, rejected)
        live = trials[0].live
        for text in (*warn_of_unseen_names(live), *warn_of_unknown_classes(live)):
            tell(text, err=True)
        for text in [] if options.quiet else rejected.lines(trials[0].progress.rows):
            tell(text, err=True)
        measure = options.by.replace("-", "_")
        trials = sorted(trials, key=lambda trial: trial.rank(measure))
        _show(options, trials, signals.is_set)


def _open(options: SweepOptions, signals: Signals) -> tuple[list[Source], list[Trial]]:
    sources = options.open_sources(signals, options.seed)
    return sources, _trials(options, sources)


def _trials(options: SweepOptions, sources: Sequence[Source]) -> list[Trial]:
    from stream_perceptron import LiveModel, Trial
    from stream_perceptron.live.sweep import SWEPT, combinations

    fixed = {name: getattr(options, name) for name in ("seed", "max_weights", "class_weight")}
    asked, trials = options.select(sources, standardize=None), []
    for is_on in options.standardize or [asked.standardize]:
        selection = replace(asked, standardize=is_on)
        swept = {name: getattr(options, name) for name in SWEPT}
        swept["lr"] = swept["lr"] or [usual_lr(selection, options.class_weight is not None)]
        for settings in combinations(swept):
            with bad_parameters_are_usage_errors():
                live = LiveModel.start(
                    sources, selection, options.classes, True, **settings, **fixed
                )
            trials.append(Trial({"standardize": "on" if is_on else "off"} | settings, live))
    return trials


def _learn(
    options: SweepOptions,
    sources: Sequence[Source],
    trials: Sequence[Trial],
    rejected: Rejections,
) -> None:
    """Train all trials on all rows."""
    from stream_perceptron.live.sweep import learn_sources

    results = learn_sources(
        trials,
        sources,
        options.epochs or 1,
        options.limit,
        options.skip_rejected,
        options.n_threads,
    )
    with hinting_at_skips(), closing(results), LiveLine() as line:
        told: set[str] = set()
        rows = 0
        for result in results:
            rows += result.taken
            rejected.add(result.rejected)
            for note in result.notes:
                if note not in told and not (options.quiet and not note.is_warning):
                    told.add(note)
                    line.clear()
                    tell(note, err=True)
            if not options.quiet and line.is_due():
                line.show(f"{rows:,} rows x {len(trials)} settings")


def _show(options: SweepOptions, trials: Sequence[Trial], is_partial: bool) -> None:
    """Print the trials, best first, and the `learn` command with the best settings."""
    best = trials[0]
    command = _format_learn_command(options, best)
    largest, share = _find_largest_class(trials)
    if options.as_json:
        figures = {
            "trials": [_figures(trial) for trial in trials],
            "command": command,
            "largest_class": largest,
            "largest_share": share,
            "interrupted": is_partial,
        }
        click.echo(json.dumps(figures, default=str))
        return
    if is_partial:
        click.echo(f"interrupted after {counted(best.progress.samples, 'sample')}")
    table = list(_table(options, trials))
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    widths = {name: max(len(cells[name]) for cells in table) for name in table[0]}
    for name in _OPTIONAL_COLUMNS:
        if columns is not None and sum(widths.values()) + 2 * (len(widths) - 1) > columns:
            widths.pop(name)
    ends = ["", *map(_how_it_ended, trials)]
    for cells, end in zip(table, ends, strict=True):
        line = "  ".join(f"{cells[name]:>{width}}" for name, width in widths.items())
        is_wide = columns is not None and len(line + end) > columns
        click.echo(f"{line}\n  {end}" if end and is_wide else line + end)
    if largest is not None:
        click.echo()
        tell(f"largest class: {largest}, {share:.2%} of the samples")
        if not any(trial.accuracy > share for trial in trials):
            tell("no setting is better than always answering with the largest class")
    click.echo(f"\nbest:\n  {printable(command)}")


def _table(options: SweepOptions, trials: Sequence[Trial]) -> Iterator[dict[str, str]]:
    """Yield the header and the rows of the table."""
    from stream_perceptron.live.metrics import format_percent

    settings = [trial.settings for trial in trials]
    names = [name for name in settings[0] if len({each[name] for each in settings}) > 1]
    is_repeated = any(trial.progress.training.tested for trial in trials)
    is_new = any(trial.progress.progressive.tested for trial in trials)
    rows = []
    for trial in trials:
        progress, error = trial.progress, trial.progress.mean_error
        cells = {name.replace("_", "-"): str(trial.settings[name]) for name in names}
        if is_new or not is_repeated:
            cells["accuracy"] = f"{progress.accuracy:.2%}"
        if is_repeated:
            cells["training"] = f"{progress.training.accuracy:.2%}"
        cells["kappa"] = format_percent(trial.kappa)
        if options.by == "macro-f1":
            cells["macro F1"] = f"{trial.macro_f1:.2%}"
        cells |= {
            "last 1,000": f"{progress.tally.window_accuracy:.2%}",
            "mean error": f"{error:{'.4f' if error < 1000 else '.2g'}}",
            "updated": f"{progress.updated_share:.1%}",
            "would stop": "never" if trial.first_below is None else f"{trial.first_below:,}",
        }
        rows.append(cells)
    yield dict(zip(rows[0], rows[0], strict=True))
    yield from rows


def _find_largest_class(trials: Sequence[Trial]) -> tuple[Any, float]:
    """Return the most frequent class and its share of the samples; None if there are none."""
    longest = max(trials, key=lambda trial: trial.progress.samples)  # others ended before
    scores = longest.scores
    if not scores.baseline:
        return None, 0.0
    return longest.model.classes_[scores.largest], scores.baseline


def _how_it_ended(trial: Trial) -> str:
    if not trial.has_ended:
        return ""
    if trial.diverged_at is not None:
        return f"  diverged at sample {trial.diverged_at:,}"
    return f"  ended: {trial.refused}"


def _figures(trial: Trial) -> dict[str, Any]:
    progress = trial.progress
    return trial.settings | {
        "samples": progress.samples,
        "accuracy": progress.accuracy,
        "kappa": trial.kappa,
        "macro_f1": trial.macro_f1,
        "window_accuracy": progress.window_accuracy,
        "training_accuracy": progress.training_accuracy,
        "mean_error": progress.mean_error,
        "updates": progress.updates,
        "would_stop_at": trial.first_below,
        "diverged_at": trial.diverged_at,
        "refused": trial.refused,
    }


def _format_learn_command(options: SweepOptions, best: Trial) -> str:
    """Return the `learn` command with the same options and the settings of a trial."""
    arguments = list(options.sources)
    for each in fields(LearnOptions):
        if each.name in options.given - {"sources", "as_json", "quiet"}:
            value = best.settings.get(each.name, getattr(options, each.name))
            if each.name == "standardize":
                value = value == "on"
            arguments += LearnOptions.definition_of(each.name).format_arguments(value)
    return shlex.join(["stream-perceptron", "learn", *arguments, "-m", "model.npz"])
