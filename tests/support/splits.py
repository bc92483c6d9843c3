"""Random streams in every format, and random ways to learn them in pieces."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import os
import random
import re
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner
from helpers import COMMAND, contents_of, kill_after_saves

from stream_perceptron import LiveModel
from stream_perceptron.checkpoint.codec import to_json

NAMED = ("--weight", "--ignore", "--one-hot", "--dates", "--words")
KINDS = ("together", "together", "one after another", "one after another", "pipe")
WORDS = ["red", "blue", "a, b", 'a "b"', "two\nlines", "NA", "x"]
DATES = ["2024-03-05", "2024-03-05T13:45:10.5Z", "1969-12-31 23:59", "20240229"]
NOTES = ["late, late refund", "\u00c4RGER mit x1", "...", "paid late", "a b c d e f g"]
MISSING = ["NA", "-9", "99", "0", "7"]
TABLES = ("csv", "csv", "csv", "headerless", "parquet", "arrow", "objects", "lists")
# Errors that an unsplit run may raise later or never, as a source does not fit earlier ones.
EARLIER = (
    "are not those read before",
    "of the model's features",
    "the --one-hot column",
    "the --dates column",
    "the --words column",
    "labels are of type",
    "to keep in its rows",
    "there is no label column",
    "values without names",
)
TEXTS = ("text", "mixed", "date", "note")
LABELS = ("label", "y", "Class", "species")
STREAMS = ("objects", "objects", "nested", "paths", "lists of numbers", "libsvm", "vectors")


@dataclass
class Case:
    """A stream and the options to learn it."""

    files: list[Path]
    formats: list[str]
    options: list[str]
    kind: str  # one of KINDS
    pieces: list[bytes] = field(default_factory=list)  # the rows of a pipe
    header: bytes = b""
    has_offset: list[bool] = field(default_factory=list)  # whether that of each piece is readable
    keeps_rejected: bool = False  # whether rejected rows are written to a file

    def __str__(self) -> str:
        return f"{self.kind}: {' '.join(self.formats)}; {' '.join(self.options)}"


class Table:
    """Columns of several kinds, and random rows of them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        names = rng.sample(["a", "b", "c", "d", "Zeta", "pixel1"], rng.randrange(1, 5))
        self.kinds = {name: rng.choice(["whole", "bytes", "decimal", "late"]) for name in names}
        self.label = rng.choice(LABELS)
        self.labels = rng.choice([["x", "y", "z"], [0, 1, 2], ["7", "x"]])
        others = {
            "t": "text",
            "m": "mixed",
            "id": "row",
            "w": "weight",
            "when": "date",
            "n": "note",
        }
        for name in rng.sample(list(others), rng.randrange(5)):
            self.kinds[name] = others[name]
        self.columns = [*self.kinds, self.label]
        rng.shuffle(self.columns)
        self.n_made = 0
        self.blanks = rng.choice([0.0, 0.0, 0.1, 0.5])
        self.unlabeled = rng.choice([0.0, 0.1, 0.5])
        self.delimiter = ","

    def is_number(self, name: str) -> bool:
        """Whether a column has numbers that are features."""
        return name != self.label and self.kinds[name] not in (*TEXTS, "row", "weight")

    def row(self) -> dict[str, object]:
        rng, row = self.rng, {}
        self.n_made += 1
        for name, kind in self.kinds.items():
            row[name] = {
                "whole": lambda: rng.choice([0, 1, 7, 99, -9, 300]),
                "bytes": lambda: rng.choice([0, 0, 0, 1, 7, 99, 255]),
                "decimal": lambda: round(rng.gauss(0, 1), 3),
                "late": lambda: rng.choice([1, 2.5]) if self.n_made > 9 else None,
                "text": lambda: rng.choice(WORDS),
                "mixed": lambda: rng.choice([200, 200.0, True, 404, "red"][: rng.choice([4, 5])]),
                "date": lambda: rng.choice(DATES),
                "note": lambda: rng.choice(NOTES),
                "row": lambda: self.n_made,
                "weight": lambda: rng.choice([1, 0, 2.5]),
            }[kind]()
            if kind not in ("row", "weight") and rng.random() < self.blanks:
                row[name] = None
        row[self.label] = None if rng.random() < self.unlabeled else rng.choice(self.labels)
        return row


