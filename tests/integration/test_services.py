"""The recipes of docs/services.md, with the folders of a server replaced."""

from __future__ import annotations

import configparser
import getpass
import grp
import gzip
import json
import os
import re
import shlex
import signal
import subprocess

import pytest
from helpers import (
    COMMAND,
    count_samples,
    encode_jsonl,
    load_recipe,
    require_tool,
    start,
    wait_for,
    write_jsonl,
)

ROWS = [
    {"a": i % 7 - 3, "b": i % 5 - 2, "label": "up" if i % 7 > 3 else "down"} for i in range(300)
]


def replace_paths(text, folder):
    """Return a recipe with its program and folder replaced by those of the test."""
    return text.replace("/opt/perceptron/bin/stream-perceptron", str(COMMAND)).replace(
        "/var/lib/perceptron", str(folder)
    )


@pytest.fixture
def service(tmp_path):
    """The settings of the systemd unit, and the FIFO that is its stdin."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(replace_paths(load_recipe("service"), tmp_path))
    os.mkfifo(tmp_path / "samples")
    with (tmp_path / "samples").open("r+b", 0) as samples:
        yield unit["Service"], samples


def start_service(settings, samples, folder):
    """Start the command as systemd does."""
    program, subcommand, *options = shlex.split(settings["ExecStart"])
    return start(*options, command=[program], subcommand=subcommand, cwd=folder, stdin=samples)


def get_exit_code(process):
    process.communicate(timeout=60)
    return str(process.returncode)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_service_saves_and_exits_successfully_on_a_signal(service, tmp_path, number):
    """It has been killed before, and is restarted by then."""
    settings, samples = service
    killed = start_service(settings, samples, tmp_path)
    killed.kill()
    assert get_exit_code(killed) not in settings["SuccessExitStatus"].split()
    samples.write(encode_jsonl(ROWS))
    process = start_service(settings, samples, tmp_path)
    predictions = tmp_path / "predictions.jsonl"
    wait_for(lambda: predictions.exists() and predictions.read_text().count("\n") == 300, process)
    process.send_signal(number)

    assert settings["Restart"] == "on-failure"
    assert get_exit_code(process) in settings["SuccessExitStatus"].split()
    assert count_samples(tmp_path / "events.npz") == 300


def test_service_with_a_damaged_model_is_not_restarted(service, tmp_path):
    (tmp_path / "events.npz").write_text("damaged")
    code = get_exit_code(start_service(*service, tmp_path))

    assert code in service[0]["RestartPreventExitStatus"].split()


def run_cron(name, folder):
    """Run the command of a crontab as cron does."""
    command = replace_paths(load_recipe(name).splitlines()[-1].split(maxsplit=5)[5], folder)
    result = subprocess.run(
        ["/bin/sh", "-c", command], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_cron_learns_new_rows_and_sends_no_mail(tmp_path):
    for n in (100, 300):
        write_jsonl(tmp_path / "events.jsonl", ROWS[:n])
        write_jsonl(tmp_path / "requests.jsonl", ROWS[:n])
        write_jsonl(tmp_path / "requests.jsonl.1", ROWS[250:])
        run_cron("cron", tmp_path)
        run_cron("rotated", tmp_path)

        assert count_samples(tmp_path / "events.npz") == n
        assert count_samples(tmp_path / "log.npz") == n + 50


def test_cron_learns_a_growing_folder_whose_old_files_are_deleted(tmp_path):
    require_tool("jq")
    old = write_jsonl(tmp_path / "events-1.jsonl", ROWS[:100])
    new = write_jsonl(tmp_path / "events-2.jsonl", ROWS[100:200])
    os.utime(old, (0, 0))
    run_cron("daily", tmp_path)
    command = ["bash", "-euo", "pipefail", "-c", load_recipe("retention")]
    environment = {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert sorted(tmp_path.glob("*.jsonl")) == [new]
    write_jsonl(new, ROWS[100:300])
    run_cron("daily", tmp_path)

    assert count_samples(tmp_path / "events.npz") == 300


@pytest.fixture
def rotate(tmp_path):
    """A function that runs logrotate with the configuration in a recipe."""
    require_tool("logrotate")

    def run_logrotate(name):
        config = tmp_path / "logrotate.conf"
        owner = f"su {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
        text = replace_paths(load_recipe(name), tmp_path)
        config.write_text(text.replace("su root root", owner))
        command = ["logrotate", "--force", "--state", tmp_path / "state", config]
        subprocess.run(command, check=True)

    return run_logrotate


def test_rows_of_rotated_logs_are_learned_and_predicted_once(rotate, tmp_path):
    """The file of predictions is rotated, too."""
    log, model, n_rows = tmp_path / "requests.jsonl", tmp_path / "m.npz", 0
    learn = f"{COMMAND} learn {log}* -m {model} -p {tmp_path}/predictions.jsonl --keep id -q"
    for n, is_rotated in [(200, False), (7, True), (50, False)] * 4:
        with log.open("ab") as file:
            file.write(encode_jsonl({"id": i, **ROWS[i % 35]} for i in range(n_rows, n_rows + n)))
        n_rows += n
        if is_rotated:
            rotate("logrotate")
        else:
            subprocess.run(["sh", "-c", learn], check=True)
            rotate("logrotate-predictions")
    rotated = list(tmp_path.glob("predictions.jsonl*.gz"))
    lines = b"".join(gzip.decompress(path.read_bytes()) for path in rotated).splitlines()

    assert len(rotated) == 8
    assert sorted(json.loads(line)["id"] for line in lines) == list(range(n_rows))
    assert len(list(tmp_path.glob("requests.jsonl.*.gz"))) == 3


def test_container_passes_docker_run_arguments_to_its_entrypoint(tmp_path):
    lines = load_recipe("image").splitlines()
    (entry,) = [json.loads(line.partition(" ")[2]) for line in lines if "ENTRYPOINT" in line]
    write_jsonl(tmp_path / "events.jsonl", ROWS)
    runs = re.findall(r"(?m)^docker run .* perceptron (learn .*)", load_recipe("container"))
    for arguments in runs:
        command = f"PATH={COMMAND.parent}:$PATH; exec {shlex.join(entry)} {arguments}"
        subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True)

    assert len(runs) == 2
    assert count_samples(tmp_path / "events.npz") == 600
