"""Models on disk: learn -m, predict, evaluate and inspect."""

from __future__ import annotations

import subprocess

from helpers import count_samples, start, wait_for


def test_stopped_run_stays_stopped_until_epsilon_is_lowered(mnist_files, model, run):
    options = ["--stop", "--lr", 0.05, "--quiet", "-m", model]
    run("learn", mnist_files["train"], *options, "--epsilon", 0.01, check=0)
    stopped = count_samples(model)
    run("learn", mnist_files["train"], *options, check=0)
    assert stopped == count_samples(model)

    run("learn", mnist_files["train"], *options, "--epsilon", 0.001, check=0)
    assert stopped < count_samples(model)


def test_save_every_applies_to_a_second_source(daily_files, model, run):
    run("learn", daily_files[0], "-m", model, "--quiet", check=0)
    # Nobody reads the predictions, so the run blocks after fewer rows than the first file has.
    options = ["-m", model, "--quiet", "--save-every", "100", "-p", "-"]
    with start(daily_files[1], *options, stdout=subprocess.PIPE) as process:
        wait_for(lambda: count_samples(model) > 1500, process)
        process.kill()

    assert count_samples(model) < 3000
