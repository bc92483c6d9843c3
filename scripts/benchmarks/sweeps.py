"""Many settings side by side, beside as many runs and beside one thread."""

from __future__ import annotations

import statistics

from common import BIN, in_turns, ratio, seconds_of, spread, table, train_file

RUNS = 3
GRID = {
    "--lr": ["0.01", "0.1", "1"],
    "--epsilon": ["3e-6", "0.03"],
    "--activation": ["sigmoid", "tanh"],
}
COMMAND = str(BIN / "stream-perceptron")


def sweeps() -> str:
    """Whole process: 12 settings over 60,000 digits, and over 600,000 as ten passes."""
    swept = [part for name, values in GRID.items() for part in (name, ",".join(values))]
    command = [COMMAND, "sweep", str(train_file()), "--quiet", *swept]
    one_thread = [*command, "--threads", "1"]
    times = in_turns(
        RUNS,
        {
            "sweep": lambda: seconds_of(command),
            "12 runs": _seconds_of_runs,
            "sweep, 1 thread": lambda: seconds_of(one_thread),
            "sweep, 10 passes": lambda: seconds_of([*command, "--passes", "10"]),
            "sweep, 10 passes, 1 thread": lambda: seconds_of([*one_thread, "--passes", "10"]),
        },
    )
    rows = []
    for name, other in [
        ("sweep", "12 runs"),
        ("sweep", "sweep, 1 thread"),
        ("sweep, 10 passes", "sweep, 10 passes, 1 thread"),
    ]:
        rows.append(
            [
                name,
                spread(times[name]),
                other,
                f"{statistics.median(times[other]):.2f}",
                f"{ratio(times[name], times[other]):.2f}",
            ]
        )
    return table(["", "seconds", "beside", "seconds", "ratio"], rows)


def _seconds_of_runs() -> float:
    """Return the summed time of a run for each setting."""
    return sum(
        seconds_of(
            [COMMAND, "learn", str(train_file()), "--quiet", "--lr", lr, "--epsilon", epsilon,
             "--activation", activation]
        )
        for lr in GRID["--lr"]
        for epsilon in GRID["--epsilon"]
        for activation in GRID["--activation"]
    )  # fmt: skip


SECTIONS = {"sweep": sweeps}
