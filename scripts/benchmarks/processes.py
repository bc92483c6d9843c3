"""Whole processes compared with Vowpal Wabbit: files, pipes, answers, saves and start-up."""

from __future__ import annotations

import itertools
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import forms
import numpy as np
from common import (
    COMMAND,
    LEARN,
    LEARN_DIGITS,
    VW,
    Column,
    Measurements,
    Task,
    accuracy,
    compare,
    find_json,
    median,
    ratio_of,
    ratio_to,
    run_process,
    section,
    table,
    time_call,
)
from forms import BENCH, mnist_file
from tables import list_string_tables

N_ANSWERS = 500
SCALE = ["--scale", "1/255"]
VW_STDIN = [*VW, "--quiet", "-d", "/dev/stdin"]
Piped = dict[str, tuple[list[Any], list[Path]]]  # by name, a command and the files piped to it
VW_BINARY = [*VW_STDIN, "--loss_function", "logistic"]
SKLEARN = """
import sys
import numpy as np, pyarrow.parquet as pq
from sklearn.linear_model import SGDClassifier
model, hits, n = SGDClassifier(loss="log_loss", random_state=0), 0, 0
for turn in range(int(sys.argv[2])):
    for batch in pq.ParquetFile(sys.argv[1]).iter_batches(1000):
        pixels = np.frombuffer(batch["pixels"].buffers()[1], np.uint8, 784 * len(batch),
                               batch["pixels"].offset * 784)
        X, y = pixels.reshape(-1, 784) / 255, np.asarray(batch["label"])
        if n:
            hits += (model.predict(X) == y).sum()
        model.partial_fit(X, y, classes=range(10))
        n += len(y)
print(hits / n)
"""


LOOP = """
import json, sys
{setup}
for line in sys.stdin.buffer:
    x = json.loads(line)
    y = x.pop("label")
    prediction = model.predict_one(x)
    model.learn_one(x, y)
    print(json.dumps({{"prediction": prediction}}), flush=True)
"""
OURS = "from stream_perceptron import SGDPerceptron; model = SGDPerceptron(seed=0)"
RIVER = "from river import linear_model, multiclass; model = "
DIGIT_LOOPS = {
    "Python loop, SGDPerceptron": LOOP.format(setup=OURS),
    "Python loop, River's OneVsRest(LogisticRegression)": LOOP.format(
        setup=f"{RIVER}multiclass.OneVsRestClassifier(linear_model.LogisticRegression())"
    ),
}
SMALL_LOOPS = {
    "Python loop, SGDPerceptron": LOOP.format(setup=OURS),
    "Python loop, River's LogisticRegression": LOOP.format(
        setup=f"{RIVER}linear_model.LogisticRegression()"
    ).replace('x.pop("label")', 'x.pop("label") == "up"'),
    "Python loop without a model": """
import sys
for line in sys.stdin.buffer:
    print('{"prediction": null}', flush=True)
""",
}


def parse_accuracy(output: str) -> float:
    return float(find_json(output)["accuracy"])


def parse_vw_accuracy(output: str) -> float:
    match = re.search(r"average loss = ([0-9.]+)", output)
    return 1 - float(match[1]) if match else float("nan")


run_ours, run_vw = (
    partial(run_process, find=parse_accuracy),
    partial(run_process, find=parse_vw_accuracy),
)


@section("processes")
def processes() -> str:
    """Whole processes: start-up, reading, prediction, learning. Ours reads Parquet and JSON."""
    text, cache, vw = (
        forms.prepare_digits()["vw text"],
        BENCH / "digits.vw.cache",
        [*VW, "--oaa", "10"],
    )
    cached = [*vw, "-d", text, "--cache_file", cache]
    if not cache.exists():
        run_process([*cached, "-k"])
    cached.append("--holdout_off")
    tasks: dict[Any, Task] = {}
    for passes, n in ((1, "60,000 digits"), (10, "600,000 digits")):
        again = ["--passes", passes]
        ours = [*LEARN_DIGITS, "--json", mnist_file(), *again]
        tasks |= {
            (n, "ours"): partial(run_ours, ours),
            (n, "vw, cache"): partial(run_vw, [*cached, *again]),
            (n, "vw, cache, --sgd"): partial(run_vw, [*cached, *again, "--sgd"]),
        }
        if passes == 1:
            sklearn = [sys.executable, "-c", SKLEARN, mnist_file(), passes]
            tasks[n, "vw, text"] = partial(run_vw, [*vw, "-d", text])
            tasks[n, "scikit-learn"] = partial(run_process, sklearn, find=float)
    for title, pair in list_string_tables(["tweets"]):
        tasks |= {
            (title, "ours"): partial(run_ours, [*pair.ours, "--json"]),
            (title, "vw, text"): partial(run_vw, pair.vw),
        }

    def accuracy_of_first_pass(taken: Measurements) -> str:
        # In later passes, the samples are not new.
        samples, program = taken.name
        return accuracy(taken.all_tasks[samples.replace("600,", "60,"), program])

    header = ["samples", "program", "seconds", "ours / this", "progressive accuracy"]
    return compare(header, 5, tasks, median(), ratio_of("ours"), accuracy_of_first_pass)


