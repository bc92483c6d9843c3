"""The README's recipes for pipes, run as they stand."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from helpers import COMMAND, ROOT, samples_in, wait_for

from stream_perceptron import LiveModel

README = (ROOT / "README.md").read_text()
SECTION = README.partition("## In a pipe")[2].partition("\n## ")[0]
RECIPES = dict(re.findall(r"\*\*(.*?)\*\*.*?```sh\n(.*?)```", SECTION, re.S))


@pytest.fixture
def folder(tmp_path, sample, monkeypatch):
    """A folder with the digits in all forms that the recipes name."""
    table = pq.read_table(sample).slice(0, 500)
    pixels = [list(row) for row in table["pixels"].to_pylist()]
    labels = table["label"].to_pylist()
    columns = {f"pixel{i}": column for i, column in enumerate(zip(*pixels, strict=True))}
    frame = pa.table({"label": labels} | columns)
    pq.write_table(table, tmp_path / "digits.parquet")
    pa.csv.write_csv(frame, tmp_path / "digits.csv")
    pa.csv.write_csv(frame, tmp_path / "train.csv")
    pa.csv.write_csv(frame.drop_columns("label"), tmp_path / "test.csv")
    subprocess.run(["gzip", "--keep", "digits.csv"], cwd=tmp_path, check=True)
    points = [{"a": i % 7 - 3, "b": i % 5 - 2} for i in range(300)]
    for name, has_label in (("events", True), ("labelled", True), ("unlabelled", False)):
        with (tmp_path / f"{name}.jsonl").open("w") as file:
            for point in points:
                label = {"label": "up" if sum(point.values()) > 0 else "down"}
                file.write(json.dumps(point | (label if has_label else {})) + "\n")
    monkeypatch.setenv("PATH", f"{COMMAND.parent}:{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def start(name, folder):
    return subprocess.Popen(
        ["bash", "-c", RECIPES[name]], cwd=folder, stderr=subprocess.PIPE, text=True
    )


def finish(name, folder):
    process = start(name, folder)
    errors = process.communicate(timeout=120)[1]
    assert 0 == process.returncode, errors


def children_of(process):
    """Return the numbers of the processes that a process has started."""
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    fields = [(int(stat.split()[0]), int(stat.rpartition(")")[2].split()[1])) for stat in stats]
    return [number for number, parent in fields if parent == process.pid]


def test_every_recipe_is_tested():
    assert [
        "Files, packed or not", "A log as it grows", "A FIFO", "Two processes", "A Kafka topic",
        "A Kafka topic by many learners", "A channel of Redis", "A topic of MQTT",
        "Kaggle's digits",
    ] == list(RECIPES)  # fmt: skip


def test_files_packed_or_not(folder):
    finish("Files, packed or not", folder)
    models = [LiveModel.load(folder / f"from-{kind}.npz").model for kind in
              ("csv", "gzip", "parquet")]  # fmt: skip

    assert models[0].weights.tobytes() == models[1].weights.tobytes()
    # Our own files name their classes, so that they are known before the first digit.
    assert sorted(models[0].classes_) == models[2].classes_


def test_a_log_as_it_grows(folder):
    process = start("A log as it grows", folder)
    predictions = folder / "predictions.jsonl"

    def lines():
        return predictions.read_text().splitlines() if predictions.exists() else []

    wait_for(lambda: len(lines()) == 300)
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"a": 3, "b": 2}\n')
    wait_for(lambda: len(lines()) == 301)
    os.kill(min(children_of(process)), signal.SIGTERM)  # the first of the pipeline, tail
    process.communicate(timeout=60)

    assert "up" == json.loads(lines()[-1])["prediction"]
    assert 300 == samples_in(folder / "events.npz")


def test_a_fifo(folder):
    finish("A FIFO", folder)

    assert 500 == samples_in(folder / "fifo.npz")


def test_two_processes(folder, run):
    """The model must be there before it can be followed."""
    run("learn", folder / "labelled.jsonl", "-m", folder / "shared.npz", check=0)
    finish("Two processes", folder)
    answers = (folder / "answers.jsonl").read_text().splitlines()

    assert 300 == len(answers)
    assert {"up", "down"} >= {json.loads(line)["prediction"] for line in answers}


def test_kaggles_digits(folder):
    finish("Kaggle's digits", folder)
    lines = (folder / "submission.csv").read_text().splitlines()
    labels = pq.read_table(folder / "digits.parquet")["label"].to_pylist()
    answers = [line.split(",") for line in lines[1:]]

    assert "ImageId,Label" == lines[0]
    assert [str(i + 1) for i in range(500)] == [answer[0] for answer in answers]
    hits = sum(int(answer[1]) == label for answer, label in zip(answers, labels, strict=True))
    assert hits > 300


BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.S)


def test_every_shell_block_is_a_recipe_or_runs_below():
    others = [block for block in BLOCKS if block not in RECIPES.values()]
    first = [block.split("\n")[0].split(" #")[0].strip() for block in others]

    assert [
        "scripts/demo", "stream-perceptron fetch mnist",
        "stream-perceptron report mnist.npz -o report.html --examples mnist-test.parquet",
        others[3].split("\n")[0], "stream-perceptron learn mnist-train.parquet --limit 3 --trace 3",
        "stream-perceptron verify mnist.npz mnist-train.parquet",
        'eval "$(_STREAM_PERCEPTRON_COMPLETE=bash_source stream-perceptron)"',
        "stream-perceptron fetch mnist",
        "stream-perceptron learn customers.csv --standardize --one-hot plan --ignore customer_id "
        "-m customers.npz",
        "stream-perceptron predict customers.csv -m customers.npz --keep customer_id "
        "--probabilities -p churn.csv",
        "stream-perceptron learn mnist-train.parquet -m eight.npz --shards 8 --ray",
        "stream-perceptron sweep mnist-train.parquet --lr 0.01,0.05,0.5 --epsilon 3e-6,0.01 "
        "--init-range 0.03,1",
    ] == first  # fmt: skip


def test_the_tour_and_the_command_line(digits, tmp_path, monkeypatch, tell):
    """The README's other blocks, one after another in one folder, as a newcomer would."""
    monkeypatch.setenv("PATH", f"{COMMAND.parent}:{os.environ['PATH']}")
    for part, path in digits.items():
        (tmp_path / f"mnist-{part}.parquet").symlink_to(path)
    plans = ("basic,10", "extra,400")
    customers = [f"{i},{plans[i % 2]},{'stays' if i % 2 else 'leaves'}" for i in range(100)]
    (tmp_path / "customers.csv").write_text("\n".join(["customer_id,plan,spent,class", *customers]))
    blocks = [block for block in BLOCKS if block not in RECIPES.values()][1:]
    before = time.monotonic()
    output = []
    for block in blocks:
        result = subprocess.run(
            ["bash", "-e", "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert 0 == result.returncode, result.stderr
        output.append(result.stdout)
    tell(f"the README's tour and command line: {time.monotonic() - before:.1f} s")

    assert 60_000 == samples_in(tmp_path / "mnist.npz") == samples_in(tmp_path / "eight.npz")
    assert (tmp_path / "report.html").stat().st_size > 50_000
    assert "mnist.npz: every bit of 10 x 784 weights follows from these sources\n" in output
    assert '"prediction": "left"' in output[2].splitlines()[-1]
    assert "complete" in subprocess.run(
        [COMMAND], env=os.environ | {"_STREAM_PERCEPTRON_COMPLETE": "bash_source"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert 100 == samples_in(tmp_path / "customers.npz")
    assert (tmp_path / "churn.csv").read_text().splitlines()[1].split(",")[4] == "0"
    swept = re.search(r"```text\n( +lr  epsilon.*?)```", README, re.S)[1]
    assert swept in output
    assert 10_000 == len((tmp_path / "predictions.jsonl").read_text().splitlines())