def csv_file(rng, rows, columns, missing, header=True, odd=0.0, delimiter=","):
    sink = io.StringIO()
    ends = ["\n", "\n", "\r\n"]
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=rng.choice(ends))
    if header:
        writer.writerow(columns)
    for row in rows:
        cells = ["" if row[name] is None else row[name] for name in columns]
        cells = [rng.choice(["", missing]) if cell == "" else cell for cell in cells]
        if rng.random() < odd:
            at = rng.choice([i for i, name in enumerate(columns) if name not in LABELS])
            how = rng.randrange(5)
            if how == 0:
                cells = cells[:at]
            elif how == 1:
                cells[at] = rng.choice(["oops", "1e999", "nan", " 5 ", "true"])
            elif how == 2:
                cells.append("1")
            elif how == 3:
                sink.write(rng.choice(['"open\n', "\n", "\r\n", "a\rb,c\n"]))
        writer.writerow(cells)
    text = sink.getvalue()
    return (text.rstrip("\r\n") if header and rng.random() < 0.2 else text).encode()


def json_line(rng, row, label, missing, form="objects", odd=0.0):
    row = dict(row)
    for name, value in row.items():
        if value is None:
            row[name] = rng.choice([None, None, "", missing])
    if rng.random() < odd:
        name = rng.choice([name for name in row if name not in LABELS])
        how = rng.randrange(8)
        if how == 0:
            row[f"e{rng.randrange(4)}"] = rng.choice([5, "red", None, "", 1e300])
        elif how == 1:
            row[name] = rng.choice(["oops", {"q": 1}, [1], 1e300, True])
        elif how == 2:
            del row[name]
        elif how == 3:
            row["tags"] = ["a"]
        elif how == 4:
            row["features"] = {}
        elif how == 5:
            return rng.choice(["{broken", "[1, 2", "7", '"text"', "", " "])
        elif how == 6:
            row = dict(rng.sample(list(row.items()), len(row)))
    if form == "nested":
        y = row.pop(label, None)
        beside = {"id": row.pop("id")} if "id" in row else {}
        row = {"features": row, label: y, **beside}
    elif form == "paths":
        inside = [name for name in row if name != label and rng.random() < 0.5]
        row["in"] = {name: row.pop(name) for name in inside}
    elif form == "lists of numbers":
        y = row.pop(label, None)
        row = {rng.choice(["x"] * 9 + ["v"]): list(row.values()), label: y}
    elif form == "lists":
        without = rng.random() < 0.1
        row = [value for name, value in row.items() if not (without and name == label)]
    if form not in ("lists", "lists of numbers") and rng.random() < 0.3:
        row = {name: value for name, value in row.items() if value is not None}
    return json.dumps(row)


def libsvm_line(rng, row, label, odd=0.0):
    y = [] if row[label] is None else [str(row[label])]
    numbers = ((i, value) for i, (name, value) in enumerate(row.items(), 1) if name != label)
    pairs = [f"{i}:{value}" for i, value in numbers if type(value) in (int, float)]
    if rng.random() < odd / 3:
        return "# 1:2"
    if rng.random() < odd:
        pairs.append(rng.choice(["1:2", "77:oops", f"{rng.randrange(99)}:3", "#comment", "5"]))
    return " ".join([*y, *pairs])


def text_column(rng, values, odd):
    """Return texts as a column; some of them are no UTF-8."""
    data = [value if value is None else value.encode() for value in values]
    for i, value in enumerate(data):
        if value is not None and rng.random() < odd / 4:
            data[i] = rng.choice([b"\xff", value + b"\xe9", b"\xc3"])
    column = pa.array(data, pa.binary()).view(pa.string())
    return column.dictionary_encode() if rng.random() < 0.2 else column


def vector_column(rng, rows, names, odd):
    """Return numbers as a column of lists; some are shorter or much longer than the others."""
    lists = [[None if row[name] is None else float(row[name]) for name in names] for row in rows]
    for i in range(1, len(lists)):
        if rng.random() < odd:
            lists[i] = rng.choice([[], None, lists[i][1:], lists[i] * rng.choice([2, 3000])])
    return pa.array(lists, pa.list_(pa.float64()))


