"""Draw random streams in every format, and learn them in several runs."""

from __future__ import annotations

import fcntl
import gzip
import io
import itertools
import json
import os
import random
import re
import shlex
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from click.testing import CliRunner
from helpers import capture_state, count_unread_bytes, read_contents
from random_tables import (
    NULL_VALUES,
    RandomTable,
    encode_csv_rows,
    encode_json_row,
    write_table_file,
)

from stream_perceptron import (
    DivergedError,
    LiveModel,
    RecordEncoder,
    SampleError,
    SGDPerceptron,
    Standardizer,
    save,
)
from stream_perceptron.checkpoint.encoding import convert_to_json_value
from stream_perceptron_cli.main import main

FIRST_PIPE = 900  # the descriptor of every pipe: a run continues a pipe of the same name
COLUMN_OPTIONS = ("--weight", "--ignore", "--categorical")
MAX_ROWS = 40  # of a file
CASE_KINDS = ("together", "together", "one after another", "one after another", "growing", "pipe")
TABLE_FORMATS = ("csv", "csv", "csv", "headerless", "parquet", "arrow", "objects")
MODEL_FORMATS = ("csv", "parquet", "objects")  # that a model from Python continues with
# Errors of sources that do not fit earlier ones; an unsplit run may raise them later, or never. As
# long as nothing has been learned, the first row of each run decides about the columns.
SPLIT_DEPENDENT_ERRORS = (
    "are not those read before",
    "it lacks columns of the model",
    "labels are of type",
    "to keep ",
    "there is no label column",
    "is empty in all rows",
    "no row has ",
    "values without names",
    "no columns to learn from",
    "cannot be in both",
)
STREAM_FORMATS = ("objects", "objects", "nested", "paths", "lists of numbers", "libsvm", "vectors")


@dataclass
class Case:
    """A stream and the options to learn it."""

    files: list[Path]
    formats: list[str]
    options: list[str]
    kind: str  # one of CASE_KINDS
    records: list[bytes] = field(default_factory=list)  # the rows of a pipe, as bytes
    header: bytes = b""
    keeps_rejected: bool = False  # whether rejected rows are written to a file
    python_model: bytes | None = None  # a model that Python has saved, which runs continue


def format_classes(table):
    """Return the labels that can be classes as the value of an option."""
    return ",".join(str(x) for x in table.labels if str(x).strip() == str(x) != "")


def draw_options(rng, table, formats, kind, null_text, has_model):
    """Return random options that these formats support, and that a model from Python allows."""
    options = [] if has_model else ["--seed", str(rng.randrange(3))]
    options += rng.choice([[], ["--lr", "0.1"], ["--lr", "1"], ["--lr", "0.5:0.4"]])
    if table.delimiter != ",":
        options += ["--delimiter", table.delimiter]
    is_sparse = "libsvm" in formats
    new_model_options = [
        [rng.choice(["--standardize", "--no-standardize"])],
        ["--classes", format_classes(table)],
        ["--class-weight", rng.choice(["balanced", f"{table.labels[0]}=3"])],
    ]
    candidates = [["--scores"], *([] if has_model else new_model_options)]
    if not is_sparse:
        if not has_model:
            candidates.append([f"--missing={null_text}"])
            candidates += [["--categorical", rng.choice(list(table.kinds))]] * 2
            if len(table.kinds) > 2 and "vectors" not in formats:
                candidates.append(["--ignore", rng.choice(list(table.kinds))])
        if "w" in table.kinds:
            candidates.append(["--weight", "w"])
        unkept = {"nested", "paths", "lists of numbers", "vectors"}
        if kind != "pipe" and not unkept.intersection(formats):
            passthrough = rng.sample(table.columns, min(2, rng.randrange(1, 3)))
            passthrough = [name for name in passthrough if name != "label"] or [table.columns[0]]
            candidates += [[word for name in passthrough for word in ("--keep", name)]] * 2
    for option_words in candidates:
        column_names = {option_words[1]} if option_words[0] in COLUMN_OPTIONS else set()
        if rng.random() < 0.3 and not column_names.intersection(options):
            options += option_words
    if table.label == "species":
        position = table.columns.index("species") + 1
        can_be_position = formats[0] in ("csv", "parquet", "arrow") and not has_model
        options += ["--label", rng.choice(["species", str(position)][: 1 + can_be_position])]
    if rng.random() < 0.85:
        options.append("--skip-bad")
    if kind == "together" and rng.random() < 0.3:
        options += ["--passes", "2"]
    return options


