"""Learning in shards on a real Ray cluster on this machine."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import (
    CASE_FACTOR,
    COMMAND,
    find_free_port,
    get_seeds,
    is_listening,
    kill_process_group,
    read_contents,
    read_members,
    start_ray_node,
    wait_for,
)

from stream_perceptron import LiveModel


class Cluster:
    """A cluster on this machine, with its own token."""

    def __init__(self, processors=2):
        port = find_free_port()
        self.address = f"127.0.0.1:{port}"
        self.env = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        options = [f"--num-cpus={processors}", f"--port={port}", "--include-dashboard=false"]
        self.process = start_ray_node(self.env, "--head", *options)
        wait_for(lambda: is_listening(port), self.process)

    def count_processors(self):
        """Return the number of processors."""
        script = (
            "import ray, sys; ray.init(sys.argv[1], logging_level='ERROR')\n"
            "print(int(ray.cluster_resources().get('CPU', 0)))"
        )
        command = [sys.executable, "-c", script, self.address]
        return int(subprocess.run(
            command, env=self.env, check=True, capture_output=True, text=True
        ).stdout)  # fmt: skip

    def build_command(self, *sources, shards, rows, model, options=()):
        """Return the command that learns in shards on this cluster."""
        return [
            str(COMMAND), "distribute", *map(str, sources), "-m", str(model), "--quiet",
            "--address", self.address, "--shards", str(shards), "--round-rows", str(rows),
            *map(str, options),
        ]  # fmt: skip

    def run(self, *sources, check=0, **options):
        result = subprocess.run(
            self.build_command(*sources, **options),
            env=self.env, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert result.returncode == check, result.stderr
        return result

    def start(self, *sources, **options):
        return subprocess.Popen(
            self.build_command(*sources, **options),
            env=self.env,
            stderr=subprocess.PIPE,
            text=True,
        )

    def find_processes(self, name):
        """Return the IDs of the cluster's processes whose command has this name."""
        parents, found = {}, []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                status = (folder / "stat").read_text()
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue  # the process has ended
            pid = int(folder.name)
            parents[pid] = int(status.rpartition(")")[2].split()[1])
            if line.partition(b"\0")[0].endswith(name):
                found.append(pid)
        return [pid for pid in found if self.process.pid in iterate_ancestors(pid, parents)]


def iterate_ancestors(pid, parents):
    while pid in parents:
        pid = parents[pid]
        yield pid


@pytest.fixture(scope="session")
def cluster():
    cluster = Cluster()
    yield cluster
    kill_process_group(cluster.process)  # an orderly shutdown would take half a minute


def read_round(path):
    """Return the number of rounds in a checkpoint, -1 without one."""
    return LiveModel.load(path).history.entries[-1].end if path.exists() else -1


def wait_for_round(path, after, process):
    """Wait until a checkpoint is beyond a round, and return its round."""
    wait_for(lambda: read_round(path) > after, process)
    return read_round(path)


OPTIONS = [
    ["--categorical", "zip"], ["--ignore", "a"], ["--no-standardize"], ["--weight", "w"],
    ["--class-weight", "balanced"], ["--passes", "2"], ["--epsilon", "0.02"], ["--lr", "0.5"],
    ["--activation", "tanh"], ["--classes", "y,x"], ["--missing", "b"], ["--seed", "7"],
    ["--max-weights", "3000"],
]  # fmt: skip


def draw_table(rng, n):
    """Return a random table of numbers, strings, dates, texts and nulls."""
    return pa.Table.from_pylist(
        [
            {
                "a": rng.choice([0.5, 7.25, -3.5, None]),
                "zip": rng.choice([1, 2, 30]),
                "s": rng.choice(["a", "b", "c d", "1999-12-31", f"a text of the words w{i % 300}"]),
                "w": rng.choice([1.0, 2.0]),
                "label": rng.choice(["x", "y", None]),
            }
            for i in range(n)
        ]
    )


