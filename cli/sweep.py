"""stream-perceptron sweep."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import click

from .command import Options, command, convert_value_errors
from .live_line import LiveLine
from .options import (
    ACTIVATION,
    NUMBER,
    RATE,
    check_training_options,
    make_list_type,
    model_option,
    standardize_option,
    training_options,
)
from .printable import (
    format_count,
    get_stdout_width,
    make_printable,
    print_message,
)
from .reading import (
    announce_terminal_input,
    make_read_options,
    open_sources,
    suggest_skip_bad,
)
from .rejections import Rejections
from .signals import Signals, exit_on_signal

if TYPE_CHECKING:
    from stream_perceptron.data.source import Source
    from stream_perceptron.live.sweep import Trial


_OPTIONAL_COLUMNS = ("last 1,000", "updated")  # left out on a narrow terminal


@command(short_help="Compare many settings in one pass over a stream.")
@training_options
@standardize_option
@model_option(
    "--lr", metavar="A,B:C,...", type=make_list_type(RATE),
    help="Learning rates: numbers, or B:C for one that falls from B to C. Default: the default of "
    "learn, 0.01, 0.03, 0.1 and 0.3.",
)  # fmt: skip
@model_option(
    "--epsilon", metavar="A,B,...", type=make_list_type(NUMBER), default="3e-6", show_default=True,
    help="Error thresholds: a sample whose error is smaller leaves the weights unchanged.",
)  # fmt: skip
@model_option(
    "--init-range", metavar="A,B,...", type=make_list_type(NUMBER), default="0.03",
    show_default=True, help="Largest absolute values of the random initial weights.",
)  # fmt: skip
@model_option(
    "--activation", metavar="A,B,...", type=make_list_type(ACTIVATION), default="sigmoid",
    show_default=True, help="Activation functions: sigmoid, tanh, arctan or identity.",
)  # fmt: skip
def sweep(options: Options) -> None:
    """Compare all combinations of some settings, in one pass over a stream. SOURCE is as for
    `learn`. Each combination trains its own model, with the same result as a separate run of
    `learn`; no model is saved.

    The best combination is printed first. Settings are ranked by accuracy or, if one of k classes
    has more than 1.5/k of the samples, by kappa. "updated" is the share of samples that changed the
    weights. "would stop" is the first sample whose error was below epsilon; `learn --stop` stops
    there.

    \b
    stream-perceptron sweep mnist-train.parquet
    stream-perceptron sweep mnist-train.parquet --lr 0.01,0.1 --epsilon 3e-6,0.03
    cat iris.csv | stream-perceptron sweep --lr 0.1,1 --activation sigmoid,tanh
    """
    check_training_options(options)
    from stream_perceptron import SourceError
    from stream_perceptron.live.sweep import get_active_model

    from .output import warn_of_unknown_classes, warn_of_unseen_columns

    announce_terminal_input(options.sources)
    rejected = Rejections()
    with exit_on_signal() as signals:
        sources, trials = signals.call_interruptibly(
            partial(_create_trials, options, signals), options.sources
        )
        _train(options, sources, trials, rejected)
        live = get_active_model(trials)
        n_rows = live.progress.rows
        if n_rows and n_rows == live.progress.skipped and not signals.is_set:
            raise rejected.build_error(n_rows)
        if n_rows and options.limit is None and not (live.progress.samples or signals.is_set):
            raise SourceError(
                f"{sources[0].name}: no row has a label: name the label column with --label"
            )
        for text in (*warn_of_unseen_columns(live), *warn_of_unknown_classes(live)):
            print_message(text, err=True)
        for text in [] if options.quiet else rejected.format_summary(n_rows):
            print_message(text, err=True)
        _print_trials(options, trials, signals.is_set)


def _create_trials(options: Options, signals: Signals) -> tuple[list[Source], list[Trial]]:
    """Open the sources, and create an untrained trial for each combination of settings."""
    from stream_perceptron import LiveModel
    from stream_perceptron.live.sweep import DEFAULT_RATES, SWEPT_PARAMETERS, build_trials

    sources = open_sources(options.sources, options.file_format, signals)
    fixed = {name: getattr(options, name) for name in ("seed", "max_weights", "class_weight")}
    swept = {name: getattr(options, name) for name in SWEPT_PARAMETERS}
    swept["lr"] = options.lr or DEFAULT_RATES
    with convert_value_errors():
        live = LiveModel.start(
            sources, make_read_options(options), options.classes or None, True, **fixed
        )
        return sources, build_trials(live, swept)


def _train(
    options: Options,
    sources: Sequence[Source],
    trials: Sequence[Trial],
    rejected: Rejections,
) -> None:
    """Train all trials on all rows."""
    from stream_perceptron.live.sweep import get_active_model, learn_trials

    from .output import MIN_CHECKED_LABELS, require_classes

    results = learn_trials(trials, sources, options.passes, options.limit, options.skip_bad)
    with suggest_skip_bad(), closing(results), LiveLine() as line:
        printed: set[str] = set()
        rows, must_check_labels = 0, not options.classes
        for result in results:
            rows += len(result.batch)
            if must_check_labels and rows >= MIN_CHECKED_LABELS:
                require_classes(get_active_model(trials), sources[0])
                must_check_labels = False
            rejected.add(result.rejected)
            for note in result.notices:
                if note not in printed and not (options.quiet and not note.is_warning):
                    printed.add(note)
                    line.clear()
                    print_message(note, err=True, remedies=note.remedies)
            if not options.quiet and line.is_due():
                line.show(f"{rows:,} rows x {len(trials)} settings")
        if must_check_labels:
            require_classes(get_active_model(trials), sources[0])


def _print_trials(options: Options, trials: Sequence[Trial], is_partial: bool) -> None:
    """Print the trials, best first, and the `learn` command with the best settings."""
    from stream_perceptron.live.sweep import rank_trials

    from .output import compute_baseline

    measure, trials = rank_trials(trials)
    best = trials[0]
    command, baseline = _format_learn_command(options, best), compute_baseline(best.live)
    majority, share = baseline["majority_class"], baseline["majority_share"]
    if options.as_json:
        figures = {
            "trials": [_trial_to_json(trial) for trial in trials],
            "ranked_by": measure,
            "command": command,
            "majority_class": majority,
            "majority_share": share,
            "interrupted": is_partial,
        }
        click.echo(json.dumps(figures, default=str))
        return
    if is_partial:
        click.echo(f"interrupted after {format_count(best.progress.samples, 'sample')}")
    table = list(_format_trials(trials))
    columns = get_stdout_width()
    widths = {name: max(len(cells[name]) for cells in table) for name in table[0]}
    for name in _OPTIONAL_COLUMNS:
        if sum(widths.values()) + 2 * (len(widths) - 1) > columns:
            widths.pop(name)
    ends = ["", *map(_describe_end, trials)]
    for cells, end in zip(table, ends, strict=True):
        line = "  ".join(f"{cells[name]:>{width}}" for name, width in widths.items())
        click.echo(f"{line}\n  {end}" if end and len(line + end) > columns else line + end)
    if share is not None:
        click.echo()
        print_message(f"ranked by {measure}; majority class: {majority}, {share:.2%}")
        if all((trial.accuracy or 0.0) <= share for trial in trials):
            print_message("no setting is better than always predicting the majority class")
    click.echo(f"\nbest:\n  {make_printable(command)}")


def _format_trials(trials: Sequence[Trial]) -> Iterator[dict[str, str]]:
    """Yield the header and the rows of the table."""
    from stream_perceptron.live.metrics import format_kappa

    settings = [trial.settings for trial in trials]
    names = [name for name in settings[0] if len({each[name] for each in settings}) > 1]
    rows = []
    for trial in trials:
        progress = trial.progress
        cells = {name.replace("_", "-"): _format_value(trial.settings[name]) for name in names}
        if trial.settings["lr"] is None:
            cells["lr"] = f"{_format_value(trial.model.lr_)} (default)"
        is_tested = progress.accuracy is not None
        cells |= {
            "accuracy": f"{progress.accuracy:.2%}" if is_tested else "-",
            "kappa": format_kappa(trial.kappa) if is_tested else "-",
            "last 1,000": f"{progress.window_accuracy:.2%}",
            "updated": f"{progress.updated_share:.1%}",
            "would stop": "never" if trial.first_below is None else f"{trial.first_below:,}",
        }
        rows.append(cells)
    yield dict(zip(rows[0], rows[0], strict=True))
    yield from rows


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
    rate = trial.model.lr_
    return trial.settings | {
        "lr": rate if isinstance(rate, float) else _format_value(rate),
        "is_default_lr": trial.settings["lr"] is None,
        "samples": progress.samples,
        "accuracy": progress.accuracy,
        "kappa": trial.kappa if is_tested else None,
        "window_accuracy": progress.window_accuracy,
        "mean_error": progress.mean_error,
        "updates": progress.updates,
        "would_stop_at": trial.first_below,
        "diverged_at": trial.diverged_at,
        "failure": trial.failure,
    }


def _format_learn_command(options: Options, best: Trial) -> str:
    """Return the `learn` command with the options of the sweep and the settings of a trial."""
    arguments = list(options.sources)
    for parameter in click.get_current_context().command.params:
        name, flag = str(parameter.name), parameter.opts[-1]
        if name in ("as_json", "quiet", "sources") or not (name == "lr" or name in options.given):
            continue
        value = best.settings.get(name, getattr(options, name))
        if value is None:  # the default learning rate
            continue
        if isinstance(value, bool):
            arguments.append(flag if value else f"--no-{name}")
            continue
        pairs = value.items() if isinstance(value, dict) else ()
        for text in [f"{label}={_format_value(n)}" for label, n in pairs] or [_format_value(value)]:
            arguments += [f"{flag}={text}"] if text.startswith("-") else [flag, text]
    return shlex.join(["stream-perceptron", "learn", *arguments, "-m", "model.npz"])


def _format_value(value: object) -> str:
    """Return the value of an option as it is typed."""
    from stream_perceptron.data.naming import join_list
    from stream_perceptron.model.rates import FallingRate, format_lr

    if isinstance(value, tuple):
        return join_list(value)
    return format_lr(value) if isinstance(value, float | FallingRate) else str(value)