def draw_case(rng: random.Random, folder: Path) -> Case:
    """Draw a random case, and write its files."""
    table = RandomTable(rng)
    null_text = rng.choice(NULL_VALUES)
    kind = rng.choice(CASE_KINDS)
    damage_rate = rng.choice([0.0, 0.1, 0.3])
    keeps_rejected = rng.random() < 0.3
    if kind == "pipe":
        case = draw_pipe_case(rng, table, null_text, damage_rate)
        case.keeps_rejected = keeps_rejected
        return case
    if kind != "growing" and rng.random() < 0.2:
        case = draw_late_label_case(rng, table, folder, null_text, damage_rate, kind)
        case.keeps_rejected = keeps_rejected
        return case
    n_files, n_rows = rng.randrange(1, 4), MAX_ROWS
    if kind == "together" and rng.random() < 0.1:
        n_files, n_rows = rng.randrange(15, 41), 4
    elif kind == "growing":
        n_files = 1
    has_model = kind != "growing" and rng.random() < 0.15
    if has_model:
        formats = [rng.choice(MODEL_FORMATS) for _ in range(n_files)]
    elif kind == "growing":
        formats = [rng.choice(["csv", "csv", "objects", "nested", "libsvm"])]
    elif rng.random() < 0.6:
        formats = ["headerless"]
        while formats[0] == "headerless":
            formats = [rng.choice(TABLE_FORMATS) for _ in range(n_files)]
    else:
        formats = [rng.choice(STREAM_FORMATS)] * n_files
    if len(set(formats)) > 1 and table.labels[0] == "7":
        table.labels = ["x", "y"]  # some formats read numbers as texts
    if {*formats} <= {"csv", "headerless"} and rng.random() < 0.3:
        table.delimiter = "|"
    files, columns = [], table.columns
    for i, form in enumerate(formats):
        path = folder / f"{i}.{form.split()[0]}"
        file_columns = columns
        if i and form in ("csv", "objects", "parquet", "arrow"):
            file_columns = rng.sample(columns, len(columns))
        rows = [table.row() for _ in range(rng.randrange(1, n_rows))]
        write_table_file(path, form, rows, file_columns, table, null_text, damage_rate)
        if rng.random() < 0.05 and form in ("csv", "objects"):
            make_rows_unusable(path)
        files.append(path)
    options = draw_options(rng, table, formats, kind, null_text, has_model)
    case = Case(files, formats, options, kind, keeps_rejected=keeps_rejected)
    if has_model:
        case.python_model = save_python_model(rng, table)
    return case


def save_python_model(rng, table) -> bytes:
    """Return the file of a model that Python has created, and perhaps trained on a few rows."""
    scaler = rng.choice([None, Standardizer()])
    encoder, perceptron = RecordEncoder(ignore=table.label, vectors=False), SGDPerceptron(seed=1)
    pipeline = encoder | scaler | perceptron if scaler else encoder | perceptron
    for _ in range(rng.choice([0, 5])):
        x = table.row()
        y = x.pop(table.label)
        with suppress(SampleError, DivergedError):  # numbers may be extreme
            if y not in (None, ""):
                pipeline.learn_one(x, y)
    file = io.BytesIO()
    save(pipeline, file)
    return file.getvalue()


