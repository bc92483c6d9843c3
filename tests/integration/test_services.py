"""The recipes of docs/services.md, with test folders instead of a server's."""

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
from helpers import COMMAND, recipe, require_tool, samples_in, start, wait_for, write_lines

ROWS = [
    {"a": i % 7 - 3, "b": i % 5 - 2, "label": "up" if i % 7 > 3 else "down"} for i in range(300)
]


def here(text, folder):
    """Return a recipe with the test's folders."""
    return text.replace("/opt/perceptron/bin/stream-perceptron", str(COMMAND)).replace(
        "/var/lib/perceptron", str(folder)
    )


@pytest.fixture
def service(tmp_path):
    """The section [Service] of the unit."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(here(recipe("service"), tmp_path))
    return unit["Service"]


@pytest.fixture
def run_unit(service, tmp_path):
    """Start the unit's command as systemd does: stdin is a FIFO, open for writing too."""
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


def end_of(process):
    """Wait for a process to end, and return its exit code."""
    process.communicate(timeout=60)
    return process.returncode


def codes(text):
    return {int(code) for code in text.split()}


def learned(folder, n):
    predictions = folder / "predictions.jsonl"
    return lambda: predictions.exists() and len(predictions.read_text().splitlines()) == n


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_service_that_is_asked_to_end_saves_and_ends_in_order(
    service, run_unit, tmp_path, number
):
    run, samples = run_unit
    os.write(samples, write_lines(tmp_path / "rows", ROWS[:100]).read_bytes())
    process = run()
    wait_for(learned(tmp_path, 100), process)
    process.send_signal(number)

    assert end_of(process) in codes(service["SuccessExitStatus"])
    assert samples_in(tmp_path / "events.npz") == 100


def test_a_killed_service_starts_again_and_finds_what_was_written_meanwhile(
    service, run_unit, tmp_path
):
    run, samples = run_unit
    process = run()
    process.kill()
    killed = end_of(process)
    os.write(samples, write_lines(tmp_path / "rows", ROWS).read_bytes())
    process = run()
    wait_for(learned(tmp_path, 300), process)
    process.terminate()

    assert service["Restart"] == "on-failure"
    assert 128 - killed not in codes(service["SuccessExitStatus"] + " 1 2")
    assert end_of(process) in codes(service["SuccessExitStatus"])
    assert samples_in(tmp_path / "events.npz") == 300


def test_a_service_is_not_restarted_where_somebody_must_look(service, run_unit, tmp_path):
    (tmp_path / "events.npz").write_text("damaged")
    process = run_unit[0]()

    assert end_of(process) in codes(service["RestartPreventExitStatus"])


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    for name in ("socket", "service"):
        text = here(recipe(name), tmp_path)
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
    command = here(recipe(name).splitlines()[-1].split(maxsplit=5)[5], folder)
    result = subprocess.run(
        ["/bin/sh", "-c", command], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_cron_learns_what_is_new_and_sends_no_mail(tmp_path):
    for n in (100, 300):
        write_lines(tmp_path / "events.jsonl", ROWS[:n])
        run_cron("cron", tmp_path)

        assert n == samples_in(tmp_path / "events.npz")


def test_cron_learns_a_growing_folder_and_old_files_are_deleted(tmp_path):
    require_tool("jq")
    old, new = tmp_path / "events-1.jsonl", tmp_path / "events-2.jsonl"
    write_lines(old, ROWS[:100])
    write_lines(new, ROWS[100:200])
    os.utime(old, (0, 0))
    run_cron("daily", tmp_path)
    environment = {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", recipe("retention")],
        cwd=tmp_path, env=environment, check=True,
    )  # fmt: skip
    assert sorted(tmp_path.glob("*.jsonl")) == [new]
    write_lines(new, ROWS[100:300])
    run_cron("daily", tmp_path)

    assert samples_in(tmp_path / "events.npz") == 300


@pytest.mark.parametrize("mode", ["create", "copytruncate"])
def test_logs_that_logrotate_rotates_are_learned_once(mode, tmp_path):
    require_tool("logrotate")
    log, config = tmp_path / "requests.jsonl", tmp_path / "logrotate.conf"
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    text = here(recipe("logrotate"), tmp_path).replace("su root root", f"su {user} {group}")
    config.write_text(text.replace("    create\n", f"    {mode}\n"))
    command = f"{COMMAND} learn {log}* -m {tmp_path}/m.npz -p {tmp_path}/p.jsonl --keep id -q"
    n_rows = 0
    for _ in range(4):
        for n, then in (
            (200, command),
            (7, f"logrotate --force --state {tmp_path}/state {config}"),
            (50, command),
        ):
            with log.open("a") as file:
                for i in range(n_rows, n_rows + n):
                    file.write(json.dumps({"id": i, **ROWS[i % 35]}) + "\n")
            n_rows += n
            subprocess.run(["sh", "-c", then], check=True)
    predictions = (tmp_path / "p.jsonl").read_text().splitlines()

    assert sorted(json.loads(line)["id"] for line in predictions) == list(range(n_rows))
    assert len(list(tmp_path.glob("requests.jsonl.*.gz"))) == 3


def test_predictions_that_logrotate_rotates_are_complete(tmp_path):
    require_tool("logrotate")
    config = tmp_path / "logrotate.conf"
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    text = here(recipe("logrotate-predictions"), tmp_path)
    config.write_text(text.replace("su root root", f"su {user} {group}"))
    learn = [COMMAND, "learn", "events.jsonl", "-m", "events.npz", "-p", "predictions.jsonl", "-q"]
    for n in (100, 150, 150, 300):
        write_lines(tmp_path / "events.jsonl", ROWS[:n])
        subprocess.run(learn, cwd=tmp_path, check=True)
        if n != 100:
            rotate = ["logrotate", "--force", "--state", tmp_path / "state", config]
            subprocess.run(rotate, check=True)
    rotated = sorted(tmp_path.glob("predictions.jsonl*.gz"))
    texts = [gzip.decompress(path.read_bytes()).decode() for path in rotated]
    rows = [json.loads(line)["row"] for text in texts for line in text.splitlines()]

    assert len(rotated) == 3
    assert sorted(rows) == list(range(1, 301))


def test_a_container_runs_the_program_itself_with_what_docker_run_adds(tmp_path):
    lines = recipe("image").splitlines()
    (entry,) = [json.loads(line.partition(" ")[2]) for line in lines if "ENTRYPOINT" in line]
    write_lines(tmp_path / "events.jsonl", ROWS)
    learned = []
    for line in recipe("container").splitlines():
        run, _, arguments = line.partition(" perceptron learn ")
        if run.startswith("docker run"):
            subprocess.run(
                ["bash", "-c", f"exec {shlex.join(entry)} learn {arguments}"],
                cwd=tmp_path, env={"PATH": f"{COMMAND.parent}:/usr/bin:/bin"}, check=True,
                capture_output=True,
            )  # fmt: skip
            learned.append(samples_in(tmp_path / "events.npz"))

    assert learned == [300, 600]
