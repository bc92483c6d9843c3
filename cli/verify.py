"""stream-perceptron verify."""

from __future__ import annotations

import click

from .command import Options, command
from .options import SOURCE, make_format_option, model_argument
from .signals import exit_on_signal
from .terminal import LiveLine, format_progress_bar, make_printable, print_line


@command(short_help="Verify that a model was trained on the given sources.")
@model_argument
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=SOURCE)
@make_format_option()
def verify(options: Options) -> None:
    """Retrain a model on its recorded sources, and compare every bit.

    Files are matched by digest, regardless of their names; a text file may have grown. Files that
    match no digest stand in for the pipes that were read, in the same order. If the models differ,
    the first difference is printed and the exit code is 1.

    \b
    stream-perceptron verify mnist.npz mnist-train.parquet
    """
    from stream_perceptron import LiveModel, VerificationError
    from stream_perceptron.data.opening import open_sources
    from stream_perceptron.verification import refuse_pipes
    from stream_perceptron.verification import verify as verify_live

    path, sources = options.model, options.sources
    refuse_pipes(sources)
    live = LiveModel.load(path)
    with LiveLine() as line, exit_on_signal() as signals:

        def advance(done: int, total: int) -> None:
            signals.raise_if_caught()
            if line.is_due():
                line.show(format_progress_bar(done / max(total, 1), "", line.width))

        try:
            opened = signals.call_interruptibly(
                lambda: list(open_sources(sources, options.file_format)), sources
            )
            verify_live(live, opened, advance)
        except VerificationError as error:
            raise VerificationError(make_printable(f"{path}: {error}")) from None
    k, d = len(live.model.classes_), len(live.model.features_)
    print_line(f"{path}: every bit of the {k:,} x {d:,} weights follows from these sources")