def compare_pipes(title: str, n: int, commands: Piped, *others: str) -> str:
    """Return a table of the time that each command takes to read n rows from `cat`."""
    sizes = {
        name: sum(path.stat().st_size for path in paths) / 1e6
        for name, (_, paths) in commands.items()
    }
    columns: list[Column] = [
        median(),
        lambda taken: f"{1e6 * taken.median / n:.1f}",
        lambda taken: f"{sizes[taken.name] / taken.median:.0f}" if sizes[taken.name] else "",
    ]
    header = [title, "seconds", "us per row", "MB/s", *(f"ratio to {other}" for other in others)]
    tasks = {
        name: partial(run_process, command, *paths) for name, (command, paths) in commands.items()
    }
    return compare(header, 5, tasks, *columns, *map(ratio_to, others))


def pair_commands(files: dict[str, Path], ours: list[Any], **others: list[Any]) -> Piped:
    """Return a command for each file: ours, or a peer's for a file in the peer's form."""
    return {
        name: (others.get(name.replace(" ", "_"), ours), [path]) for name, path in files.items()
    }


@section("pipes")
def pipes() -> str:
    """Whole process, 60,000 digits from `cat`: our formats and VW's."""
    files, vw = forms.prepare_digits(), [*VW_STDIN, "--oaa", "10"]
    body = files.pop("csv body")
    others = {"vw_text": vw, "vw_csv": [*vw, "--csv"], "vw_json": [*vw, "--json"]}
    once = pair_commands(files, [*LEARN_DIGITS, *SCALE], **others)
    for name in once:
        if name == "arrow" or "decimals" in name:
            once[name] = LEARN_DIGITS, [files[name]]
    repeated = ("json, list", "libsvm", "vw text")
    ten_times = {name: (once[name][0], once[name][1] * 10) for name in repeated}
    ten_times["csv"] = once["csv"][0], [files["csv"], *[body] * 9]
    once["parquet, a file"] = [*LEARN_DIGITS, mnist_file()], []
    tables = [
        compare_pipes("60,000 digits", 60_000, once, "vw text", "vw csv", "vw json"),
        compare_pipes("600,000 digits", 600_000, ten_times, "vw text"),
    ]
    return "\n".join(tables)


@section("bags")
def bag_pipes() -> str:
    """Whole process, 200,000 bags of words from `cat`; VW reads its own format."""
    commands = pair_commands(
        forms.prepare_bags(), [*LEARN, "--lr", "0.1"], vw_text=[*VW_BINARY, "-b", "20"]
    )
    return compare_pipes("200,000 bags of words", 200_000, commands, "vw text")


@section("long numbers")
def long_number_pipes() -> str:
    """Whole process, 200,000 rows of 20 numbers with 17 digits, as pandas writes them."""
    commands = pair_commands(
        forms.prepare_long_numbers(), [*LEARN, "--standardize"], vw_text=VW_BINARY
    )
    return compare_pipes("200,000 rows of 17 digits", 200_000, commands, "vw text")


def measure_answers(
    command: Sequence[Any], lines: Sequence[bytes], header: bytes = b""
) -> list[float]:
    """Return the microseconds between sending each line and receiving its answer.

    The sender and the command have a processor each, if there are two.
    """
    processors = os.sched_getaffinity(0)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        os.sched_setaffinity(run.pid, {max(processors)})
        os.sched_setaffinity(0, {min(processors)})
        assert run.stdin is not None
        assert run.stdout is not None
        send, receive = run.stdin, run.stdout
        send.write(header)

        def answer(line: bytes) -> None:
            send.write(line)
            send.flush()
            assert "prediction" in json.loads(receive.readline())

        taken = [1e6 * time_call(answer, line)[0] for line in lines]
        send.close()
    os.sched_setaffinity(0, processors)
    return taken