def typed(rows, columns, table, odd):
    """Return rows as an Arrow table with typed columns."""
    data = {}
    for name in columns:
        values = [row[name] for row in rows]
        kind = None if name == table.label else table.kinds[name]
        if kind == "date" and table.rng.random() < 0.5:
            times = [None if v is None else dt.datetime.fromisoformat(v[:10]) for v in values]
            zone = table.rng.choice([None, "UTC", "+05:30"])
            data[name] = pa.array(times, pa.timestamp(table.rng.choice(["s", "us", "ns"]), zone))
        elif kind is None or kind in TEXTS:
            as_text = name != table.label or isinstance(table.labels[0], str)
            values = [None if v is None else str(v) if as_text else v for v in values]
            data[name] = (
                text_column(table.rng, values, odd) if as_text else pa.array(values, pa.int64())
            )
        elif table.kinds[name] == "bytes":
            data[name] = pa.array(values, pa.uint8())
        else:
            data[name] = pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.table(data)


def write_file(path, form, rows, columns, table, missing, odd):
    """Write rows of a table in a format."""
    rng = table.rng
    rows = [{name: row[name] for name in columns} for row in rows]
    if form in ("csv", "headerless"):
        data = csv_file(rng, rows, columns, missing, form == "csv", odd, table.delimiter)
        if form == "headerless" and rng.random() < 0.2:
            others = [name for name in columns if name != table.label]
            data = csv_file(rng, rows, others, missing, False, delimiter=table.delimiter)
    elif form == "libsvm":
        data = "".join(libsvm_line(rng, row, table.label, odd) + "\n" for row in rows).encode()
    elif form in ("parquet", "arrow", "vectors"):
        sink = io.BytesIO()
        if form == "vectors":
            numbers = [name for name in columns if table.is_number(name)]
            others = [name for name in columns if name not in numbers]
            arrow = typed(rows, others, table, odd)
            arrow = arrow.append_column("v", vector_column(rng, rows, numbers, odd))
        else:
            arrow = typed(rows, columns, table, odd)
        if form == "parquet" or (form == "vectors" and rng.random() < 0.7):
            pq.write_table(arrow, sink, row_group_size=rng.choice([3, 100]))
        else:
            make = rng.choice([pa.ipc.new_stream, pa.ipc.new_file])
            with make(sink, arrow.schema) as writer:
                writer.write_table(arrow, rng.choice([3, 100]))
        data = sink.getvalue()
    else:
        lines = [json_line(rng, row, table.label, missing, form, odd) for row in rows]
        data = "".join(line + "\n" for line in lines).encode()
        if rng.random() < 0.2:
            data = data.rstrip(b"\n")
    if form in ("csv", "objects") and rng.random() < 0.1:
        data = b"\xef\xbb\xbf" + data
    if form not in ("parquet", "arrow", "vectors") and rng.random() < 0.15:
        data = gzip.compress(data)
    path.write_bytes(data)


def options_for(rng, table, formats, kind, missing):
    """Return random options that these formats take."""
    options = ["--seed", str(rng.randrange(3))]
    options += rng.choice([[], ["--lr", "0.1"], ["--lr", "1"]])
    if table.delimiter != ",":
        options += ["--delimiter", table.delimiter]
    is_sparse = "libsvm" in formats
    maybe = [
        [rng.choice(["--standardize", "--no-standardize"])],
        ["--classes", ",".join(map(str, table.labels))],
        ["--probabilities"],
        ["--class-weight", rng.choice(["balanced", f"{table.labels[0]}=3"])],
    ]
    if not is_sparse:
        maybe.append([f"--missing={missing}"])
        texts = [name for name in ("t", "m") if name in table.kinds]
        if texts:
            maybe += [["--one-hot", rng.choice(texts)]] * 2
        if "when" in table.kinds:
            maybe += [["--dates", "when"]] * 2
        maybe += [["--words", name] for name in ("n", "t") if name in table.kinds]
        if "w" in table.kinds:
            maybe.append(["--weight", "w"])
        if len(table.kinds) > 2 and "vectors" not in formats:
            maybe.append(["--ignore", rng.choice(list(table.kinds))])
        if (
            kind != "pipe"
            and not {"nested", "paths"}.intersection(formats)
            and not {"lists of numbers", "vectors"}.intersection(formats)
        ):
            keep = rng.sample(table.columns, min(2, rng.randrange(1, 3)))
            maybe += [["--keep", ",".join(keep)]] * 2
    for each in maybe:
        named = {each[1]} if each[0] in NAMED else set()
        if rng.random() < 0.3 and not named.intersection(options):
            options += each
    if table.label == "species":
        options += ["--label", "species"]
    if rng.random() < 0.3:
        places = {name: str(i + 1) for i, name in enumerate(table.columns)}
        options = [places.get(option, option) for option in options]
    if rng.random() < 0.85:
        options.append("--skip-bad")
    if kind == "together" and rng.random() < 0.4:
        if "--keep" in options or rng.random() < 0.4:
            options += ["--passes", "2"]
        else:
            options.append("--random")
            options += ["--passes", str(rng.randrange(1, 3))]
    return options


