"""Each row of changing files is learned once, and the model equals that of one run."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import shutil
import subprocess
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from helpers import CASE_FACTOR, COMMAND, NIGHTLY, encode_jsonl, kill_after_saves, wait_for
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from splits import Case, Learner, load_results

from stream_perceptron import LiveModel
from stream_perceptron.data.input.bytes import open_bytes
from stream_perceptron.data.input.positions import FileContent
from stream_perceptron_cli.main import main

pytestmark = pytest.mark.usefixtures("signal_handlers")

COLUMNS = ("id", "a", "b", "label", "note")
OPTIONS = ["--seed", "1", "--label", "label"]
KEEP, JOIN = ["--ignore", "id", "--keep", "id"], ["--join", "id"]
KINDS = ("whole", "limit", "signal", "kill")  # of runs
PLANS = 40
MIN_KILLS = 6


class ChangingFiles(RuleBasedStateMachine):
    """Files that grow, are rotated, moved, compressed and replaced while runs learn them.

    Rows are unique. A file that was edited in one of its windows must be an error.
    """

    counts: Counter[str]
    patch: pytest.MonkeyPatch

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.rows: dict[Path, list[dict]] = {}  # the rows of each file
        self.contents: list[Path] = []  # copies of all contents, for `verify`
        self.n_rows = self.n_names = 0

    @initialize(
        form=st.sampled_from(["csv", "csv", "jsonl", "parquet"]),
        size=st.sampled_from([1, 9, 300]),
        passes=st.sampled_from([1, 1, 2]),
        id_options=st.sampled_from([KEEP, KEEP, JOIN]),
    )
    def begin(self, form, size, passes, id_options):
        self.form, self.passes = form, passes if id_options == KEEP else 1
        self.options = [*OPTIONS, *id_options]
        options = [*self.options, "--passes", str(self.passes)]
        (self.folder / "files").mkdir()
        (self.folder / "links").symlink_to("files")
        self.case = Case([], [form], options, "together")
        self.learner = Learner(self.folder / "learner", self.case, self.patch)
        self.add(size)
        self.counts["plans"] += 1

    def teardown(self):
        if hasattr(self, "form"):
            self.finish()
        shutil.rmtree(self.folder)

    # --- Changes

    @rule(n=st.sampled_from([1, 2, 5, 40, 400]))
    def add(self, n):
        self.n_names += 1
        self.write(self.folder / "files" / f"{self.n_names}.{self.form}", self.make_rows(n))

    @rule(
        data=st.data(),
        n=st.sampled_from([1, 3, 50, 300]),
        n_late=st.sampled_from([0, 0, 0, 1, 2, 5]),
    )
    @precondition(lambda self: self.rows and self.form != "parquet" and self.passes == 1)
    def append(self, data, n, n_late):
        """Append rows; the last bytes, in which the note ends, perhaps come after a run."""
        path = self.choose(data)
        content, rows = self.read(path), self.make_rows(n)
        if content and not content.endswith(b"\n"):
            content += b"\n"
        content += self.encode(rows, with_header=not content)
        self.rewrite(path, content[: len(content) - n_late])
        self.rows[path] += rows
        if n_late > 1:
            self.learn("partial row", self.n_rows)
            self.rewrite(path, content)

    @rule(data=st.data())
    @precondition(lambda self: self.rows)
    def rename(self, data):
        self.n_names += 1
        self.move(self.choose(data), self.folder / "files" / f"moved{self.n_names}.{self.form}")

    @rule(data=st.data(), n=st.sampled_from([0, 2, 300]), is_copy=st.booleans())
    @precondition(lambda self: self.rows)
    def rotate(self, data, n, is_copy):
        """Rename a file to NAME.1, or copy and truncate it, and begin a new one."""
        path = self.choose(data)
        for i in (3, 2, 1):
            older = path.with_name(f"{path.name}.{i}")
            if older in self.rows:
                self.move(older, path.with_name(f"{path.name}.{i + 1}"))
        if is_copy:
            shutil.copyfile(path, path.with_name(f"{path.name}.1"))
            self.rows[path.with_name(f"{path.name}.1")] = self.rows.pop(path)
        else:
            self.move(path, path.with_name(f"{path.name}.1"))
        self.write(path, self.make_rows(n))

    @rule(data=st.data())
    @precondition(lambda self: len(self.rows) > 1)
    def remove(self, data):
        path = self.choose(data)
        path.unlink()
        del self.rows[path]

    @rule(data=st.data(), n=st.sampled_from([0, 1, 60, 500]))
    @precondition(lambda self: self.rows)
    def replace(self, data, n):
        self.write(self.choose(data), self.make_rows(n))

    @rule(data=st.data())
    @precondition(lambda self: self.rows and self.form != "parquet")
    def compress(self, data):
        path = self.choose(data)
        content = self.read(path)
        path.unlink()
        self.rows[path.with_name(f"{path.name}.gz")] = self.rows.pop(path)
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content))

    @rule(data=st.data())
    @precondition(lambda self: self.form != "parquet" and self.learner.model.exists())
    def edit_one_window(self, data):
        """Change a byte in one of the windows of a learned file, which is an error; undo it."""
        newest = {
            Path(file.position.name): file.position
            for file in LiveModel.load(self.learner.model).history.files
            if file.position.offset > 1024
        }
        paths = [path for path in self.rows if path in newest and matches(path, [newest[path]])]
        if not paths:
            return
        path = data.draw(st.sampled_from(paths))
        position, content = newest[path], bytearray(self.read(path))
        start, end = position.header_size, position.header_size + position.offset
        n_first = min(4096, position.offset // 2)
        windows = range(start, start + n_first), range(max(end - 4096, start + n_first), end)
        place = data.draw(st.sampled_from(data.draw(st.sampled_from(windows))))
        if len(content) < end or content[place : place + 1] not in b"0123456789":
            return
        saved, before = self.learner.model.read_bytes(), path.read_bytes()
        content[place] ^= 1  # another digit
        self.rewrite(path, content)
        self.learner.run([path])
        path.write_bytes(before)
        assert "it has changed since" in self.learner.error, (self.learner.error, place, position)
        assert self.learner.model.read_bytes() == saved
        self.counts["edits"] += 1

    # --- Runs

    @rule(
        kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=4), seed=st.integers(0, 10**6)
    )
    @precondition(lambda self: self.rows)
    def learn_several_times(self, kinds, seed):
        for number, kind in enumerate(kinds):
            self.learn(kind, seed + number)

    def learn(self, kind, seed):
        """Learn some files in any order, by any names."""
        rng = random.Random(seed)
        paths = rng.sample(list(self.rows), rng.randint(1, len(self.rows)))
        paths = [self.folder / rng.choice(["files", "links"]) / path.name for path in paths]
        every = ["--save-every", str(rng.randrange(1, 50))]
        if kind == "limit":
            self.learner.run(paths, *every, "--limit", str(rng.randrange(1, 500)))
        elif kind == "signal":
            self.learner.run(paths, *every, n_calls=int(10 ** rng.uniform(3, 4)))
        elif kind == "kill":
            self.learner.crash(rng, lambda *args, **how: self.learner.run(paths, *args, **how))
        else:
            self.learner.run(paths, *every)
        self.counts[kind] += 1
        self.keep_contents()
        self.require_no_error()

    def finish(self):
        """Learn all files, and compare the model with one that learns the same rows in one run."""
        self.learner.run(list(self.rows))
        self.keep_contents()
        self.require_no_error()
        before = self.learner.model.exists() and self.learner.model.read_bytes()
        self.learner.run(list(self.rows))
        assert before == (self.learner.model.exists() and self.learner.model.read_bytes())
        ids = read_ids(self.learner)
        assert self.passes > 1 or len(ids) == len(set(ids)), "a row was learned twice"
        present = {row["id"] for rows in self.rows.values() for row in rows}
        assert present <= set(ids), "a row was not learned"
        if not (ids and self.learner.model.exists()):
            return  # no file had rows, or a run was killed before its first save
        if self.passes == 1:
            self.compare_with_one_run(ids)
        self.verify()
        self.counts["rows"] += len(ids)

    def compare_with_one_run(self, ids):
        rows = {row["id"]: row for row in self.all_rows}
        whole = self.folder / f"whole.{self.form}"
        whole.write_bytes(self.encode([rows[i] for i in ids], with_header=True))
        case = Case([whole], [self.form], self.options, "together")
        other = Learner(self.folder / "other", case, self.patch)
        other.run([whole])
        results, others = load_results(self.learner), load_results(other)
        for key in results.keys() - {"history"}:
            assert results[key] == others[key], key

    def require_no_error(self, learner=None):
        learner = learner or self.learner
        has_no_rows = "it has no rows" in learner.error or "no usable row" in learner.error
        assert not learner.error or has_no_rows, (learner.error, learner.commands[-1])

    def run_command(self, *args):
        result = CliRunner().invoke(main, list(map(str, args)))
        assert result.exit_code == 0, (args, result.output)

    def verify(self):
        entries = LiveModel.load(self.learner.model).history.entries
        positions = [position for entry in entries for position in entry.files]
        used = [path for path in self.contents if matches(path, positions)]
        self.run_command("verify", self.learner.model, *used)

    # --- Files

    all_rows: list[dict]

    def make_rows(self, n):
        rng = random.Random(self.n_rows)
        rows = [
            {"id": self.n_rows + i, "a": rng.choice([0, 1, -2]), "b": round(rng.gauss(0, 1), 3),
             "label": rng.choice(["x", "y", "z", None]), "note": f"see\n{rng.choice('pq')}"}
            for i in range(n)
        ]  # fmt: skip
        self.n_rows += n
        self.all_rows = [*getattr(self, "all_rows", []), *rows]
        return rows

    def choose(self, data):
        return data.draw(st.sampled_from(sorted(self.rows)))

    def read(self, path):
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content

    def rewrite(self, path, content):
        is_compressed = path.exists() and path.read_bytes().startswith(b"\x1f\x8b")
        with path.open("r+b" if path.exists() else "wb") as file:  # in place
            file.truncate()
            file.write(gzip.compress(content) if is_compressed else content)

    def write(self, path, rows):
        self.rewrite(path, self.encode(rows, with_header=True))
        self.rows[path] = list(rows)

    def move(self, path, name):
        path.rename(name)
        self.rows[name] = self.rows.pop(path)

    def encode(self, rows, with_header):
        if self.form == "jsonl":
            return encode_jsonl(rows)
        if self.form == "parquet":
            types = (pa.int64(), pa.int64(), pa.float64(), pa.string(), pa.string())
            schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows, schema), sink, row_group_size=7)
            return sink.getvalue()
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        if with_header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()

    def keep_contents(self):
        """Keep a copy of each file, as `verify` needs every content that was learned."""
        for path in self.rows:
            copy = self.folder / f"content{len(self.contents)}.{self.form}"
            copy.write_bytes(self.read(path))
            self.contents.append(copy)


def matches(path, positions):
    """Whether a file has the content that one of the positions stands for."""
    return any(map(FileContent(open_bytes(str(path))).matches, positions))


def read_ids(learner):
    """Return the IDs in a learner's predictions, in order."""
    path = learner.predictions
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(json.loads(line)["id"]) for line in lines]


