"""What a run tells at its beginning and its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .printable import counted, printable, tell
from .progress_line import ProgressLine

if TYPE_CHECKING:
    from stream_perceptron import LiveModel

    from .begin import AtWork
    from .rejections import Rejections


def announce(at_work: AtWork, line: ProgressLine, path: Path | None) -> None:
    """Tell where a run begins, and what is changed in its model."""
    from stream_perceptron.data.describe import warning
    from stream_perceptron.model.kernel import NAME as KERNEL

    live, sources, cursor = at_work[:3]
    if live.progress.rows:
        line.note(f"resuming {path} after {_place(live)}")
    if live.kernel != KERNEL:
        line.note(
            warning(
                f"saved with the {live.kernel} kernel, resuming with the {KERNEL} kernel: results "
                "agree to rounding, not bit for bit"
            )
        )
    if cursor is not None and cursor.read == 0:
        before = {known.name: known for known in live.cursor.sources if not known.is_stream}
        for source in sources:
            if (known := before.get(source.name)) is not None:
                is_same = source.identities([known])[0] == known
                how = "was read before" if is_same else "changed after it was read"
                line.note(warning(f"{source.name} {how}; reading it again from the start"))
    for name in live.grown_but_passed(sources, cursor):
        line.note(
            warning(
                f"{name} has grown, but a later source was begun, so its new rows are not read; to "
                "learn them, put them in a file of their own and name that last"
            )
        )
    if at_work.n_left_out:
        n = counted(at_work.n_left_out, "byte")
        line.note(warning(f"{n} of a line are left out: the pipe that they came from ended"))
    for name, value in at_work.changed.items():
        shown = f"{value:,}" if name == "max_weights" else f"{value:g}"
        line.note(f"{name.replace('_', '-')} is {shown} from now on")


def _place(live: LiveModel) -> str:
    """Say how far a model has read."""
    cursor = live.cursor
    rows = f"{live.progress.rows:,}"
    if cursor.at_random or cursor.epoch or not cursor.row:
        return f"{rows} rows"
    source = cursor.sources[cursor.index]
    if cursor.row == live.progress.rows:
        return f"row {rows} of {source.name}"
    return f"row {cursor.row:,} of {source.name}, {rows} rows in all"


def nothing_new(live: LiveModel) -> str:
    """Say why no row was learned."""
    if live.ledger.replayed:
        return "nothing new: every row was already learned"
    if live.stopped:
        return "nothing new: the run has already stopped"
    if live.cursor.finished:
        return "nothing new: all that was asked for was already learned"
    return "no new rows"


def baseline_of(live: LiveModel) -> dict[str, Any]:
    """Return what accuracy is to be compared with: the share of the largest class, and kappa."""
    labels = live.model.classes_
    scores = live.progress.scores(len(labels))
    return {
        "largest_class": labels[scores.largest] if scores.baseline else None,
        "largest_share": scores.baseline,
        "cohen_kappa": scores.cohen_kappa,
    }


def shown_waiting(live: LiveModel) -> str:
    """Say how many samples wait for their labels, and how many were forgotten."""
    n, forgotten = counted(len(live.waiting.samples), "sample"), live.waiting.forgotten
    most = f"; {forgotten:,} forgotten, as more than {live.selection.waiting:,} waited"
    return n + (most if forgotten else "")


def _unlabelled(live: LiveModel) -> Iterator[str]:
    """Yield what to tell of samples without a label."""
    progress = live.progress
    if live.selection.joins:
        yield f"waiting for labels: {shown_waiting(live)}"
        if (n := progress.samples - progress.confusion.tested) > 1:
            yield f"not scored: {n:,} samples, predicted before a label was known"
    elif progress.unlabelled and progress.samples:
        yield f"unlabelled: {counted(progress.unlabelled, 'row')}, only predicted"


def summarise(
    live: LiveModel,
    line: ProgressLine,
    path: Path | None,
    rejected: Rejections,
    as_json: bool,
    quiet: bool,
    interrupted: str,
) -> None:
    if as_json:
        from stream_perceptron.diagnostics.diagnosis import findings_in
        from stream_perceptron.model.kernel import NAME as KERNEL

        summary = (
            line.figures()
            | baseline_of(live)
            | {
                "missing": live.progress.missing,
                "replayed": live.ledger.replayed,
                "stopped": live.stopped,
                "skipped_rows": rejected.first,
                "classes": live.model.classes_,
                "kernel": KERNEL,
                "model": None if path is None else str(path),
                "diagnosis": [vars(finding) for finding in findings_in(live)],
            }
        )
        click.echo(json.dumps(summary, default=str))
    if as_json or quiet:
        return
    for text in rejected.lines(line.rows):
        tell(text, err=True)
    for text in _unlabelled(live):
        click.echo(text, err=True)
    if live.progress.missing:
        click.echo(f"missing: {live.progress.missing:,} feature values", err=True)
    if live.ledger.replayed:
        click.echo(f"skipped: {counted(live.ledger.replayed, 'row')} already learned", err=True)
    if live.stopped:
        click.echo(
            f"stopped at sample {live.progress.samples:,}: its error, "
            f"{live.model.last_epsilon:.3g}, is below epsilon",
            err=True,
        )
    if (told := baseline_of(live))["largest_share"]:
        click.echo(
            f"largest class: {printable(str(told['largest_class']))}, {told['largest_share']:.2%} "
            f"of the samples; Cohen's kappa {told['cohen_kappa']:.2%}",
            err=True,
        )
    if path is None:
        click.echo(f"{interrupted}model not saved; use -m MODEL to keep it", err=True)
    else:
        tell(f"{interrupted}saved {path}", err=True)