@pytest.mark.parametrize("seed", get_seeds(3 * CASE_FACTOR))
def test_one_shard_gives_the_same_bits_as_a_plain_run(seed, cluster, run, tmp_path):
    """In any pair of options."""
    rng, plain, sharded = random.Random(seed), tmp_path / "plain.npz", tmp_path / "sharded.npz"
    table, parts = draw_table(rng, 3000), [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    pq.write_table(table[:1900], parts[0], row_group_size=800)
    pq.write_table(table[1900:], parts[1])
    options = [part for option in rng.sample(OPTIONS, 2) for part in option]
    run("learn", *parts, *options, "-m", plain, check=0)
    cluster.run(*parts, shards=1, rows=777, model=sharded, options=options)
    plain_members, sharded_members = read_members(plain), read_members(sharded)
    plain_meta = json.loads(plain_members.pop("meta.json"))
    sharded_meta = json.loads(sharded_members.pop("meta.json"))

    assert plain_members == sharded_members
    assert plain_meta["model"] == sharded_meta["model"]
    assert plain_meta["state"]["progress"] == sharded_meta["state"]["progress"]
    assert plain_meta["state"]["schema"] == sharded_meta["state"]["schema"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", get_seeds(2 * CASE_FACTOR))
def test_learn_and_distribute_alternate(seed, cluster, run, tmp_path):
    """In any order, they learn each row of a growing set of files once; `verify` confirms it."""
    rng, model, files, n_rows = random.Random(seed), tmp_path / "model.npz", [], 0

    def add_file():
        nonlocal n_rows
        size = rng.choice([40, 900])
        n_rows += size
        files.append(tmp_path / f"{len(files)}.parquet")
        pq.write_table(draw_table(rng, size), files[-1], row_group_size=rng.choice([7, 500]))

    for step in ["learn", *rng.choices(["learn", "distribute"], k=5)]:
        add_file()
        sources, rows = rng.sample(files, len(files)), rng.choice([11, 300])
        if step == "learn":
            run("learn", *sources, "-m", model, check=0)
        else:
            cluster.run(*sources, shards=rng.randint(1, 3), rows=rows, model=model)

        assert LiveModel.load(model).progress.rows == n_rows
    assert "follows from these sources" in run("verify", model, *files, check=0).stdout


@pytest.mark.parametrize("seed", get_seeds(2 * CASE_FACTOR))
def test_offsets_learned_before_and_in_rounds_are_not_learned_again(seed, cluster, run, tmp_path):
    """`learn` and `distribute` alternate in any order; `learn` is given some offsets again."""
    rng, model, end = random.Random(seed), tmp_path / "model.npz", 0
    for number, step in enumerate(["learn", *rng.choices(["learn", "distribute"], k=4)]):
        start = rng.randint(0, end) if step == "learn" else end
        end = max(end, start) + rng.randint(1, 200)
        path, offsets = tmp_path / f"{number}.parquet", np.arange(start, end)
        labels = np.where(offsets % 3, "u", "v")
        pq.write_table(pa.table({"o": offsets, "a": offsets % 7, "label": labels}), path)
        if step == "learn":
            run("learn", path, "--position", "o", "-m", model, "-q", check=0)
        else:
            cluster.run(path, shards=rng.randint(1, 3), rows=rng.choice([11, 300]), model=model)

        assert LiveModel.load(model).progress.samples == end, step
    run("verify", model, *sorted(tmp_path.glob("*.parquet")), check=0)


def test_what_a_run_does_is_reported(cluster, mnist_sample, tmp_path):
    command = cluster.build_command(mnist_sample, shards=5, rows=1000, model=tmp_path / "m.npz")
    command.remove("--quiet")
    stderr = subprocess.run(
        command, env=cluster.env, capture_output=True, text=True, check=True
    ).stderr

    assert "shards learn at 0.5:0.5 instead of 0.5:0.1" in stderr
    assert "scaled by 1/255: pixel0 .. pixel783" in stderr
    assert "learn is faster: these rows take one process about " in stderr


def test_row_groups_of_any_size_are_learned_completely(cluster, run, tmp_path):
    """There may be fewer groups than shards, empty groups, and shards without rows."""
    schema = pa.schema([("a", pa.float64()), ("label", pa.string())])
    path, model = tmp_path / "few.parquet", tmp_path / "model.npz"
    with pq.ParquetWriter(path, schema) as writer:
        for size in (3, 0, 2):
            rows = {"a": [float(i) for i in range(size)], "label": ["x", "y", "z"][:size]}
            writer.write_table(pa.table(rows, schema), row_group_size=max(size, 1))
    cluster.run(path, shards=8, rows=1, model=model)
    live = LiveModel.load(model)

    assert live.progress.samples == live.progress.rows == 5
    assert sorted(live.model.classes_) == ["x", "y", "z"]
    with pq.ParquetWriter(path, schema):
        pass
    cluster.run(path, shards=2, rows=1, model=tmp_path / "none.npz")
    assert not (tmp_path / "none.npz").exists()


def test_rows_before_the_first_sample_are_read_once(cluster, run, tmp_path):
    path, model = tmp_path / "late.parquet", tmp_path / "model.npz"
    labels = [None] * 7 + ["x", "y"] * 10
    values = [1.0, float("inf"), 2.0] * 9
    pq.write_table(pa.table({"a": values, "label": labels}), path, row_group_size=5)
    options = ["--skip-bad", "--passes", 2]
    cluster.run(path, shards=3, rows=2, model=model, options=options)
    live = LiveModel.load(model)
    first, rounds = live.history.entries

    # Row 8 has the first label but no number, so row 9 is the first sample.
    assert (first.unit, first.start, first.end, first.rejected) == ("rows", 0, 9, 3)
    assert (rounds.unit, rounds.shards.first_rows) == ("rounds", 9)
    assert (live.progress.rows, live.progress.skipped) == (54, 18)
    assert "follows from these sources" in run("verify", model, path, check=0).stdout


def test_rejected_rows_are_reported(cluster, tmp_path):
    good, bad, model = (tmp_path / name for name in ("good.parquet", "bad.parquet", "m.npz"))
    labels = ["x", "y"] * 10
    pq.write_table(pa.table({"a": [1.0, 2.0] * 10, "label": labels}), good)
    pq.write_table(pa.table({"a": [1.0, 2.0] * 9 + [1.0, float("inf")], "label": labels}), bad)
    error = cluster.run(good, bad, shards=2, rows=5, model=model, check=1).stderr

    assert "bad.parquet: row 20: feature 'a' is not finite" in error
    assert LiveModel.load(model).progress.samples == 30  # as after the third round
    cluster.run(good, bad, shards=2, rows=5, model=model, options=["--skip-bad"])
    progress = LiveModel.load(model).progress
    assert (progress.samples, progress.skipped) == (39, 1)


def test_divergence_is_reported_and_the_last_round_is_kept(cluster, tmp_path):
    path, model = tmp_path / "wild.parquet", tmp_path / "model.npz"
    values = [1.0] * 30 + [1e200] * 10
    pq.write_table(pa.table({"a": values, "label": ["x", "y"] * 20}), path)
    options = ["--activation", "identity", "--lr", "0.1", "--no-standardize"]
    result = cluster.run(path, shards=2, rows=5, model=model, options=options, check=1)

    assert "wild.parquet: row 31: diverged" in result.stderr
    assert LiveModel.load(model).progress.samples == 20


def test_sharded_run_resumes_only_with_the_same_shards_and_files(
    cluster, run, mnist_sample, tmp_path
):
    """Another number of shards would distribute the rows differently."""
    path = tmp_path / "model.npz"
    process = cluster.start(mnist_sample, shards=4, rows=5, model=path, options=["--passes", 9])
    wait_for_round(path, 2, process)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    rounds = read_round(path)

    assert (process.returncode, errors) == (143, "")
    assert 3 <= rounds < 250
    error = cluster.run(mnist_sample, shards=3, rows=5, model=path, check=1).stderr
    reason = "a run that learns it in shards is unfinished: repeat its command to finish it"
    assert reason in error
    error = run("learn", mnist_sample, "-m", path, check=1).stderr
    assert f"{reason}, or start over with --overwrite" in error
    assert rounds == read_round(path)


def test_without_an_address_the_processors_of_this_machine_learn(run, mnist_sample, tmp_path):
    path = tmp_path / "model.npz"
    result = run("distribute", mnist_sample, "-m", path, "--json", check=0)

    assert json.loads(result.stdout)["samples"] == LiveModel.load(path).progress.samples == 5000


@pytest.mark.parametrize("address_format", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_unreachable_cluster_is_reported_in_one_line(address_format, run, mnist_sample, tmp_path):
    address = address_format.format(find_free_port())
    path = tmp_path / "m.npz"
    result = run("distribute", mnist_sample, "-m", path, "--address", address, check=1)

    assert result.stderr == f"Error: cannot use the Ray cluster at {address}: Connection refused\n"


@pytest.mark.parametrize(
    "env_changes",
    [
        {"RAY_AUTH_TOKEN": "0" * 64},
        {"RAY_AUTH_TOKEN": None, "HOME": "/nonexistent"},
        {"RAY_AUTH_TOKEN": None, "RAY_AUTH_MODE": None},
    ],
    ids=["wrong token", "no token", "no token and mode"],
)
def test_invalid_token_is_reported_in_one_line(env_changes, cluster, mnist_sample, tmp_path):
    environment = cluster.env | env_changes
    environment = {name: value for name, value in environment.items() if value is not None}
    result = subprocess.run(
        cluster.build_command(mnist_sample, shards=2, rows=100, model=tmp_path / "m.npz"),
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert f"cannot use the Ray cluster at {cluster.address}: " in result.stderr


def test_cluster_of_another_version_is_reported(cluster, mnist_sample, tmp_path):
    def exchange_metadata(metadata):
        """Return the metadata of the cluster, and replace it unless the new one is empty."""
        script = (
            "import sys; from ray._raylet import GcsClient\n"
            "client = GcsClient(address=sys.argv[1])\n"
            "key, namespace = b'CLUSTER_METADATA', b'cluster'\n"
            "print(client.internal_kv_get(key, namespace).decode())\n"
            "if sys.argv[2]:\n"
            "    client.internal_kv_put(key, sys.argv[2].encode(), True, namespace)"
        )
        command = [sys.executable, "-c", script, cluster.address, metadata]
        return subprocess.run(
            command, env=cluster.env, check=True, capture_output=True, text=True
        ).stdout.strip()

    before = exchange_metadata("")
    versions = {"ray_version": "2.1.0", "python_version": "3.9.0"}
    exchange_metadata(json.dumps(json.loads(before) | versions))
    try:
        path = tmp_path / "m.npz"
        error = cluster.run(mnist_sample, shards=2, rows=100, model=path, check=1).stderr
    finally:
        exchange_metadata(before)

    assert error.count("\n") == 1
    assert error.startswith(f"Error: cannot use the Ray cluster at {cluster.address}: Version")
    assert "Ray: 2.1.0 Python: 3.9.0" in error


@pytest.mark.nightly
@pytest.mark.parametrize(("shards", "rows", "max_loss"), [(8, 125, 0.0), (16, 62, 0.012)])
def test_shards_learn_mnist_as_well_as_one_stream(
    shards, rows, max_loss, cluster, run, mnist_files, tmp_path, report_figure
):
    """The numbers of shards and rows are those of the table in docs/distributed.md."""
    plain, sharded = tmp_path / "plain.npz", tmp_path / "sharded.npz"
    run("learn", mnist_files["train"], "--classes", "0-9", "-m", plain, check=0)
    cluster.run(mnist_files["train"], shards=shards, rows=rows, model=sharded)
    accuracy = {}
    for path in (plain, sharded):
        figures = json.loads(
            run("evaluate", mnist_files["test"], "-m", path, "--json", check=0).stdout
        )
        accuracy[path.stem] = figures["accuracy"]

    report_figure(
        f"one stream {accuracy['plain']:.2%}, {shards} shards {accuracy['sharded']:.2%} on the "
        "test digits"
    )
    assert accuracy["plain"] - accuracy["sharded"] <= max_loss
    # verify trains the model again on one machine, without Ray.
    assert run("verify", sharded, mnist_files["train"], check=0).stdout.endswith(
        "every bit of the 10 x 784 weights follows from these sources\n"
    )


THIRTY_ROUNDS = {"shards": 8, "rows": 250}  # of 60,000 digits


@pytest.fixture(scope="module")
def undisturbed_contents(cluster, mnist_files, tmp_path_factory):
    """The contents of the checkpoint after 30 rounds without a fault."""
    path = tmp_path_factory.mktemp("rounds") / "model.npz"
    cluster.run(mnist_files["train"], model=path, **THIRTY_ROUNDS)
    return read_contents(path)


@pytest.mark.nightly
def test_killed_workers_lose_no_sample(
    cluster, mnist_files, undisturbed_contents, tmp_path, report_figure
):
    path = tmp_path / "model.npz"
    process = cluster.start(mnist_files["train"], model=path, **THIRTY_ROUNDS)
    rng, kills, rounds = random.Random(0), 0, -1
    while kills < 3 * CASE_FACTOR and rounds < 30:
        rounds = wait_for_round(path, rounds, process)
        time.sleep(rng.uniform(0, 0.02))
        for pid in cluster.find_processes(b"ray::learn_row_ranges")[:1]:
            os.kill(pid, signal.SIGKILL)
            kills += 1
    errors = process.communicate(timeout=200)[1]

    report_figure(f"{kills} workers killed in 60,000 samples, the model is the same")
    assert (process.returncode, errors) == (0, "")
    assert read_contents(path) == undisturbed_contents
    assert LiveModel.load(path).progress.samples == 60_000
    assert kills > 0


@pytest.mark.nightly
def test_workers_that_are_killed_again_and_again_end_the_run(cluster, mnist_files, tmp_path):
    path, digits = tmp_path / "model.npz", tmp_path / "digits.parquet"
    # The shard is too large to end between two kills, even on a busy machine.
    pq.write_table(pa.concat_tables([pq.read_table(mnist_files["train"])] * 10), digits)
    process = cluster.start(digits, model=path, shards=1, rows=600_000)
    while process.poll() is None:
        for pid in cluster.find_processes(b"ray::learn_row_ranges"):
            os.kill(pid, signal.SIGKILL)
    (error,) = process.communicate()[1].splitlines()

    assert process.returncode == 1
    assert error.startswith("Error: Ray could not run a shard: ")
    assert not path.exists()


@pytest.mark.slow
def test_killed_driver_resumes_after_its_last_round(
    cluster, mnist_files, undisturbed_contents, tmp_path, report_figure
):
    path = tmp_path / "model.npz"
    rng, kills, rounds = random.Random(1), 0, -1
    while True:
        process = cluster.start(mnist_files["train"], model=path, **THIRTY_ROUNDS)
        if kills < 3 * CASE_FACTOR and rounds < 30:
            wait_for_round(path, rounds, process)
            time.sleep(rng.uniform(0, 0.05))
            process.kill()
            kills += 1
        errors = process.communicate(timeout=200)[1]
        assert process.returncode in (0, -9), errors
        if process.returncode == 0:
            break
        rounds = read_round(path)

    report_figure(f"the driver killed {kills} times, the model is the same")
    assert read_contents(path) == undisturbed_contents
    assert LiveModel.load(path).progress.events == []
    first, rounds = LiveModel.load(path).history.entries
    assert (first.unit, first.start, first.end) == ("rows", 0, 1)
    assert (rounds.unit, rounds.start, rounds.end, rounds.shards.first_rows) == ("rounds", 0, 30, 1)


@pytest.mark.nightly
def test_lost_cluster_ends_the_run_with_one_line(mnist_sample, tmp_path):
    """Ray ends the process that uses it, with or without an error in Python."""
    cluster, path = Cluster(processors=1), tmp_path / "model.npz"
    process = cluster.start(mnist_sample, model=path, shards=2, rows=5, options=["--passes", "9"])
    try:
        wait_for_round(path, 1, process)
        for pid in cluster.find_processes(b"/raylet"):
            os.kill(pid, signal.SIGKILL)
        errors = process.communicate(timeout=200)[1].splitlines()
    finally:
        kill_process_group(cluster.process)

    assert process.returncode == 1
    assert len([line for line in errors if line.startswith("Error: Ray ")]) == 1
    assert LiveModel.load(path).progress.samples > 0


@pytest.mark.nightly
def test_killed_node_loses_no_sample(mnist_files, tmp_path):
    """One of two nodes on this host is killed."""
    reference, path = tmp_path / "reference.npz", tmp_path / "model.npz"
    cluster = Cluster(processors=1)
    node = None
    try:
        options = {"shards": 4, "rows": 1500}
        cluster.run(mnist_files["train"], model=reference, **options)
        node = start_ray_node(cluster.env, "--num-cpus=1", f"--address={cluster.address}")
        wait_for(lambda: cluster.count_processors() == 2, node)
        process = cluster.start(mnist_files["train"], model=path, **options)
        wait_for_round(path, 3, process)
        os.killpg(node.pid, signal.SIGKILL)
        errors = process.communicate(timeout=200)[1]
        if process.returncode == 1:  # the run itself was connected to the killed node
            assert errors.startswith("Error: Ray ")
            process = cluster.start(mnist_files["train"], model=path, **options)
            errors = process.communicate(timeout=200)[1]
    finally:
        if node is not None:
            kill_process_group(node)
        kill_process_group(cluster.process)

    assert (process.returncode, errors) == (0, "")
    assert read_contents(path) == read_contents(reference)
