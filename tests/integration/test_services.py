"""The recipes of docs/services.md, with the folders of a server replaced."""

from __future__ import annotations

import configparser
import getpass
import grp
import gzip
import json
import os
import shlex
import shutil
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


class Service:
    """The systemd unit, and the FIFO that is its stdin."""

    def __init__(self, folder):
        self.folder = folder
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str
        unit.read_string(replace_paths(load_recipe("service"), folder))
        self.settings = unit["Service"]
        os.mkfifo(folder / "samples")
        self.samples = os.open(folder / "samples", os.O_RDWR)

    def start(self):
        """Start the command as systemd does."""
        program, subcommand, *options = shlex.split(self.settings["ExecStart"])
        return start(
            *options, command=[program], subcommand=subcommand, cwd=self.folder,
            stdin=self.samples,
        )  # fmt: skip

    def write(self, rows):
        os.write(self.samples, encode_jsonl(rows))

    def has_predicted(self, n):
        predictions = self.folder / "predictions.jsonl"
        return predictions.exists() and len(predictions.read_text().splitlines()) == n

    def lists_exit_code(self, setting, process):
        """Whether a setting lists the exit code with which the process ends."""
        process.communicate(timeout=60)
        return str(process.returncode) in self.settings[setting].split()


@pytest.fixture
def service(tmp_path):
    unit = Service(tmp_path)
    yield unit
    os.close(unit.samples)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_service_saves_and_exits_successfully_on_a_signal(service, tmp_path, number):
    """It has been killed before, and is restarted by then."""
    killed = service.start()
    killed.kill()
    assert not service.lists_exit_code("SuccessExitStatus", killed)
    service.write(ROWS)
    process = service.start()
    wait_for(lambda: service.has_predicted(300), process)
    process.send_signal(number)

    assert service.settings["Restart"] == "on-failure"
    assert service.lists_exit_code("SuccessExitStatus", process)
    assert count_samples(tmp_path / "events.npz") == 300


def test_service_with_a_damaged_model_is_not_restarted(service, tmp_path):
    (tmp_path / "events.npz").write_text("damaged")

    assert service.lists_exit_code("RestartPreventExitStatus", service.start())


def test_systemd_accepts_the_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    for name in ("socket", "service"):
        text = replace_paths(load_recipe(name), tmp_path)
        (tmp_path / f"perceptron.{name}").write_text(
            text.replace("User=perceptron", f"User={getpass.getuser()}")
        )
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "./perceptron.socket", "./perceptron.service"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert "perceptron" not in result.stderr


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
    old, new = tmp_path / "events-1.jsonl", tmp_path / "events-2.jsonl"
    write_jsonl(old, ROWS[:100])
    write_jsonl(new, ROWS[100:200])
    os.utime(old, (0, 0))
    run_cron("daily", tmp_path)
    environment = {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", load_recipe("retention")],
        cwd=tmp_path, env=environment, check=True,
    )  # fmt: skip
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


def test_rows_of_rotated_logs_are_learned_once(rotate, tmp_path):
    log, n_rows = tmp_path / "requests.jsonl", 0
    learn = f"{COMMAND} learn {log}* -m {tmp_path}/m.npz -p {tmp_path}/p.jsonl --keep id -q"
    for n, is_rotated in [(200, False), (7, True), (50, False)] * 4:
        with log.open("a") as file:
            for i in range(n_rows, n_rows + n):
                file.write(json.dumps({"id": i, **ROWS[i % 35]}) + "\n")
        n_rows += n
        if is_rotated:
            rotate("logrotate")
        else:
            subprocess.run(["sh", "-c", learn], check=True)
    predictions = (tmp_path / "p.jsonl").read_text().splitlines()

    assert sorted(json.loads(line)["id"] for line in predictions) == list(range(n_rows))
    assert len(list(tmp_path.glob("requests.jsonl.*.gz"))) == 3


def test_rotated_predictions_are_complete(rotate, tmp_path):
    learn = [COMMAND, "learn", "events.jsonl", "-m", "events.npz", "-p", "predictions.jsonl", "-q"]
    for n in (100, 150, 150, 300):
        write_jsonl(tmp_path / "events.jsonl", ROWS[:n])
        subprocess.run(learn, cwd=tmp_path, check=True)
        if n != 100:
            rotate("logrotate-predictions")
    rotated = sorted(tmp_path.glob("predictions.jsonl*.gz"))
    texts = [gzip.decompress(path.read_bytes()).decode() for path in rotated]
    rows = [json.loads(line)["row"] for text in texts for line in text.splitlines()]

    assert len(rotated) == 3
    assert sorted(rows) == list(range(1, 301))


def test_container_passes_docker_run_arguments_to_its_entrypoint(tmp_path):
    lines = load_recipe("image").splitlines()
    (entry,) = [json.loads(line.partition(" ")[2]) for line in lines if "ENTRYPOINT" in line]
    write_jsonl(tmp_path / "events.jsonl", ROWS)
    n_samples = []
    for line in load_recipe("container").splitlines():
        run, _, arguments = line.partition(" perceptron learn ")
        if run.startswith("docker run"):
            subprocess.run(
                ["bash", "-c", f"exec {shlex.join(entry)} learn {arguments}"],
                cwd=tmp_path, env={"PATH": f"{COMMAND.parent}:/usr/bin:/bin"}, check=True,
                capture_output=True,
            )  # fmt: skip
            n_samples.append(count_samples(tmp_path / "events.npz"))

    assert n_samples == [300, 600]