def test_each_row_of_changing_files_is_learned_once(monkeypatch, report_figure):
    ChangingFiles.counts, ChangingFiles.patch = Counter(), monkeypatch
    run_state_machine_as_test(
        ChangingFiles,
        settings=settings(
            max_examples=PLANS * CASE_FACTOR,
            stateful_step_count=25,
            deadline=None,
            derandomize=NIGHTLY is None,
            suppress_health_check=list(HealthCheck),
        ),
    )

    counts = ChangingFiles.counts
    report_figure(", ".join(f"{counts[name]:,} {name}" for name in sorted(counts)))
    assert min(counts[kind] for kind in (*KINDS, "partial row")) > 0


def write_logs(folder, is_stopped):
    """Append rows to three logs, and rotate them; return the number of rows, which have IDs."""
    rng, n_rows, paths = random.Random(0), 0, [folder / f"{name}.jsonl" for name in "abc"]
    while not is_stopped.wait(0.002):
        path, n = rng.choice(paths), rng.randrange(1, 40)
        if path.exists() and rng.random() < 0.01:
            path.rename(f"{path}.{n_rows}")
        ids = range(n_rows, n_rows + n)
        with path.open("ab") as file:
            file.write(encode_jsonl({"id": i, "a": i % 7 - 3, "label": "xy"[i % 2]} for i in ids))
        n_rows += n
    return n_rows


