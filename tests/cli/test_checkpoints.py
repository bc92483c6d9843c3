"""Models on disk: learn -m, predict, evaluate and inspect."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from helpers import count_samples, start, wait_for


def test_stopped_run_stays_stopped_until_epsilon_is_lowered(mnist_files, model, run):
    options = ["--random", "--stop", "--lr", 0.05, "--quiet", "-m", model]
    run("learn", mnist_files["train"], *options, "--epsilon", 0.01, check=0)
    stopped = count_samples(model)
    run("learn", mnist_files["train"], *options, check=0)
    assert stopped == count_samples(model)

    run("learn", mnist_files["train"], *options, "--epsilon", 0.001, check=0)
    assert stopped < count_samples(model)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("is_emptied", [False, True])
def test_rotated_predictions_file_is_started_again(
    form, is_emptied, daily_files, model, run, tmp_path
):
    path, rotated = tmp_path / f"p.{form}", tmp_path / "rotated"
    run("learn", daily_files[0], "-m", model, "-p", path, "--quiet", check=0)
    shutil.copy(path, rotated)
    path.write_bytes(b"") if is_emptied else path.unlink()
    result = run("learn", daily_files[1], "-m", model, "-p", path, "--quiet", check=0)
    run("learn", daily_files[2], "-m", model, "-p", path, "--quiet", check=0)
    lines = path.read_text().splitlines()
    rows = [
        json.loads(x)["row"] if form == "jsonl" else int(x.split(",")[0]) for x in lines[-3000:]
    ]

    warning = f"{path} has been removed or emptied since the last save: starting a new file"
    assert result.stderr == f"warning: {warning}\n"
    assert rows == list(range(1501, 4501))
    assert len(lines) == 3000 + (form == "csv")  # with a header


def test_save_every_applies_to_a_second_source(daily_files, model, run):
    run("learn", daily_files[0], "-m", model, "--quiet", check=0)
    # Nobody reads the predictions, so the run blocks after fewer rows than the first file has.
    with start(
        daily_files[1],
        "-m",
        model,
        "--quiet",
        "--save-every",
        "100",
        "-p",
        "-",
        stdout=subprocess.PIPE,
    ) as process:
        wait_for(lambda: count_samples(model) > 1500, process)
        process.kill()

    assert count_samples(model) < 3000