class LiveRun(NamedTuple):
    """A process that answers each line with a prediction."""

    sample: str
    process: str
    command: list[Any]
    lines: list[bytes]
    header: bytes = b""


def draw_samples(n: int) -> list[dict[str, Any]]:
    """Return n samples of two classes with five numbers each."""
    names, rng = [f"x{i}" for i in range(5)], np.random.default_rng(0)
    rows = rng.normal(size=(n, 5)).round(4).tolist()
    return [
        {"label": "up" if sum(x) > 0 else "down", **dict(zip(names, x, strict=True))} for x in rows
    ]


def list_live_runs() -> list[LiveRun]:
    runs, files, lines = [], forms.prepare_digits(), []
    for name in ("csv", "json, list", "libsvm", "json, flat"):
        with files[name].open("rb") as file:
            header = next(file) if name == "csv" else b""
            lines = list(itertools.islice(file, N_ANSWERS))
        command = [*LEARN_DIGITS, *SCALE, "-p", "-"]
        runs.append(LiveRun("784 pixels", f"ours, {name}", command, lines, header))
    for name, code in DIGIT_LOOPS.items():
        runs.append(LiveRun("784 pixels", name, [sys.executable, "-c", code], lines))
    samples, command = draw_samples(N_ANSWERS), [*LEARN, "-p", "-"]
    lines = [",".join(map(str, sample.values())).encode() + b"\n" for sample in samples]
    header = ",".join(samples[0]).encode() + b"\n"
    runs.append(LiveRun("5 numbers", "ours, csv", command, lines, header))
    saved = [*command, "-m", BENCH / "live.npz", "--overwrite"]
    runs.append(LiveRun("5 numbers", "ours, csv, saved", saved, lines, header))
    lines = [json.dumps(sample).encode() + b"\n" for sample in samples]
    runs.append(LiveRun("5 numbers", "ours, json", command, lines))
    runs.append(LiveRun("5 numbers", "ours, json, saved", saved, lines))
    for name, code in SMALL_LOOPS.items():
        runs.append(LiveRun("5 numbers", name, [sys.executable, "-c", code], lines))
    return runs


@section("latency")
def latency() -> str:
    """Time from sending a sample to receiving its answer, sample by sample, in five runs each."""
    runs = list_live_runs()
    taken = [
        [sorted(measure_answers(run.command, run.lines, run.header)[20:]) for run in runs]
        for _ in range(5)
    ]
    rows = []
    for run, times in zip(runs, zip(*taken, strict=True), strict=True):
        quantiles = [
            statistics.median(row[int(share * len(row))] for row in times) for share in (0.5, 0.95)
        ]
        rows.append([run.sample, run.process, *(f"{number:.0f}" for number in quantiles)])
    return table(["one sample at a time", "process", "median, us", "95 %, us"], rows)


@section("start_up")
def start_up() -> str:
    """Start-up: help, and one row predicted or learned, compared with VW and library imports."""
    BENCH.mkdir(parents=True, exist_ok=True)
    model, row, bag = BENCH / "start.npz", BENCH / "row.json", BENCH / "row.libsvm"
    run_process([*LEARN_DIGITS, mnist_file(), "-m", model, "--overwrite"])
    row.write_text("[" + ", ".join(["0"] * 784) + "]\n")
    bag.write_text("1 word:1\n")
    vw_bag = bag.with_suffix(".vw")
    vw_bag.write_text("1 | word\n")
    commands = {
        "--help": [*COMMAND, "--help"],
        "learn --help": [*COMMAND, "learn", "--help"],
        "predict one row of JSON": [*COMMAND, "predict", row, "-m", model],
        "learn one row of Parquet": [*LEARN_DIGITS, mnist_file(), "--limit", "1"],
        "learn one row of LIBSVM": [*LEARN, bag],
        "vw, learn one row": [*VW, "--quiet", vw_bag],
    }
    for library in ("click", "numpy", "pyarrow.parquet"):
        commands[f"python -c 'import {library}'"] = [sys.executable, "-c", f"import {library}"]
    tasks = {name: partial(run_process, command) for name, command in commands.items()}
    return compare(["start", "ms"], 9, tasks, median(".0f", 1e3))