@pytest.mark.slow
def test_rows_of_growing_files_are_predicted_once_despite_kills(tmp_path, report_figure):
    """Each row has exactly one prediction, though files are rotated and runs are killed."""
    folder, model, predictions = tmp_path / "logs", tmp_path / "m.npz", tmp_path / "p.jsonl"
    folder.mkdir()
    rng, kills, is_stopped = random.Random(0), 0, threading.Event()
    options = ["-m", model, "-p", predictions, "--keep", "id", "--ignore", "id", "--quiet"]
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        stack.callback(is_stopped.set)
        written = pool.submit(write_logs, folder, is_stopped)
        wait_for(lambda: list(folder.iterdir()))
        while kills < MIN_KILLS * CASE_FACTOR:
            files = sorted(folder.iterdir(), key=lambda path: rng.random())
            command = [COMMAND, "learn", *files, *options, "--save-every", "100"]
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            kills += kill_after_saves(process, model, rng.choice([0, 1, 3]), rng.uniform(0, 0.1))
            error = process.communicate()[1]
            # A file may be rotated while the command starts, or while it reads the file.
            is_rotated = "No such file" in error or "another file has replaced it" in error
            assert process.returncode in (0, -9) or is_rotated, error
    logs = list(folder.iterdir())
    subprocess.run([COMMAND, "learn", *logs, *options], check=True)
    ids = [json.loads(line)["id"] for line in predictions.read_text().splitlines()]

    report_figure(f"{len(logs)} growing files: {kills} kills, {len(ids):,} rows")
    assert sorted(ids) == list(range(written.result()))
    subprocess.run([COMMAND, "verify", model, *logs], check=True)