def draw_late_label_case(rng, table, folder, null_text, damage_rate, kind) -> Case:
    """Draw a case of --join: files of features, and files of labels with their IDs."""
    if table.labels[0] == "7":
        table.labels = ["x", "y"]  # some formats read numbers as texts
    table.kinds["id"] = "row"
    contents = []
    for _ in range(rng.randrange(1, 3)):
        rows = [table.row() for _ in range(rng.randrange(1, MAX_ROWS))]
        labels = [{"id": row["id"], table.label: row[table.label]} for row in rows]
        labels = [row for row in labels if row[table.label] is not None]
        rng.shuffle(labels)
        if rng.random() < 0.3:
            labels.append({"id": 10**6, table.label: table.labels[0]})
        contents += [([*table.kinds], rows), (["id", table.label], labels)]
    files, formats = [], []
    for i, (columns, rows) in enumerate(contents):
        if rows:
            formats.append(rng.choice(["csv", "csv", "parquet", "objects"]))
            files.append(folder / f"{i}.{formats[-1]}")
            columns = rng.sample(columns, len(columns))
            write_table_file(files[-1], formats[-1], rows, columns, table, null_text, damage_rate)
    options = ["--join", "id", "--label", table.label]
    options += rng.choice([[], ["--lr", "0.1"], ["--lr", "0.5:0.4"]])
    candidates = [
        ["--classes", format_classes(table)],
        ["--max-pending", str(rng.randrange(1, 50))],
        ["--class-weight", rng.choice(["balanced", f"{table.labels[0]}=3"])],
        [f"--missing={null_text}"],
        *[["--skip-bad"]] * 2,
    ]
    candidates += [["--weight", "w"]] * ("w" in table.kinds)
    for option_words in candidates:
        options += option_words if rng.random() < 0.6 else []
    return Case(files, ["late labels", *formats], options, kind)


def make_rows_unusable(path):
    """Make all rows of a text file unusable."""
    data = path.read_bytes()
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    header = data[: data.find(b"\n") + 1] if path.suffix == ".csv" else b""
    path.write_bytes(header + b'"open\n' * (data.count(b"\n") or 1))


def draw_pipe_case(rng, table, null_text, damage_rate):
    """Draw a case of --position: a pipe of rows with partitions and offsets."""
    table.kinds = {name: kind for name, kind in table.kinds.items() if kind != "row"}
    table.columns = [*table.kinds, table.label]
    form = rng.choice(["csv", "objects"])
    columns = [*table.columns, "p", "o"]
    records, offsets = [], {"left": 0, "right": 0}
    for _ in range(rng.randrange(1, 60)):
        partition = rng.choice(list(offsets))
        offsets[partition] += rng.randrange(1, 3)
        row, position = table.row(), {"p": partition, "o": offsets[partition]}
        if form == "csv":
            if rng.random() < damage_rate:
                row[rng.choice(list(row))] = "oops"
            records.append(encode_csv_rows(rng, [row | position], columns, null_text, False))
            continue
        found, row = None, row | position
        while found != repr(position):  # repr, as 1 == True
            line = encode_json_row(rng, row, table.label, null_text, damage_rate=damage_rate)
            cells = json.loads(line) if line.startswith('{"') else {}
            found = repr({name: cells.get(name) for name in position})
        records.append(line.encode() + b"\n")
    header = ",".join(columns).encode() + b"\n" if form == "csv" else b""
    options = draw_options(rng, table, [form], "pipe", null_text, has_model=False)
    options += ["--position", "p,o"]
    return Case([], [form], options, "pipe", records, header)


def send_signal_after(n_calls):
    """Return a profile function that sends SIGTERM to this process after n calls in the package."""
    calls = itertools.count(1)

    def count_call(frame, event, argument):
        module = frame.f_globals.get("__name__", "")
        if event != "call" or not module.startswith("stream_perceptron"):
            return
        # Before the command installs its handler, the signal would end this process.
        if next(calls) >= n_calls and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGTERM)

    return count_call


