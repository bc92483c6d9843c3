"""The run of `sweep`: it trains many models in one pass, and prints them, best first."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream_perceptron import LiveModel
from stream_perceptron.data.naming import join_list
from stream_perceptron.live.metrics import format_kappa
from stream_perceptron.live.step_result import StepResult
from stream_perceptron.live.sweep import (
    DEFAULT_RATES,
    SWEPT_PARAMETERS,
    Trial,
    build_trials,
    get_first_unfinished_model,
    learn_trials,
    rank_trials,
)
from stream_perceptron.model.rates import FallingRate, format_lr

from .command import Options, convert_value_errors
from .summary import compute_figures
from .terminal import (
    format_count,
    get_stdout_width,
    make_printable,
    print_json,
    print_line,
    print_message,
)
from .training import TrainingRun

if TYPE_CHECKING:
    from stream_perceptron.distributed.ray import Round

_OPTIONAL_COLUMNS = ("last 1,000", "updated")  # left out on a narrow terminal


class SweepRun(TrainingRun):
    """A run of `sweep`; its model is that of the first trial that has not ended."""

    @property
    def parameters(self) -> dict[str, Any]:
        names = super().parameters.keys() - set(SWEPT_PARAMETERS)
        return {name: getattr(self.options, name) for name in names}

    def open_sources(self, saved: LiveModel | None) -> None:
        super().open_sources(saved)
        swept = {name: getattr(self.options, name) for name in SWEPT_PARAMETERS}
        swept["lr"] = self.options.lr or DEFAULT_RATES
        with convert_value_errors():
            self.trials = build_trials(self.live, swept)
        self.live = get_first_unfinished_model(self.trials)

    def results(self) -> Generator[StepResult, None, None]:
        options = self.options
        for result in learn_trials(
            self.trials, self.files, options.passes, options.limit, options.skip_bad
        ):
            self.live = get_first_unfinished_model(self.trials)
            yield result

    def report(self, result: StepResult | Round) -> None:
        for notice in result.notices:
            self.print_notice(notice)
        self.printer.show(f"{self.n_new_rows:,} rows x {len(self.trials)} settings")

    def print_findings(self, diverged: bool = False, has_ended: bool = True) -> None:
        """Print none, because each setting would have its own."""

    def print_last_row(self) -> None:
        self.printer.clear()

    def print_summary(self, path: Path | None) -> None:
        if not self.printer.is_quiet:
            for text in self.rejections.format_summary(self.n_new_rows):
                print_message(text)
        _print_trials(self.options, self.trials, self.signals.is_set)


def _print_trials(options: Options, trials: Sequence[Trial], is_partial: bool) -> None:
    """Print the trials, best first, and the `learn` command with the best settings."""
    measure, trials = rank_trials(trials)
    best = trials[0]
    command, figures = _format_learn_command(options, best), compute_figures(best.live)
    majority, share = figures["majority_class"], figures["majority_share"]
    if options.as_json:
        record = {
            "trials": [_trial_to_json(trial) for trial in trials],
            "ranked_by": measure,
            "command": command,
            "majority_class": majority,
            "majority_share": share,
            "interrupted": is_partial,
        }
        print_json(record)
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
        print_line(f"ranked by {measure}; majority class: {majority}, {share:.2%}")
        if all((trial.accuracy or 0.0) <= share for trial in trials):
            print_line("no setting is better than always predicting the majority class")
    click.echo(f"\nbest:\n  {make_printable(command)}")


def _format_trials(trials: Sequence[Trial]) -> Iterator[dict[str, str]]:
    """Yield the header and the rows of the table."""
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
    rate, figures = trial.model.lr_, compute_figures(trial.live)
    names = ("samples", "accuracy", "window_accuracy", "mean_error", "updates")
    return trial.settings | {
        "lr": rate if isinstance(rate, float) else _format_value(rate),
        "is_default_lr": trial.settings["lr"] is None,
        **{name: figures[name] for name in names},
        "kappa": figures["cohen_kappa"],
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
    if isinstance(value, tuple):
        return join_list(value)
    return format_lr(value) if isinstance(value, float | FallingRate) else str(value)
