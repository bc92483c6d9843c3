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
from helpers import COMMAND, count_samples, load_recipe, require_tool, start, wait_for, write_jsonl

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
    """The [Service] section of the systemd unit."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(replace_paths(load_recipe("service"), tmp_path))
    return unit["Service"]


@pytest.fixture
def starter_and_fifo(service, tmp_path):
    """A function that starts the unit as systemd does, and the FIFO that is its stdin."""
    os.mkfifo(tmp_path / "samples")
    samples = os.open(tmp_path / "samples", os.O_RDWR)
    program, subcommand, *options = shlex.split(service["ExecStart"])
    yield (
        lambda: start(
            *options, command=[program], subcommand=subcommand, cwd=tmp_path, stdin=samples
        ),
        samples,
    )
    os.close(samples)


def wait_for_exit(process):
    """Wait for a process to end, and return its exit code."""
    process.communicate(timeout=60)
    return process.returncode


def parse_exit_codes(text):
    return {int(code) for code in text.split()}


def has_predictions(folder, n):
    """Return a condition that holds when n predictions have been written."""
    predictions = folder / "predictions.jsonl"
    return lambda: predictions.exists() and len(predictions.read_text().splitlines()) == n


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_service_saves_and_exits_successfully_on_a_signal(
    service, starter_and_fifo, tmp_path, number
):
    run, samples = starter_and_fifo
    os.write(samples, write_jsonl(tmp_path / "rows", ROWS[:100]).read_bytes())
    process = run()
    wait_for(has_predictions(tmp_path, 100), process)
    process.send_signal(number)

    assert wait_for_exit(process) in parse_exit_codes(service["SuccessExitStatus"])
    assert count_samples(tmp_path / "events.npz") == 100


def test_restarted_service_learns_rows_written_after_a_kill(service, starter_and_fifo, tmp_path):
    run, samples = starter_and_fifo
    process = run()
    process.kill()
    returncode_of_kill = wait_for_exit(process)
    os.write(samples, write_jsonl(tmp_path / "rows", ROWS).read_bytes())
    process = run()
    wait_for(has_predictions(tmp_path, 300), process)
    process.terminate()

    assert service["Restart"] == "on-failure"
    assert 128 - returncode_of_kill not in parse_exit_codes(service["SuccessExitStatus"] + " 1 2")
    assert wait_for_exit(process) in parse_exit_codes(service["SuccessExitStatus"])
    assert count_samples(tmp_path / "events.npz") == 300


def test_service_with_a_damaged_model_is_not_restarted(service, starter_and_fifo, tmp_path):
    (tmp_path / "events.npz").write_text("damaged")
    process = starter_and_fifo[0]()

    assert wait_for_exit(process) in parse_exit_codes(service["RestartPreventExitStatus"])


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


def test_cron_learns_rotated_logs_under_a_lock(tmp_path):
    write_jsonl(tmp_path / "requests.jsonl.1", ROWS[:100])
    write_jsonl(tmp_path / "requests.jsonl", ROWS[100:150])
    run_cron("rotated", tmp_path)

    assert count_samples(tmp_path / "log.npz") == 150


def test_cron_learns_new_rows_and_sends_no_mail(tmp_path):
    for n in (100, 300):
        write_jsonl(tmp_path / "events.jsonl", ROWS[:n])
        run_cron("cron", tmp_path)

        assert n == count_samples(tmp_path / "events.npz")


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


@pytest.mark.parametrize("mode", ["create", "copytruncate"])
def test_rows_of_rotated_logs_are_learned_once(mode, tmp_path):
    require_tool("logrotate")
    log, config = tmp_path / "requests.jsonl", tmp_path / "logrotate.conf"
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    text = replace_paths(load_recipe("logrotate"), tmp_path).replace(
        "su root root", f"su {user} {group}"
    )
    config.write_text(text.replace("    create\n", f"    {mode}\n"))
    command = f"{COMMAND} learn {log}* -m {tmp_path}/m.npz -p {tmp_path}/p.jsonl --keep id -q"
    n_rows = 0
    for _ in range(4):
        for n, next_command in (
            (200, command),
            (7, f"logrotate --force --state {tmp_path}/state {config}"),
            (50, command),
        ):
            with log.open("a") as file:
                for i in range(n_rows, n_rows + n):
                    file.write(json.dumps({"id": i, **ROWS[i % 35]}) + "\n")
            n_rows += n
            subprocess.run(["sh", "-c", next_command], check=True)
    predictions = (tmp_path / "p.jsonl").read_text().splitlines()

    assert sorted(json.loads(line)["id"] for line in predictions) == list(range(n_rows))
    assert len(list(tmp_path.glob("requests.jsonl.*.gz"))) == 3


def test_rotated_predictions_are_complete(tmp_path):
    require_tool("logrotate")
    config = tmp_path / "logrotate.conf"
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    text = replace_paths(load_recipe("logrotate-predictions"), tmp_path)
    config.write_text(text.replace("su root root", f"su {user} {group}"))
    learn = [COMMAND, "learn", "events.jsonl", "-m", "events.npz", "-p", "predictions.jsonl", "-q"]
    for n in (100, 150, 150, 300):
        write_jsonl(tmp_path / "events.jsonl", ROWS[:n])
        subprocess.run(learn, cwd=tmp_path, check=True)
        if n != 100:
            rotate = ["logrotate", "--force", "--state", tmp_path / "state", config]
            subprocess.run(rotate, check=True)
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
