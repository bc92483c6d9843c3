"""stream-perceptron sweep."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import click

from .command import Options, command, convert_value_errors
from .live_line import LiveLine
from .options import (
    ACTIVATION,
    COUNT,
    NUMBER,
    POSITIVE,
    SWITCH,
    advanced_option,
    check_training_options,
    input_option,
    make_list_type,
    model_option,
    output_option,
    training_options,
)
from .printable import format_count, get_terminal_width, print_message, printable
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
@input_option(
    "--standardize", metavar="on,off", type=make_list_type(SWITCH), is_flag=False, flag_value="on",
    is_rare=True, help="Whether to standardize each feature. Default: as for `learn`.",
)  # fmt: skip
@model_option(
    "--lr", metavar="A,B,...", type=make_list_type(POSITIVE),
    help="Learning rates. Default: as for `learn`.",
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
@output_option(
    "--by", metavar="accuracy|kappa|macro-f1", default="accuracy", show_default=True,
    type=click.Choice(["accuracy", "kappa", "macro-f1"]),
    help="Metric by which the settings are ranked.",
)  # fmt: skip
@advanced_option(
    "--threads", metavar="N", type=COUNT,
    help="Train N models at a time. Default: one per processor.",
)  # fmt: skip
def sweep(o: Options) -> None:
    """Compare all combinations of the given settings while reading a stream only once.

    SOURCE is as for `learn`. Each combination trains its own model, with the same result as a
    separate run of `learn`. The best combination is printed first. No model is saved.

    \b
    stream-perceptron sweep mnist-train.parquet --lr 0.01,0.1 --epsilon 3e-6,0.03
    cat iris.csv | stream-perceptron sweep --lr 0.1,1 --activation sigmoid,tanh

    "kappa" is Cohen's kappa: 0% means the accuracy expected by chance. "updated" is the share of
    samples that changed the weights. "would stop" is the first sample whose error was below
    epsilon; `learn --stop` stops there.
    """
    check_training_options(o)
    from stream_perceptron import SourceError
    from stream_perceptron.live.sweep import get_active_model

    from .output import warn_of_unknown_classes, warn_of_unseen_names

    announce_terminal_input(o.sources)
    rejected = Rejections()
    with exit_on_signal() as signals:
        sources, trials = signals.call_interruptibly(partial(_create_trials, o, signals), o.sources)
        _train(o, sources, trials, rejected)
        live = get_active_model(trials)
        n_rows = live.progress.rows
        if n_rows and n_rows == live.progress.skipped and not signals.is_set:
            raise rejected.build_error(n_rows)
        if n_rows and o.limit is None and not (live.progress.samples or signals.is_set):
            raise SourceError(
                f"{sources[0].name}: no row has a label: name the label column with --label"
            )
        for text in (*warn_of_unseen_names(live), *warn_of_unknown_classes(live)):
            print_message(text, err=True)
        for text in [] if o.quiet else rejected.format_summary(n_rows):
            print_message(text, err=True)
        measure = o.by.replace("-", "_")
        trials = sorted(trials, key=lambda trial: trial.sort_key(measure))
        _print_trials(o, trials, signals.is_set)


def _create_trials(o: Options, signals: Signals) -> tuple[list[Source], list[Trial]]:
    """Open the sources, and create an untrained trial for each combination of settings."""
    from stream_perceptron import LiveModel, Trial
    from stream_perceptron.live.sweep import SWEPT_PARAMETERS, list_combinations

    sources = open_sources(o.sources, o.file_format, signals)
    fixed = {name: getattr(o, name) for name in ("seed", "max_weights", "class_weight")}
    read_options, trials = replace(make_read_options(o), standardize=None), []
    for setting in o.standardize or [None]:
        if setting is not None:
            read_options = replace(read_options, standardize=setting == "on")
        swept = {name: getattr(o, name) for name in SWEPT_PARAMETERS}
        swept["lr"] = swept["lr"] or [None]
        for settings in list_combinations(swept):
            with convert_value_errors():
                live = LiveModel.start(
                    sources, read_options, o.classes or None, True, **settings, **fixed
                )
            settings |= {"lr": live.model.lr}
            standardize = "on" if live.read_options.standardize else "off"
            trials.append(Trial({"standardize": standardize} | settings, live))
    return sources, trials


def _train(
    o: Options,
    sources: Sequence[Source],
    trials: Sequence[Trial],
    rejected: Rejections,
) -> None:
    """Train all trials on all rows."""
    from stream_perceptron.live.sweep import get_active_model, learn_trials

    from .output import MIN_LABELED, require_classes

    results = learn_trials(trials, sources, o.passes, o.limit, o.skip_bad, o.threads)
    with suggest_skip_bad(), closing(results), LiveLine() as line:
        printed: set[str] = set()
        rows, must_check_labels = 0, not o.classes
        for result in results:
            rows += len(result.batch)
            if must_check_labels and rows >= MIN_LABELED:
                require_classes(get_active_model(trials), sources[0])
                must_check_labels = False
            rejected.add(result.rejected)
            for note in result.notices:
                if note not in printed and not (o.quiet and not note.is_warning):
                    printed.add(note)
                    line.clear()
                    print_message(note, err=True, remedies=note.remedies)
            if not o.quiet and line.is_due():
                line.show(f"{rows:,} rows x {len(trials)} settings")
        if must_check_labels:
            require_classes(get_active_model(trials), sources[0])


def _print_trials(o: Options, trials: Sequence[Trial], is_partial: bool) -> None:
    """Print the trials, best first, and the `learn` command with the best settings."""
    from .output import compute_baseline

    best = trials[0]
    command, baseline = _format_learn_command(best), compute_baseline(best.live)
    majority, share = baseline["majority_class"], baseline["majority_share"]
    if o.as_json:
        figures = {
            "trials": [_trial_to_json(trial) for trial in trials],
            "command": command,
            "majority_class": majority,
            "majority_share": share,
            "interrupted": is_partial,
        }
        click.echo(json.dumps(figures, default=str))
        return
    if is_partial:
        click.echo(f"interrupted after {format_count(best.progress.samples, 'sample')}")
    table = list(_format_trials(o, trials))
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
    if share is not None:
        click.echo()
        print_message(f"majority class: {majority}, {share:.2%} of the samples")
        if o.by == "accuracy" and all((trial.accuracy or 0.0) <= share for trial in trials):
            print_message("no setting is better than always predicting the majority class")
    click.echo(f"\nbest:\n  {printable(command)}")


def _format_trials(o: Options, trials: Sequence[Trial]) -> Iterator[dict[str, str]]:
    """Yield the header and the rows of the table."""
    from stream_perceptron.live.metrics import format_percent

    from .output import format_error

    settings = [trial.settings for trial in trials]
    names = [name for name in settings[0] if len({each[name] for each in settings}) > 1]
    rows = []
    for trial in trials:
        progress, error = trial.progress, trial.progress.mean_error
        cells = {name.replace("_", "-"): str(trial.settings[name]) for name in names}
        is_tested = progress.accuracy is not None
        cells["accuracy"] = f"{progress.accuracy:.2%}" if is_tested else "-"
        cells["kappa"] = format_percent(trial.kappa) if is_tested else "-"
        if o.by == "macro-f1":
            cells["macro F1"] = f"{trial.macro_f1:.2%}"
        cells |= {
            "last 1,000": f"{progress.window_accuracy:.2%}",
            "mean error": format_error(error),
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


def _format_learn_command(best: Trial) -> str:
    """Return the `learn` command with the arguments of the sweep and the settings of a trial."""
    ctx = click.get_current_context()
    values, _, _ = ctx.command.make_parser(ctx).parse_args(list(ctx.meta["arguments"]))
    arguments = list(ctx.params["sources"])
    for parameter in ctx.command.params:
        name = parameter.name
        if name in ("by", "threads", "as_json", "quiet", "sources") or name not in values:
            continue
        flag, given = parameter.opts[-1], values[name]
        if name == "standardize":
            arguments.append(flag if best.settings[name] == "on" else "--no-standardize")
        elif name in best.settings:
            arguments += [flag, str(best.settings[name]).removesuffix(".0")]
        elif getattr(parameter, "is_flag", False):
            arguments.append(flag)
        else:
            for value in given if parameter.multiple else [given]:
                arguments += [flag, value]
    return shlex.join(["stream-perceptron", "learn", *arguments, "-m", "model.npz"])
