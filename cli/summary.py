"""What a run tells at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .printable import counted, tell
from .progress_line import ProgressLine

if TYPE_CHECKING:
    from stream_perceptron import LiveModel

    from .rejections import Rejections


def tell_findings(live: LiveModel, line: ProgressLine, quiet: bool, diverged: bool = False) -> None:
    if quiet:
        return
    from stream_perceptron.diagnostics.diagnosis import diagnose

    for finding in diagnose(live, diverged):
        line.note(f"diagnosis: {finding}")


def summarise(
    live: LiveModel,
    line: ProgressLine,
    path: Path | None,
    rejected: Rejections,
    as_json: bool,
    quiet: bool,
) -> None:
    if as_json:
        from stream_perceptron.diagnostics.diagnosis import diagnose
        from stream_perceptron.model.kernel import NAME as KERNEL

        summary = line.figures() | {
            "missing": live.progress.missing,
            "replayed": live.ledger.replayed,
            "stopped": live.stopped,
            "skipped_rows": rejected.first,
            "classes": live.model.classes_,
            "kernel": KERNEL,
            "model": None if path is None else str(path),
            "diagnosis": [vars(finding) for finding in diagnose(live)],
        }
        click.echo(json.dumps(summary, default=str))
    if as_json or quiet:
        return
    for text in rejected.lines(line.rows):
        tell(text, err=True)
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
    tell_findings(live, line, quiet)
    if path is None:
        click.echo("model not saved; use -m MODEL to keep it", err=True)
    else:
        click.echo(f"saved {path}", err=True)