def make_case(rng: random.Random, folder: Path, kinds=KINDS, most=40) -> Case:
    """Write the files of a random case with at most `most` rows each."""
    table = Table(rng)
    missing = rng.choice(MISSING)
    kind = rng.choice(kinds)
    odd = rng.choice([0.0, 0.1, 0.3])
    keeps_rejected = rng.random() < 0.3
    if kind == "pipe":
        case = make_pipe(rng, table, missing, odd)
        case.keeps_rejected = keeps_rejected
        return case
    if rng.random() < 0.2:
        case = make_late_labels(rng, table, folder, missing, odd, kind, most)
        case.keeps_rejected = keeps_rejected
        return case
    n_files = rng.randrange(1, 4)
    if rng.random() < 0.6:
        formats = ["headerless"]
        while formats[0] in ("headerless", "lists"):
            formats = [rng.choice(TABLES) for _ in range(n_files)]
    else:
        formats = [rng.choice(STREAMS)] * n_files
    if len(set(formats)) > 1 and table.labels[0] == "7":
        table.labels = ["x", "y"]  # some formats read numbers as texts
    if {*formats} <= {"csv", "headerless"} and rng.random() < 0.3:
        table.delimiter = "|"
    files, columns = [], table.columns
    for i, form in enumerate(formats):
        path = folder / f"{i}.{form.split()[0]}"
        here = columns
        if i and form in ("csv", "objects", "parquet", "arrow"):
            here = rng.sample(columns, len(columns))
        rows = [table.row() for _ in range(rng.randrange(1, most))]
        write_file(path, form, rows, here, table, missing, odd)
        if rng.random() < 0.05 and form in ("csv", "objects"):
            spoil(path)
        files.append(path)
    case = Case(files, formats, options_for(rng, table, formats, kind, missing), kind)
    case.keeps_rejected = keeps_rejected and "--random" not in case.options
    return case


def make_late_labels(rng, table, folder, missing, odd, kind, most) -> Case:
    """Write files of features and files of labels, which are joined by an ID."""
    if table.labels[0] == "7":
        table.labels = ["x", "y"]  # some formats read numbers as texts
    table.kinds["id"] = "row"
    contents = []
    for _ in range(rng.randrange(1, 3)):
        rows = [table.row() for _ in range(rng.randrange(1, most))]
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
            write_file(files[-1], formats[-1], rows, columns, table, missing, odd)
    options = ["--join", "id", "--label", table.label, *rng.choice([[], ["--lr", "0.1"]])]
    maybe = [
        ["--classes", ",".join(map(str, table.labels))],
        ["--max-pending", str(rng.randrange(1, 50))],
        ["--class-weight", rng.choice(["balanced", f"{table.labels[0]}=3"])],
        [f"--missing={missing}"],
        ["--skip-bad"],
        ["--skip-bad"],
    ]
    maybe += [["--one-hot", name] for name in ("t", "m") if name in table.kinds][:1]
    maybe += [["--dates", "when"]] * ("when" in table.kinds)
    maybe += [["--words", "n"]] * ("n" in table.kinds)
    maybe += [["--weight", "w"]] * ("w" in table.kinds)
    for each in maybe:
        options += each if rng.random() < 0.6 else []
    return Case(files, ["late labels", *formats], options, kind)


