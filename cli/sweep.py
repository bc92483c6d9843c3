"""stream-perceptron sweep."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import click

from .command import command, convert_value_errors
from .learn import LearnOptions
from .live_line import LiveLine
from .options import COUNT, Rule, make_list_option, option
from .printable import format_count, get_terminal_width, print_message, printable
from .reading import announce_terminal_input, suggest_skip_bad
from .rejections import Rejections
from .signals import Signals, exit_on_signal
from .summary import warn_of_unknown_classes, warn_of_unseen_names
from .training import TrainingOptions, choose_default_lr
from .values import SWITCH, make_list_type

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.sweep import Trial


_OPTIONAL_COLUMNS = ("last 1,000", "updated")  # left out on a narrow terminal


@dataclass(init=False, eq=False, repr=False)
class SweepOptions(TrainingOptions):
    """The options of `sweep`."""

    standardize: tuple[bool, ...] | None = option(
        "--standardize on,off",
        "Whether to standardize each feature. Default: as for `learn`.",
        make_list_type(SWITCH),
        section="Input",
        is_common=True,
        flag_value="on",
    )
    lr: tuple[float, ...] | None = make_list_option(LearnOptions, "lr")
    epsilon: tuple[float, ...] = make_list_option(LearnOptions, "epsilon")
    init_range: tuple[float, ...] = make_list_option(LearnOptions, "init_range")
    activation: tuple[str, ...] = make_list_option(LearnOptions, "activation")
    by: str = option(
        "--by accuracy|kappa|macro-f1",
        "Metric by which the settings are ranked.",
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

    rules: ClassVar[tuple[Rule, ...]] = (
        *TrainingOptions.rules,
        Rule(
            "--by {} counts only rows that are new: it cannot be combined with --random",
            lambda o: o.at_random and o.by != "accuracy" and o.by,
        ),
    )


@command(SweepOptions, "Compare many settings in one pass over a stream.")
def sweep(options: SweepOptions) -> None:
    """Compare all combinations of the given settings while reading a stream only once.

    SOURCE is as for `learn`. Each combination trains its own model, with the same result as a
    separate run of `learn`. The best combination is printed first. No model is saved.

    \b
    stream-perceptron sweep mnist-train.parquet --lr 0.01,0.1,1 --epsilon 3e-6,0.03
    cat iris.csv | stream-perceptron sweep --lr 0.01,0.1,1 --activation sigmoid,tanh

    "kappa" is Cohen's kappa: 0% means the accuracy expected by chance. "updated" is the share of
    samples that changed the weights. "would stop" is the first sample whose error was below the
    threshold, epsilon; `learn --stop` stops there. With --random, no row is new, so settings are
    ranked by the accuracy over the last 1,000 samples.
    """
    announce_terminal_input(options.sources)
    rejected = Rejections()
    with exit_on_signal() as signals:
        sources, trials = signals.call_interruptibly(
            partial(_open_sources_and_trials, options, signals), options.sources
        )
        _train(options, sources, trials, rejected)
        live = trials[0].live
        for text in (*warn_of_unseen_names(live), *warn_of_unknown_classes(live)):
            print_message(text, err=True)
        for text in [] if options.quiet else rejected.format_summary(trials[0].progress.rows):
            print_message(text, err=True)
        measure = options.by.replace("-", "_")
        trials = sorted(trials, key=lambda trial: trial.sort_key(measure))
        _print_trials(options, trials, signals.is_set)


def _open_sources_and_trials(
    options: SweepOptions, signals: Signals
) -> tuple[list[Source], list[Trial]]:
    """Open the sources, and create a trial for each combination of settings."""
    options.require_files()
    sources = options.open_sources(signals, options.seed, options.sources)
    return sources, _create_trials(options, sources)


def _create_trials(options: SweepOptions, sources: Sequence[Source]) -> list[Trial]:
    """Return an untrained trial for each combination of settings."""
    from stream_perceptron import LiveModel, Trial
    from stream_perceptron.live.sweep import SWEPT_PARAMETERS, list_combinations

    fixed = {name: getattr(options, name) for name in ("seed", "max_weights", "class_weight")}
    base_options, trials = options.make_read_options(sources, standardize=None), []
    for is_on in options.standardize or [base_options.standardize]:
        read_options = replace(base_options, standardize=is_on)
        swept = {name: getattr(options, name) for name in SWEPT_PARAMETERS}
        swept["lr"] = swept["lr"] or [
            choose_default_lr(read_options, options.class_weight is not None)
        ]
        for settings in list_combinations(swept):
            with convert_value_errors():
                live = LiveModel.start(
                    sources, read_options, options.classes, True, **settings, **fixed
                )
            trials.append(Trial({"standardize": "on" if is_on else "off"} | settings, live))
    return trials


def _train(
    options: SweepOptions,
    sources: Sequence[Source],
    trials: Sequence[Trial],
    rejected: Rejections,
) -> None:
    """Train all trials on all rows."""
    from stream_perceptron.live.sweep import train_trials_on_sources

    results = train_trials_on_sources(
        trials,
        sources,
        options.epochs or 1,
        options.limit,
        options.skip_rejected,
        options.n_threads,
    )
    with suggest_skip_bad(), closing(results), LiveLine() as line:
        printed: set[str] = set()
        rows = 0
        for result in results:
            rows += result.n_processed
            rejected.add(result.rejected)
            for note in result.notices:
                if note not in printed and not (options.quiet and not note.is_warning):
                    printed.add(note)
                    line.clear()
                    print_message(note, err=True)
            if not options.quiet and line.is_due():
                line.show(f"{rows:,} rows x {len(trials)} settings")


def _print_trials(options: SweepOptions, trials: Sequence[Trial], is_partial: bool) -> None:
    """Print the trials, best first, and the `learn` command with the best settings."""
    best = trials[0]
    command = _format_learn_command(options, best)
    largest, share = _find_largest_class(trials)
    if options.as_json:
        figures = {
            "trials": [_trial_to_json(trial) for trial in trials],
            "command": command,
            "largest_class": largest,
            "largest_share": share,
            "interrupted": is_partial,
        }
        click.echo(json.dumps(figures, default=str))
        return
    if is_partial:
        click.echo(f"interrupted after {format_count(best.progress.samples, 'sample')}")
    table = list(_format_trials(options, trials))
    columns = get_terminal_width() if sys.stdout.isatty() else None
    widths = {name: max(len(cells[name]) for cells in table) for name in table[0]}
    for name in _OPTIONAL_COLUMNS:
        if columns is not None and sum(widths.values()) + 2 * (len(widths) - 1) > columns:
            widths.pop(name)
    ends = ["", *map(_describe_end, trials)]
    for cells, end in zip(table, ends, strict=True):
        line = "  ".join(f"{cells[name]:>{width}}" for name, width in widths.items())
        is_wide = columns is not None and len(line + end) > columns
        click.echo(f"{line}\n  {end}" if end and is_wide else line + end)
    if largest is not None:
        click.echo()
        print_message(f"largest class: {largest}, {share:.2%} of the samples")
        if not any((trial.accuracy or 0.0) > share for trial in trials):
            print_message("no setting is better than always predicting the largest class")
    click.echo(f"\nbest:\n  {printable(command)}")


def _format_trials(options: SweepOptions, trials: Sequence[Trial]) -> Iterator[dict[str, str]]:
    """Yield the header and the rows of the table."""
    from stream_perceptron.live.metrics import format_percent

    settings = [trial.settings for trial in trials]
    names = [name for name in settings[0] if len({each[name] for each in settings}) > 1]
    rows = []
    for trial in trials:
        progress, error = trial.progress, trial.progress.mean_error
        cells = {name.replace("_", "-"): str(trial.settings[name]) for name in names}
        is_tested = progress.accuracy is not None
        cells["accuracy"] = f"{progress.accuracy:.2%}" if is_tested else "-"
        cells["kappa"] = format_percent(trial.kappa) if is_tested else "-"
        if options.by == "macro-f1":
            cells["macro F1"] = f"{trial.macro_f1:.2%}"
        cells |= {
            "last 1,000": f"{progress.window_accuracy:.2%}",
            "mean error": f"{error:{'.4f' if error < 1000 else '.2g'}}",
            "updated": f"{progress.updated_share:.1%}",
            "would stop": "never" if trial.first_below is None else f"{trial.first_below:,}",
        }
        rows.append(cells)
    yield dict(zip(rows[0], rows[0], strict=True))
    yield from rows


def _find_largest_class(trials: Sequence[Trial]) -> tuple[object, float]:
    """Return the largest class and its share of all samples; (None, 0.0) if no sample exists."""
    # Other trials may have ended early.
    longest = max(trials, key=lambda trial: trial.progress.samples)
    metrics = longest.metrics
    if not metrics.baseline:
        return None, 0.0
    return longest.model.classes_[metrics.largest], metrics.baseline


def _describe_end(trial: Trial) -> str:
    """Describe why a trial ended early; return an empty string if it did not."""
    if not trial.has_ended:
        return ""
    if trial.diverged_at is not None:
        return f"  diverged at sample {trial.diverged_at:,}"
    return f"  ended: {trial.failure}"


def _trial_to_json(trial: Trial) -> dict[str, object]:
    """Return the settings and figures of a trial for JSON output."""
    progress, is_tested = trial.progress, trial.accuracy is not None
    return trial.settings | {
        "samples": progress.samples,
        "accuracy": progress.accuracy,
        "kappa": trial.kappa if is_tested else None,
        "macro_f1": trial.macro_f1 if is_tested else None,
        "window_accuracy": progress.window_accuracy,
        "mean_error": progress.mean_error,
        "updates": progress.updates,
        "would_stop_at": trial.first_below,
        "diverged_at": trial.diverged_at,
        "failure": trial.failure,
    }


def _format_learn_command(options: SweepOptions, best: Trial) -> str:
    """Return the `learn` command with the options of the sweep and the settings of a trial."""
    arguments = list(options.sources)
    for each in fields(LearnOptions):
        if each.name in options.given - {"sources", "as_json", "quiet"}:
            value = best.settings.get(each.name, getattr(options, each.name))
            if each.name == "standardize":
                value = value == "on"
            arguments += LearnOptions.definition_of(each.name).format_arguments(value)
    return shlex.join(["stream-perceptron", "learn", *arguments, "-m", "model.npz"])
