"""Helpers of the sections: alternating runs, columns of tables, and processes."""

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

from stream_perceptron.model import kernel

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
DATA = ROOT / "data"
BENCH = DATA / "bench"
OURS = [str(Path(sys.executable).with_name("stream-perceptron"))]
LEARN = [*OURS, "learn", "--quiet"]
DIGITS = [*LEARN, "--classes", "0-9"]
# VW's package installs no command; VW reads stdin only on request.
VW = [sys.executable, "-m", "vowpalwabbit"]
PACKAGES = ("numpy", "pyarrow", "river", "ray", "scikit-learn", "vowpalwabbit", "capymoa")
SECTIONS: dict[str, Callable[[], str]] = {}

# Let Python cache bytecode, as for an installed package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def section(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Register a function that returns a table under a name."""

    def register(function: Callable[[], str]) -> Callable[[], str]:
        if name in SECTIONS:
            raise ValueError(f"two sections are called {name!r}")
        SECTIONS[name] = function
        return function

    return register


@dataclass
class Taken:
    """The figures of one task's runs."""

    name: Any
    figures: list[float]
    all: dict[Any, Taken]
    told: Any = None  # the second value that the last run returned

    @property
    def median(self) -> float:
        return statistics.median(self.figures)

    def to(self, other: str) -> float:
        """Return the ratio to another task; `other` replaces the last part of a name with parts."""
        key = other if isinstance(self.name, str) else (*self.name[:-1], other)
        return self.median / self.all[key].median


Task = Callable[[], Any]  # returns a figure, or a figure and another value
Column = Callable[[Taken], str]


def in_turns(runs: int, tasks: dict[Any, Task]) -> dict[Any, Taken]:
    """Run all tasks in turn, several times, as a machine may be slow for minutes."""
    taken: dict[Any, Taken] = {}
    taken |= {name: Taken(name, [], taken) for name in tasks}
    for _ in range(runs):
        for name, task in tasks.items():
            found = task()
            figure, taken[name].told = found if isinstance(found, tuple) else (found, None)
            taken[name].figures.append(figure)
    return taken


def compare(header: Sequence[str], runs: int, tasks: dict[Any, Task], *columns: Column) -> str:
    """Return a table with a row for each task: the parts of its name, then the columns."""
    rows = []
    for name, taken in in_turns(runs, tasks).items():
        parts = [name] if isinstance(name, str) else list(name)
        rows.append([*parts, *(column(taken) for column in columns)])
    return table(header, rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def spread(figures: Sequence[float], form: str = ".2f", factor: float = 1.0) -> str:
    """Return the median with minimum and maximum."""
    values = [factor * figure for figure in figures]
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def median(form: str = ".2f", factor: float = 1.0) -> Column:
    return lambda taken: spread(taken.figures, form, factor)


def to(other: str, form: str = ".2f") -> Column:
    """Return a column: the ratio to another task's time."""
    return lambda taken: f"{taken.to(other):{form}}"


def ours_to_this(ours: str) -> Column:
    return lambda taken: f"{1 / taken.to(ours):.2f}"


def accuracy(taken: Taken) -> str:
    return f"{taken.told:.1%}"


def timed(task: Task, *arguments: Any) -> tuple[float, Any]:
    """Return the seconds of a call, and its result."""
    before = time.perf_counter()
    found = task(*arguments)
    return time.perf_counter() - before, found


def process(
    command: Sequence[Any], *sources: Path, find: Callable[[str], Any] | None = None
) -> tuple[float, Any]:
    """Return the seconds of a process and, with `find`, the result of `find` on its output.

    Sources are fed to it through a pipe.
    """
    output = subprocess.DEVNULL if find is None else subprocess.PIPE
    run = partial(
        subprocess.run, [*map(str, command)], check=True, text=True, stdout=output, stderr=output
    )
    if not sources:
        seconds, done = timed(run)
    else:
        before = time.perf_counter()
        with subprocess.Popen(["cat", *sources], stdout=subprocess.PIPE) as cat:
            done = run(stdin=cat.stdout)
            seconds = time.perf_counter() - before
    return seconds, None if find is None else find(done.stdout + done.stderr)


def json_in(output: str) -> dict[str, Any]:
    """Return the first JSON object in the output of a command."""
    found: dict[str, Any] = json.loads(next(li for li in output.splitlines() if li[:1] == "{"))
    return found


_ASK = """
import resource, subprocess, sys, time
before = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
seconds = time.perf_counter() - before
print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def with_memory(command: Sequence[Any]) -> tuple[float, float]:
    """Return the seconds and the peak memory in MB of a process."""
    # Measure from a small process, as a child's peak includes its parent's memory.
    asked = [sys.executable, "-c", _ASK, *map(str, command)]
    seconds, peak = subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout.split()
    return float(seconds), float(peak)


def machine() -> str:
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
        f"Python {platform.python_version()}, kernel {kernel.NAME}, {', '.join(versions)}"
    )