def spoil(path):
    """Make all rows of a text file unusable."""
    data = path.read_bytes()
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    header = data[: data.find(b"\n") + 1] if path.suffix == ".csv" else b""
    path.write_bytes(header + b'"open\n' * (data.count(b"\n") or 1))


def make_pipe(rng, table, missing, odd):
    """Return a stream of rows with offsets."""
    table.kinds = {name: kind for name, kind in table.kinds.items() if kind != "row"}
    table.columns = [*table.kinds, table.label]
    form = rng.choice(["csv", "objects"])
    columns = [*table.columns, "p", "o"]
    pieces, has_offset, offsets = [], [], {"left": 0, "right": 0}
    unreadable = rng.choice([0.0, 0.0, 0.1, 0.4])
    for _ in range(rng.randrange(1, 60)):
        has_offset.append(rng.random() >= unreadable)
        if not has_offset[-1]:
            pieces.append(unreadable_piece(rng, form, columns))
            continue
        part = rng.choice(list(offsets))
        offsets[part] += rng.randrange(1, 3)
        row = table.row() | {"p": part, "o": offsets[part]}
        if form == "csv":
            text = {name: value for name, value in row.items() if name not in ("p", "o")}
            if rng.random() < odd:
                text[rng.choice(list(text))] = "oops"
            pieces.append(
                csv_file(rng, [text | {"p": part, "o": row["o"]}], columns, missing, False)
            )
        else:
            line = ""
            while not line:  # until it has an offset
                line = json_line(rng, row, table.label, missing, odd=odd)
                told = json.loads(line) if line.startswith('{"') else {}
                if repr((told.get("p"), told.get("o"))) != repr((part, row["o"])):  # 1 is not True
                    line = ""
            pieces.append(line.encode() + b"\n")
    header = ",".join(columns).encode() + b"\n" if form == "csv" else b""
    options = options_for(rng, table, [form], "pipe", missing)
    options += ["--position", "p,o"]
    return Case([], [form], options, "pipe", pieces, header, has_offset)


def unreadable_piece(rng, form, columns):
    """Return a row without a readable offset."""
    if form == "csv":
        cells = ["1"] * len(columns)
        cells[-1] = rng.choice(["", "nan", "1.5", "x"])
        return ",".join(rng.choice([cells, [*cells, "1"], cells[:-1]])).encode() + b"\n"
    rows = [
        '{"p": "left", "o": NaN}',
        '{"p": "left", "o": 5',
        '{"o": 5}',
        "[1]",
        '{"p": "a", "o": null}',
    ]
    return rng.choice(rows).encode() + b"\n"