class Learner:
    """Runs `learn` repeatedly with one model and its predictions, usually in this process."""

    def __init__(self, folder: Path, case: Case, monkeypatch) -> None:
        folder.mkdir()
        self.case = case
        self.model, self.predictions = folder / "model.npz", folder / "predictions.jsonl"
        self.rejected = folder / "rejected.jsonl"
        if case.python_model is not None:
            self.model.write_bytes(case.python_model)
        self._patch = monkeypatch
        self.code, self.error = 0, ""
        self.commands: list[str] = []  # as typed in a shell

    def run(self, sources, *extra_args, n_calls=None, on_save=None):
        """Run once; call `on_save` after each save; send SIGTERM after `n_calls` calls."""
        replace = os.replace

        def replace_file(temporary, path):
            replace(temporary, path)
            if on_save is not None and path == self.model:
                on_save()

        args = ["learn", *sources, "-m", self.model, "-p", self.predictions, "--quiet"]
        args += ["--rejected", self.rejected] if self.case.keeps_rejected else []
        args = [*map(str, args), *self.case.options, *extra_args]
        interruption = "" if n_calls is None else f"  # with SIGTERM after {n_calls} calls"
        self.commands.append(f"stream-perceptron {shlex.join(args)}{interruption}")
        with self._patch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: None)
            patch.setattr(os, "replace", replace_file)
            sys.setprofile(None if n_calls is None else send_signal_after(n_calls))
            try:
                result = CliRunner().invoke(main, args)
            finally:
                sys.setprofile(None)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        errors = [line for line in result.stderr.splitlines() if line.startswith("Error")]
        # Each run counts its own rows, and names the first rejected one of them.
        error = errors[-1].partition("; the first error: ")[0] if errors else ""
        error = re.sub(r"among [\d,]+ rows", "among its rows", error)
        self.code, self.error = result.exit_code, re.sub(r"/dev/fd/\d+", "pipe", error)

    def feed(self, records, *extra_args, is_slow=False, **how):
        """Run once with rows from a pipe; if `is_slow`, each is sent when the last one was read."""
        reading, writing = os.pipe()
        pipe_end = fcntl.fcntl(reading, fcntl.F_DUPFD_CLOEXEC, FIRST_PIPE)
        os.close(reading)
        has_ended = threading.Event()

        def write():
            # If the run ends with an error, it may leave rows in the pipe.
            with suppress(BrokenPipeError), open(writing, "wb") as pipe:
                parts = [self.case.header, *records]
                for part in parts if is_slow else [b"".join(parts)]:
                    pipe.write(part)
                    pipe.flush()
                    while is_slow and count_unread_bytes(writing) and not has_ended.is_set():
                        time.sleep(0.0005)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            self.run([f"/dev/fd/{pipe_end}"], *extra_args, **how)
        finally:
            os.close(pipe_end)
            has_ended.set()
            writer.join()

    def crash(self, rng, run):
        """Run, then restore the checkpoint of a random save, as a kill would leave it."""
        before = self.model.read_bytes() if self.model.exists() else None
        checkpoints, had_outputs = [before], self.predictions.exists()
        options = "--save-every", str(rng.randrange(1, 9))
        run(*options, on_save=lambda: checkpoints.append(self.model.read_bytes()))
        checkpoint = rng.choice(checkpoints)
        if checkpoint == before and not had_outputs:  # the first save precedes the outputs
            for path in (self.predictions, self.rejected):
                path.unlink(missing_ok=True)
        self.model.unlink(missing_ok=True)
        if checkpoint is not None:
            self.model.write_bytes(checkpoint)

    def rows(self):
        """Return the number of rows that the model has processed."""
        return LiveModel.load(self.model).progress.rows if self.model.exists() else 0


