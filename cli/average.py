"""stream-perceptron average."""

from __future__ import annotations

import click

from .command import Options, command
from .files import require_distinct_files, require_expected_content, require_regular_files
from .options import FILE, option
from .printable import format_count, print_message


@command(short_help="Average models that were trained from the same base.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=FILE)
@option(
    "--base", metavar="MODEL", type=FILE, required=True,
    help="Checkpoint from which the training of every MODEL started, as it was at that point.",
)  # fmt: skip
@option(
    "-o", "--output", metavar="MODEL", type=FILE, required=True, help="Checkpoint to write."
)  # fmt: skip
def average(options: Options) -> None:
    """Average models that were trained independently, starting from the same base model.

    Weights are averaged. Sample counts are those of the base plus those that each model
    added. Labels and features are matched by name, and the highest offset of each partition is
    kept. The order of the models does not matter. Averaging N models divides their steps by N, so
    train them with N times the learning rate.

    \b
    stream-perceptron average a.npz b.npz --base morning.npz -o evening.npz
    """
    from stream_perceptron.checkpoint.archive import lock_checkpoint
    from stream_perceptron.distributed.averaging import average_files

    require_distinct_files(
        a_model=[*map(str, options.models), str(options.base)], the_output=options.output
    )
    require_regular_files(options.output)
    require_expected_content(options.output, (b"PK",), "a model", "name another file")
    live = average_files(options.models, options.base)
    with lock_checkpoint(options.output):
        live.save(options.output)
    print_message(
        f"saved {options.output}: {format_count(live.progress.samples, 'sample')}", err=True
    )
