"""stream-perceptron predict."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import (
    Command,
    format_option,
    hint_at_terminal,
    model_option,
    skip_option,
    sources_argument,
)
from .predictions import PredictionFile
from .printable import tell
from .signals import InterruptedWaitError, Signals

if TYPE_CHECKING:
    from stream_perceptron import LiveModel

_PATIENCE = 0.1  # seconds between two looks for a model that is not there yet
_FOLLOWED_ROWS = 100  # predicted between two looks at the checkpoint


@click.command(cls=Command, short_help="Predict samples with a saved model.")
@sources_argument
@model_option
@format_option()
@click.option("--follow", is_flag=True, help="Take up MODEL anew whenever it was saved again.")
@skip_option("name")
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    sources: tuple[str, ...],
    path: Path,
    file_format: str | None,
    follow: bool,
    skip_rejected: bool,
) -> None:
    """Predict samples with a saved model, a line of JSON each, and learn nothing.

    SOURCE is as for `learn`, and needs no label. Columns are used as they were when the model was
    made; a source of columns that lacks features or adds some is refused.

    \b
    echo '[0.5, 0.25]' | stream-perceptron predict -m points.npz
    stream-perceptron predict mnist-test.parquet -m mnist.npz > predictions.jsonl
    """
    from stream_perceptron import LiveModel
    from stream_perceptron.data.opening import open_source

    hint_at_terminal(sources)
    with Signals() as signals:
        try:
            while follow and not path.exists():
                signals.sleep(_PATIENCE)
            seen = os.stat(path)
            live = LiveModel.load(path)
            output = PredictionFile("-", wait=lambda number: _until_writable(signals, number))
            for name in sources:
                source = open_source(name, file_format, signals.wait)
                # Closed before Python ends, as a thread reads ahead for it.
                with closing(live.batches(source, _FOLLOWED_ROWS if follow else None)) as batches:
                    for batch in batches:
                        if follow and path.exists() and _is_other(now := os.stat(path), seen):
                            seen = now
                            _take_up(live, path)
                        result = live.predict(batch if skip_rejected else batch.before_rejected())
                        output.write(result)
                        for text in result.rejected:
                            tell(f"skipped: {text}", err=True)
                        if signals.caught is not None:
                            ctx.exit(signals.exit_code)
                        if not skip_rejected:
                            batch.require_usable()
        except InterruptedWaitError:
            ctx.exit(signals.exit_code)


def _until_writable(signals: Signals, descriptor: int) -> None:
    signals.wait_to_write(descriptor)


def _take_up(live: LiveModel, path: Path) -> None:
    """Predict with the model that was saved anew, or keep the old one if that is damaged."""
    from stream_perceptron import CheckpointError

    try:
        live.model = type(live).load(path).model
        click.echo(f"took up {path}, of {live.model.n_seen:,} samples", err=True)
    except (CheckpointError, OSError) as error:
        click.echo(f"warning: {error}; the old model predicts on", err=True)


def _is_other(now: os.stat_result, seen: os.stat_result) -> bool:
    return (now.st_ino, now.st_mtime_ns) != (seen.st_ino, seen.st_mtime_ns)