class Learner:
    """Runs `learn` repeatedly in this process, with a model and its predictions."""

    def __init__(self, folder: Path, case: Case, monkeypatch) -> None:
        folder.mkdir()
        self.folder, self.case = folder, case
        self.model, self.predictions = folder / "model.npz", folder / "predictions.jsonl"
        self.rejected = folder / "rejected.jsonl"
        self._patch = monkeypatch
        self.code, self.error = 0, ""

    def run(self, sources, *more, signal_at=None, on_save=None):
        """Run once, with a signal at a check for a due save, and call `on_save` at each save."""
        from stream_perceptron_cli.main import main
        from stream_perceptron_cli.saver import Saver

        save, looks, left = LiveModel.save, Saver.save_if_due, [signal_at]

        def saved(live, path):
            save(live, path)
            if on_save is not None:
                on_save()

        def looked(saver):
            if left[0] is not None:
                left[0] -= 1
                if left[0] == 0:
                    signal.raise_signal(signal.SIGTERM)
            return looks(saver)

        args = [*self.arguments(sources), *more]
        with self._patch.context() as patch:
            patch.setattr(os, "fsync", lambda descriptor: None)
            patch.setattr(LiveModel, "save", saved)
            patch.setattr(Saver, "save_if_due", looked)
            result = CliRunner().invoke(main, args)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self._ended(result.exit_code, result.stderr)

    def arguments(self, sources):
        """Return the arguments of the command."""
        args = ["learn", *sources, "-m", self.model, "-p", self.predictions, "--quiet"]
        if self.case.keeps_rejected:
            args += ["--rejected", self.rejected]
        return [*map(str, args), *self.case.options]

    def _ended(self, code, told):
        errors = [line for line in told.splitlines() if line.startswith("Error")]
        # A run that was cut names the first of its own rows.
        error = errors[-1].partition("; the first: ")[0] if errors else ""
        self.error = re.sub(r"/dev/fd/\d+", "pipe", error)
        self.code = code

    def run_until_done(self, rng, sources):
        """Start the installed command and kill it until it ends by itself; return the kills.

        Kills come soon after the start or after some saves, whatever the machine's speed.
        """
        kills = 0
        while True:
            every = ["--save-every", str(rng.choice([50, 400]))]
            process = subprocess.Popen(
                [COMMAND, *self.arguments(sources), *every], stderr=subprocess.PIPE, text=True
            )
            kills += kill_after_saves(
                process, self.model, rng.choice([0, 1, 3, 10]), rng.uniform(0.0, 0.1)
            )
            told = process.communicate()[1]
            if process.returncode != -signal.SIGKILL:
                self._ended(process.returncode, told)
                return kills

    def feed(self, pieces, *more, **how):
        """Run once with rows from a pipe."""
        reading, writing = os.pipe()

        def write():
            # A run that ends with an error may leave rows in the pipe.
            with suppress(BrokenPipeError), open(writing, "wb") as pipe:
                pipe.write(self.case.header + b"".join(pieces))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            self.run([f"/dev/fd/{reading}"], *more, **how)
        finally:
            os.close(reading)
            writer.join()

    def crash(self, rng, run):
        """Run, and leave the files that a kill at a random moment leaves."""
        found = [self.model.read_bytes()] if self.model.exists() else [None]
        run(
            "--save-every",
            str(rng.randrange(1, 9)),
            on_save=lambda: found.append(self.model.read_bytes()),
        )
        kept = rng.choice(found)
        if kept is None:
            self.model.unlink(missing_ok=True)
        else:
            self.model.write_bytes(kept)

    def rows(self):
        """Return the learned rows."""
        return LiveModel.load(self.model).progress.rows if self.model.exists() else 0


def learn_split(rng: random.Random, learner: Learner, sources: list[Path], longest: int) -> int:
    """Learn files piece by piece; return the number of cuts."""
    cuts = 0
    for _ in range(rng.randrange(5)):
        how = rng.choice(["limit", "crash", "signal"])
        cuts += 1
        if how == "crash":
            learner.crash(rng, lambda *more, **on: learner.run(sources, *more, **on))
            continue
        more, signal_at = ["--save-every", str(rng.randrange(1, 9))], None
        if how == "limit":
            more += ["--limit", str(rng.randrange(1, longest + 2))]
        else:
            signal_at = rng.randrange(1, 12)
        for _ in range(rng.choice([1, 1, 2])):
            learner.run(sources, *more, signal_at=signal_at)
    for _ in range(rng.choice([1, 2])):
        learner.run(sources)
    return cuts


def feed_split(rng: random.Random, learner: Learner) -> int:
    """Learn a pipe piece by piece; each piece begins with replayed rows."""
    pieces, cuts = learner.case.pieces, 0
    for _ in range(rng.randrange(5)):
        done = learner.rows()
        start = redelivery_start(rng, learner, done)
        some = pieces[start : max(done, rng.randrange(len(pieces) + 1))]
        cuts += 1
        if rng.random() < 0.5:
            learner.crash(rng, lambda *more, some=some, **on: learner.feed(some, *more, **on))
        else:
            learner.feed(some, "--save-every", str(rng.randrange(1, 9)))
    for _ in range(rng.choice([1, 2])):
        learner.feed(pieces[redelivery_start(rng, learner, learner.rows()) :])
    return cuts


def redelivery_start(rng, learner, done):
    """Return the first row of a redelivery: one with a readable offset, or the next new one."""
    return rng.choice([*(i for i in range(done) if learner.case.has_offset[i]), done])


def rejected_rows(learner):
    """Return the rejected rows that were written, without the name of a pipe."""
    if not learner.rejected.exists():
        return ""
    return re.sub(r"/dev/fd/\d+", "pipe", learner.rejected.read_text())