def learn_in_pieces(rng: random.Random, learner: Learner, sources: list[Path], n_rows: int) -> int:
    """Learn files in several runs; return the number of interrupted ones."""
    n_splits = 0
    for _ in range(rng.randrange(5)):
        how = rng.choice(["limit", "crash", "signal"])
        n_splits += 1
        if how == "crash":
            learner.crash(rng, partial(learner.run, sources))
            continue
        extra_args, n_calls = ["--save-every", str(rng.randrange(1, 9))], None
        if how == "limit":
            extra_args += ["--limit", str(rng.randrange(1, n_rows + 2))]
        else:
            n_calls = int(10 ** rng.uniform(3, 4))
        for _ in range(rng.choice([1, 1, 2])):
            learner.run(sources, *extra_args, n_calls=n_calls)
    for _ in range(rng.choice([1, 2])):
        learner.run(sources)
    return n_splits


def learn_growing(rng: random.Random, learner: Learner, path: Path, n_rows: int) -> int:
    """Learn a text file that grows line by line from run to run; return the number of splits."""
    content, n_splits = path.read_bytes(), 0
    ends = [match.end() for match in re.finditer(b"\n", content)]
    for end in sorted(rng.sample(ends[1:], min(len(ends[1:]), rng.randrange(1, 5)))):
        path.write_bytes(content[:end])  # the same file, as it keeps its inode
        n_splits += 1 + learn_in_pieces(rng, learner, [path], n_rows)
    path.write_bytes(content)
    learner.run([path])
    return n_splits


def add_links(rng: random.Random, files: list[Path]) -> list[Path]:
    """Return files and other names of some of them, later in the list."""
    names = list(files)
    for i, path in enumerate(files):
        link = path.with_name(f"link{i}{path.suffix}")
        if rng.random() < 0.1:
            rng.choice([link.symlink_to, link.hardlink_to])(path)
            names.insert(rng.randint(names.index(path) + 1, len(names)), link)
    return names


def feed_in_pieces(rng: random.Random, learner: Learner) -> int:
    """Learn a pipe in several runs, each of which may begin with redelivered rows."""
    records, n_splits = learner.case.records, 0
    for _ in range(rng.randrange(5)):
        n_learned = learner.rows()
        start = rng.randint(0, n_learned)
        delivered = records[start : max(n_learned, rng.randrange(len(records) + 1))]
        n_splits += 1
        feed = partial(learner.feed, delivered, is_slow=rng.random() < 0.5)
        if rng.random() < 0.5:
            learner.crash(rng, feed)
        else:
            feed("--save-every", str(rng.randrange(1, 9)))
    for _ in range(rng.choice([1, 2])):
        rest = records[rng.randint(0, learner.rows()) :]
        learner.feed(rest, is_slow=rng.random() < 0.5)
    return n_splits


def read_lines(path):
    """Return the text of an output, with a fixed name for the pipe; "" if it does not exist."""
    return re.sub(r"/dev/fd/\d+", "pipe", path.read_text()) if path.exists() else ""


def load_results(learner: Learner):
    """Return the results, by name, that splitting must not change."""
    if not learner.rows():  # a signal before the first row leaves an empty model
        return {}
    live = LiveModel.load(learner.model)
    entries = convert_to_json_value(live.history.entries)
    if learner.case.kind == "pipe":  # the file descriptor of a pipe varies
        for entry in entries:
            entry["files"] = []
    elif learner.case.kind == "growing":
        entries = []  # each run has learned another part of the file
    return {
        "model": capture_state(live.model),
        "progress": json.dumps(convert_to_json_value(live.progress)),
        "arrays": {name: array.tobytes() for name, array in live.progress.arrays.items()},
        "schema": live.schema,
        "offsets": live.state.redeliveries.offsets,
        "history": json.dumps(entries),
    }


