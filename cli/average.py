"""stream-perceptron average."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .command import command
from .files import require_distinct_files, require_regular
from .options import FILE, Options, argument, option
from .printable import format_count, print_message


@dataclass(init=False, eq=False, repr=False)
class AverageOptions(Options):
    """The options of `average`."""

    paths: tuple[Path, ...] = argument("MODEL...", nargs=-1, required=True, type=FILE)
    base: Path = option(
        "--base MODEL",
        "Checkpoint from which every MODEL was trained, as it was at that time.",
        FILE,
        required=True,
    )
    output: Path = option("-o/--output MODEL", "Checkpoint to write.", FILE, required=True)


@command(AverageOptions, "Average models that were trained from the same base.")
def average(options: AverageOptions) -> None:
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

    paths, base, output = options.paths, options.base, options.output
    require_distinct_files(a_model=[*map(str, paths), str(base)], the_output=output)
    require_regular(output)
    live = average_files(paths, base)
    with lock_checkpoint(output):
        live.save(output)
    print_message(f"saved {output}: {format_count(live.progress.samples, 'sample')}", err=True)