def state_in(learner: Learner):
    """Return by name the results that splitting must not change."""
    if not learner.rows():  # a signal before the first row leaves a model of none
        return {}
    live = LiveModel.load(learner.model)
    model, progress = live.model, live.progress
    network = model.network.snapshot()
    state = {
        "weights": model.weights.tobytes() + model.biases.tobytes(),
        "names": (model.classes_, model.features_),
        "counters": (model.n_seen, model.n_updates, repr(model.last_error)),
        "statistics": b"" if network.scaler is None else network.scaler.table.tobytes(),
        "progress": json.dumps(to_json(progress)),
        "arrays": {name: array.tobytes() for name, array in progress.arrays.items()},
        "schema": live.schema,
        "offsets": live.cursor.offsets,
    }
    lineage = to_json(live.lineage)
    if learner.case.kind == "pipe":  # the descriptor of a pipe differs
        for entry in lineage["entries"]:
            entry["sources"] = []
    return state | {"lineage": json.dumps(lineage)}


def kill_split(rng: random.Random, learner: Learner, sources: list[Path], longest: int) -> int:
    """Learn files under kills; return the number of kills."""
    return learner.run_until_done(rng, sources)


def require_alike(
    rng: random.Random, folder: Path, monkeypatch, split_by=learn_split, **size
) -> tuple[Case, int, bool]:
    """Learn a random case whole and in pieces; return it, the cuts, and whether it was learned.

    Raises AssertionError if the results differ or do not verify.
    """
    case = make_case(rng, folder, **size)
    whole = Learner(folder / "whole", case, monkeypatch)
    split = Learner(folder / "split", case, monkeypatch)
    contents = [path.read_bytes().rstrip(b"\r\n") for path in case.files]
    if case.kind == "one after another" and any(
        after.startswith(before) for before, after in pairwise(contents)
    ):
        return case, 0, False  # a file that begins with the one before is taken for it, grown
    if case.kind == "pipe":
        whole.feed(case.pieces)
        if not whole.model.exists():
            return case, 0, False
        cuts = feed_split(rng, split)
        case.files = [folder / "pipe"]
        case.files[0].write_bytes(case.header + b"".join(case.pieces))
    else:
        whole.run(case.files)
        has_no_usable_row = case.kind == "together" and "no usable row" in whole.error
        if any(why in whole.error for why in EARLIER) or not (
            whole.model.exists() or has_no_usable_row
        ):
            return case, 0, False
        longest = whole.rows()
        if case.kind == "together":
            cuts = split_by(rng, split, case.files, longest)
        else:
            cuts = 0
            for path in case.files:
                cuts += split_by(rng, split, [path], longest)
                if split.code:
                    break
    if any(why in split.error for why in EARLIER):
        return case, 0, False
    one_is_unusable = "no usable row" in split.error or "it has no rows" in split.error
    if case.kind == "one after another" and one_is_unusable:
        return case, 0, False  # others may have usable rows
    error = split.error
    if "no usable row" in whole.error and "pipe: it has no rows" in error:
        error = whole.error  # the last piece was empty
    assert (whole.code, whole.error) == (split.code, error), (str(case), whole.error, split.error)
    # A run that reached its limit is finished, even behind a row that ended it.
    if case.kind == "together" and whole.code == 0:
        assert contents_of(whole.model) == contents_of(split.model), case
    one, other = state_in(whole), state_in(split)
    for what in one.keys() | other.keys():
        assert one.get(what) == other.get(what), (what, str(case))
    assert whole.predictions.read_bytes() == split.predictions.read_bytes(), case
    assert rejected_rows(whole) == rejected_rows(split), case
    for learner in (whole, split):
        require_verified(learner)
    return case, cuts, bool(one)


def require_verified(learner: Learner) -> None:
    """Check that a model verifies from its files."""
    from stream_perceptron_cli.main import main

    if not learner.model.exists() or not LiveModel.load(learner.model).lineage.entries:
        return
    sources = learner.case.files
    if learner.case.kind != "pipe":
        learned = {
            source.name
            for entry in LiveModel.load(learner.model).lineage.entries
            for source in entry.sources
        }
        sources = [path for path in sources if str(path) in learned]
    result = CliRunner().invoke(main, ["verify", str(learner.model), *map(str, sources)])
    assert result.exit_code == 0, (result.output, str(learner.case))
