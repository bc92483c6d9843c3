"""Test random inputs, and check the results."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import click
import numpy as np

import stream_perceptron

KINDS = ["checkpoints", "commands", "records"]
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "support"))


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS))
@click.option("--cases", default=1000, show_default=True, help="Number of cases of each kind.")
@click.option("--minutes", type=float, help="Minutes to test each kind, instead of --cases.")
@click.option("--seed", default=0, show_default=True, help="Seed of the first case.")
def main(kinds: tuple[str, ...], cases: int, minutes: float | None, seed: int) -> None:
    """Test random inputs, all kinds in parallel; exit with status 1 at the first failure.

    Case N of a kind does not depend on earlier cases: --seed N --cases 1 repeats it.
    """
    if len(kinds) != 1:
        arguments = [arg for arg in sys.argv[1:] if arg not in KINDS]
        command = [sys.executable, str(Path(__file__).parent)]
        runs = [subprocess.Popen([*command, kind, *arguments]) for kind in kinds or KINDS]
        codes = [run.wait() for run in runs]  # negative if a signal ended the process
        sys.exit(any(codes))
    (kind,) = kinds
    run_case = importlib.import_module(kind).run_case
    print(f"{kind}: {stream_perceptron.__file__}", file=sys.stderr)
    end = None if minutes is None else time.monotonic() + 60 * minutes
    outcomes: Counter[str] = Counter()
    for number in itertools.count(seed):
        if number >= seed + cases if end is None else time.monotonic() > end:
            break
        rng = np.random.default_rng([number, KINDS.index(kind)])
        with tempfile.TemporaryDirectory() as folder:
            try:
                outcomes[run_case(rng, Path(folder))] += 1
            except BaseException:
                traceback.print_exc()
                sys.exit(f"failed; to repeat: scripts/fuzz {kind} --seed {number} --cases 1")
    shown = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"{kind}: {outcomes.total():,} cases: {shown}", flush=True)


if __name__ == "__main__":
    main()
