"""Formats from a pipe, and the time until an answer."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from functools import partial
from pathlib import Path

from common import LEARN, SCALE, VW, in_turns, ratio, seconds_of, spread, table, texts

RUNS = 5
ANSWERS = 500


def pipes() -> str:
    """Whole process, 60,000 digits from `cat`: each format, and VW's; its CSV only predicts."""
    files = texts()
    commands = {name: [*LEARN, *([] if name == "arrow" else SCALE)] for name in files}
    commands["vw text"] = [*VW, "--oaa", "10", "-d", "/dev/stdin"]
    commands["vw csv"] = [*commands["vw text"], "--csv"]
    commands["vw json"] = [*commands["vw text"], "--json"]
    times = in_turns(
        RUNS, {name: partial(seconds_of, commands[name], files[name]) for name in files}
    )
    rows = []
    for name, taken in times.items():
        seconds = statistics.median(taken)
        rows.append(
            [
                name,
                spread(taken),
                f"{1e6 * seconds / 60_000:.1f}",
                f"{files[name].stat().st_size / 1e6 / seconds:,.0f}",
                *(f"{ratio(taken, times[f'vw {kind}']):.2f}" for kind in ("text", "csv", "json")),
            ]
        )
    header = ["from a pipe", "seconds", "us a row", "MB/s"]
    return table([*header, "to vw text", "to vw csv", "to vw json"], rows)


def latency() -> str:
    """From the moment a sample is sent to its answer, one after another, 784 features."""
    files = texts()
    rows = []
    for name in ("csv", "json, list", "json, flat", "libsvm"):
        taken = [1e3 * seconds for seconds in answer_times(files[name], name == "csv")]
        late = sorted(taken)[int(0.95 * len(taken))]
        rows.append([name, f"{statistics.median(taken):.2f}", f"{late:.2f}"])
    return table(["one sample at a time", "median, ms", "95 %, ms"], rows)


def answer_times(path: Path, has_header: bool) -> list[float]:
    """Return the time of each answer after the first few, in seconds."""
    with path.open("rb") as file:
        lines = [next(file) for _ in range(ANSWERS)]
    taken = []
    with subprocess.Popen(
        [*LEARN, *SCALE, "-p", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if has_header:
            process.stdin.write(lines.pop(0))
        for line in lines:
            before = time.perf_counter()
            process.stdin.write(line)
            process.stdin.flush()
            assert "prediction" in json.loads(process.stdout.readline())
            taken.append(time.perf_counter() - before)
        process.stdin.close()
    return taken[20:]


SECTIONS = {"pipes": pipes, "latency": latency}