def require_same_results(rng: random.Random, folder: Path, monkeypatch) -> tuple[Case, int, bool]:
    """Learn a random case in one run and in several, and compare the results.

    Returns the case, the number of splits, and whether anything was learned. Raises
    AssertionError if the results differ or a model does not verify; its notes are the commands.
    """
    case = draw_case(rng, folder)
    whole, split = (Learner(folder / name, case, monkeypatch) for name in ("whole", "split"))
    try:
        return compare_runs(rng, case, whole, split)
    except AssertionError as error:
        error.add_note("\n".join(["one run:", *whole.commands, "split:", *split.commands]))
        raise


def compare_runs(rng, case, whole, split) -> tuple[Case, int, bool]:
    """Learn a case with one learner at once and with the other in pieces; compare the results."""
    contents = [path.read_bytes().rstrip(b"\r\n") for path in case.files]
    if case.kind == "one after another" and any(
        after.startswith(before) for before, after in itertools.pairwise(contents)
    ):
        return case, 0, False  # a file that begins like the one before counts as its continuation
    if case.kind == "pipe":
        whole.feed(case.records)
        if not whole.model.exists() or not LiveModel.load(whole.model).model.n_seen:
            return case, 0, False  # a run starts over if nothing was learned before it
        n_splits = feed_in_pieces(rng, split)
        case.files = [whole.model.parents[1] / "pipe"]
        case.files[0].write_bytes(case.header + b"".join(case.records))
    else:
        whole.run(case.files)
        has_no_usable_row = case.kind == "together" and "no usable row" in whole.error
        if any(fragment in whole.error for fragment in SPLIT_DEPENDENT_ERRORS) or not (
            whole.model.exists() or has_no_usable_row
        ):
            return case, 0, False
        n_rows = whole.rows()
        if case.kind == "together":
            n_splits = learn_in_pieces(rng, split, add_links(rng, case.files), n_rows)
        elif case.kind == "growing":
            n_splits = learn_growing(rng, split, case.files[0], n_rows)
        else:
            n_splits = 0
            for path in case.files:
                n_splits += learn_in_pieces(rng, split, [path], n_rows)
                if split.code:
                    break
                if not LiveModel.load(split.model).model.n_seen:
                    return case, 0, False  # a run starts over if nothing was learned before it
    if any(fragment in split.error for fragment in SPLIT_DEPENDENT_ERRORS):
        return case, 0, False
    unusable = "no usable row", "it has no rows", "its first row ends within a quoted cell"
    one_is_unusable = any(reason in split.error for reason in unusable)
    if case.kind == "one after another" and one_is_unusable:
        return case, 0, False  # other files may have usable rows
    ends = [(learner.code, learner.error) for learner in (whole, split)]
    assert ends[0] == ends[1], ends
    # A run that has reached its limit is finished, even after a row that ended it.
    if case.kind == "together" and whole.code == 0:
        assert read_contents(whole.model) == read_contents(split.model)
    whole_results, split_results = load_results(whole), load_results(split)
    for key in whole_results.keys() | split_results.keys():
        assert whole_results.get(key) == split_results.get(key), key
    assert read_lines(whole.predictions) == read_lines(split.predictions)
    assert read_lines(whole.rejected) == read_lines(split.rejected)
    for learner in (whole, split):
        require_verified(learner)
    return case, n_splits, bool(whole_results)


def require_verified(learner: Learner) -> None:
    """Check that `verify` confirms a model from its files."""
    entries = LiveModel.load(learner.model).history.entries if learner.model.exists() else []
    if not entries:
        return
    sources = learner.case.files
    if learner.case.kind != "pipe":
        learned = {position.name for entry in entries for position in entry.files}
        sources = [path for path in sources if str(path) in learned]
    result = CliRunner().invoke(main, ["verify", str(learner.model), *map(str, sources)])
    is_trained_in_python = learner.case.python_model and "trained in Python" in result.output
    assert result.exit_code == 0 or is_trained_in_python, result.output
