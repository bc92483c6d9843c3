"""Try random inputs, and compare what comes of them with what is right."""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import checkpoints
import click
import formats
import kernel
import numpy as np

KINDS = {"kernel": kernel.case, "formats": formats.case, "checkpoints": checkpoints.case}


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(list(KINDS)))
@click.option("--cases", default=1000, show_default=True, help="How many of each kind.")
@click.option("--seed", default=0, show_default=True, help="Of the first case.")
def main(kinds: tuple[str, ...], cases: int, seed: int) -> None:
    """Try random inputs; end with 1 at the first that goes wrong.

    Case N of a kind is the same whatever comes before it: --seed N --cases 1 repeats it.
    """
    for kind in kinds or KINDS:
        outcomes: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder:
            for number in range(seed, seed + cases):
                rng = np.random.default_rng([number, list(KINDS).index(kind)])
                try:
                    outcomes[KINDS[kind](rng, Path(folder))] += 1
                except BaseException:
                    traceback.print_exc()
                    sys.exit(f"found: scripts/fuzz {kind} --seed {number} --cases 1")
        shown = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
        print(f"{kind}: {cases:,} cases: {shown}", flush=True)


if __name__ == "__main__":
    main()
