"""Helpers for the benchmarks: alternating runs, columns of tables, and processes."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
DATA = ROOT / "data"
BENCH = DATA / "bench"
COMMAND = [str(Path(sys.executable).with_name("stream-perceptron"))]
LEARN = [*COMMAND, "learn", "--quiet"]
LEARN_DIGITS = [*LEARN, "--classes", "0-9"]
# VW's package installs no command; VW reads stdin only on request.
VW = [sys.executable, "-m", "vowpalwabbit"]
PACKAGES = ("numpy", "pyarrow", "river", "ray", "scikit-learn", "vowpalwabbit", "capymoa")
SECTIONS: dict[str, Callable[[], str]] = {}

# Let Python cache bytecode, as for an installed package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def section(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Register, under a name, a function that returns a table."""

    def register(function: Callable[[], str]) -> Callable[[], str]:
        SECTIONS[name] = function
        return function

    return register


@dataclass
class Measurements:
    """The figures of one task's runs."""

    name: Any
    figures: list[float]
    all_tasks: dict[Any, Measurements]  # of all tasks, by name
    result: Any = None  # the second value that the last run returned

    @property
    def median(self) -> float:
        return statistics.median(self.figures)

    def ratio_to(self, other: str) -> float:
        """Return the ratio to another task; `other` replaces the last part of a tuple name."""
        key = other if isinstance(self.name, str) else (*self.name[:-1], other)
        return self.median / self.all_tasks[key].median


Task = Callable[[], Any]  # returns a figure, or a figure and another value
Column = Callable[[Measurements], str]


def run_in_turns(runs: int, tasks: dict[Any, Task]) -> dict[Any, Measurements]:
    """Run all tasks in turn, several times, so that slow phases of the machine affect all tasks."""
    measurements: dict[Any, Measurements] = {}
    measurements |= {name: Measurements(name, [], measurements) for name in tasks}
    for _ in range(runs):
        for name, task in tasks.items():
            returned = task()
            figure, measurements[name].result = (
                returned if isinstance(returned, tuple) else (returned, None)
            )
            measurements[name].figures.append(figure)
    return measurements


def compare(header: Sequence[str], runs: int, tasks: dict[Any, Task], *columns: Column) -> str:
    """Measure tasks; return a table with a row for each: the parts of its name, then columns."""
    rows = []
    for name, measurements in run_in_turns(runs, tasks).items():
        parts = [name] if isinstance(name, str) else list(name)
        rows.append([*parts, *(column(measurements) for column in columns)])
    return table(header, rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def median(form: str = ".2f", factor: float = 1.0) -> Column:
    """Return a column with the median, the minimum and the maximum."""

    def format_figures(measurements: Measurements) -> str:
        values = [factor * figure for figure in measurements.figures]
        return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"

    return format_figures


def ratio_to(other: str, form: str = ".2f") -> Column:
    """Return a column with the ratio to another task's time."""
    return lambda measurements: f"{measurements.ratio_to(other):{form}}"


def ratio_of(ours: str) -> Column:
    """Return a column with the ratio of our task's time to that of each task."""
    return lambda measurements: f"{1 / measurements.ratio_to(ours):.2f}"


def accuracy(measurements: Measurements) -> str:
    return f"{measurements.result:.1%}"


def time_call(task: Task, *arguments: Any) -> tuple[float, Any]:
    """Return the duration of a call in seconds, and its result."""
    before = time.perf_counter()
    result = task(*arguments)
    return time.perf_counter() - before, result


def run_process(
    command: Sequence[Any], *sources: Path, find: Callable[[str], Any] | None = None
) -> tuple[float, Any]:
    """Return the seconds that a process takes and, with `find`, the result of `find` on its output.

    The contents of the sources are piped into the process.
    """
    output = subprocess.DEVNULL if find is None else subprocess.PIPE
    run = partial(
        subprocess.run, [*map(str, command)], check=True, text=True, stdout=output, stderr=output
    )
    if not sources:
        seconds, done = time_call(run)
    else:
        before = time.perf_counter()
        with subprocess.Popen(["cat", *sources], stdout=subprocess.PIPE) as cat:
            done = run(stdin=cat.stdout)
            seconds = time.perf_counter() - before
    return seconds, None if find is None else find(done.stdout + done.stderr)


def find_json(output: str) -> dict[str, Any]:
    """Return the first JSON object in the output of a command."""
    parsed: dict[str, Any] = json.loads(next(li for li in output.splitlines() if li[:1] == "{"))
    return parsed


def describe_machine() -> str:
    """Return a description of this machine and its software."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"no {name}")
    return (
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {', '.join(versions)}"
    )
