"""Random tables of columns of several kinds, written as records of every format."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
import random
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from stream_perceptron.data import ReadOptions

WORDS = ["red", "blue", "a, b", 'a "b"', '"a', "two\nlines", "NA", "x"]
DATES = ["2024-03-05", "2024-03-05T13:45:10.5Z", "1969-12-31 23:59", "20240229"]
NOTES = ["late, late refund", "\u00c4RGER mit x1", "...", "paid late", "a b c d e f g"]
ODD_TEXTS = ["2024-02-30", " ", "\u00c4RGER mit x1 und x2", "a=b"]
TAGS = [["vip", "new"], ["new"], [], ["vip", "vip", None], ["a b c d", "NA"], None]
CARTS = [[101, 7], [7, 101, 7], [101], [], None]
EXTREMES = [5e-324, -1e-308, 2.5e-310, 1e-200, 1e100, -1.7e308, 1.0000000000000002]
NAMES = ["a", "b", "c", "d", "Zeta", "pixel1"]
ODD_NAMES = ["two words", " padded ", "x, y", 'qu"ote', "back\\n", "tab\tin", "\u00e4=1", "7"]
NULL_VALUES = ["NA", "-9", "99", "0", "7"]
TEXT_KINDS = ("text", "mixed", "date", "note")
LIST_KINDS = ("tags", "cart", "embedding")
OTHER_KINDS = (*TEXT_KINDS, *LIST_KINDS, "row", "weight")  # of columns that are no numbers to learn
LABEL_NAMES = ("label", "y", "Class", "species")
LABELS = [["x", "y", "z"], [0, 1, 2], ["7", "x"], ["x", " x", "a b", ""]]


class RandomTable:
    """A table with random columns of several kinds, and random rows."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        names = rng.sample(NAMES + rng.choice([[], [], ODD_NAMES]), rng.randrange(1, 5))
        kinds = ["whole", "bytes", "decimal", "late", "indicator"]
        kinds += rng.choice([[], [], [], ["extreme"]])
        self.kinds = {name: rng.choice(kinds) for name in names}
        self.last_indicator_row = rng.randrange(100)
        self.first_labeled_row = rng.choice([0, 0, 0, 4, 30])
        self.label = rng.choice(LABEL_NAMES)
        self.labels = rng.choice(LABELS)
        others = {
            "t": "text", "m": "mixed", "id": "row", "w": "weight", "when": "date", "n": "note",
            "tags": "tags", "cart": "cart", "e": "embedding",
        }  # fmt: skip
        for name in rng.sample(list(others), rng.randrange(6)):
            self.kinds[name] = others[name]
        self.columns = [*self.kinds, self.label]
        rng.shuffle(self.columns)
        self.n_drawn = 0
        self.null_share = rng.choice([0.0, 0.0, 0.1, 0.5])
        self.unlabeled_share = rng.choice([0.0, 0.1, 0.5])
        self.delimiter = ","

    def is_number(self, name: str) -> bool:
        """Whether a column has numbers that are features."""
        return name != self.label and self.kinds[name] not in OTHER_KINDS

    def row(self) -> dict[str, object]:
        """Return a random row."""
        rng, row = self.rng, {}
        self.n_drawn += 1
        for name, kind in self.kinds.items():
            row[name] = {
                "whole": lambda: rng.choice([0, 1, 7, 99, -9, 300]),
                "bytes": lambda: rng.choice([0, 0, 0, 1, 7, 99, 255]),
                "decimal": lambda: round(rng.gauss(0, 1), 3),
                "late": lambda: rng.choice([1, 2.5]) if self.n_drawn > 9 else None,
                "indicator": lambda: rng.randrange(3 - (self.n_drawn < self.last_indicator_row)),
                "text": lambda: rng.choice(WORDS),
                "mixed": lambda: rng.choice([200, 200.0, True, 404, "red"][: rng.choice([4, 5])]),
                "date": lambda: rng.choice(DATES),
                "note": lambda: rng.choice(NOTES),
                "tags": lambda: rng.choice(TAGS),
                "cart": lambda: rng.choice(CARTS),
                "embedding": lambda: [
                    round(rng.gauss(0, 1), 3) for _ in range(rng.choice([2, 2, 3]))
                ],
                "extreme": lambda: rng.choice(EXTREMES),
                "row": lambda: self.n_drawn,
                "weight": lambda: rng.choice([1, 0, 2.5]),
            }[kind]()
            if kind not in ("row", "weight") and rng.random() < self.null_share:
                row[name] = None
        is_unlabeled = self.n_drawn < self.first_labeled_row or rng.random() < self.unlabeled_share
        row[self.label] = None if is_unlabeled else rng.choice(self.labels)
        return row


def encode_csv_rows(rng, rows, columns, null_text, header=True, damage_rate=0.0, delimiter=","):
    sink = io.StringIO()
    terminators = ["\n", "\n", "\r\n"]
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=rng.choice(terminators))
    if header:
        writer.writerow(columns)
    for row in rows:
        cells = ["" if row[name] is None else row[name] for name in columns]
        cells = [rng.choice(["", null_text]) if cell == "" else cell for cell in cells]
        if rng.random() < damage_rate:
            index = rng.choice([i for i, name in enumerate(columns) if name not in LABEL_NAMES])
            how = rng.randrange(5)
            if how == 0:
                cells = cells[:index]
            elif how == 1:
                cells[index] = rng.choice(["oops", "1e999", "nan", " 5 ", "true"])
            elif how == 2:
                cells.append("1")
            elif how == 3:
                sink.write(rng.choice(['"open\n', "\n", "\r\n", "a\rb,c\n"]))
        writer.writerow(cells)
    text = sink.getvalue()
    return (text.rstrip("\r\n") if header and rng.random() < 0.2 else text).encode()


def encode_json_row(rng, row, label, null_text, form="objects", damage_rate=0.0):
    row = dict(row)
    for name, value in row.items():
        if value is None:
            row[name] = rng.choice([None, None, "", null_text])
    if rng.random() < damage_rate:
        name = rng.choice([name for name in row if name not in LABEL_NAMES])
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
        id_field = {"id": row.pop("id")} if "id" in row else {}
        row = {"features": row, label: y, **id_field}
    elif form == "paths":
        nested_names = [name for name in row if name != label and rng.random() < 0.5]
        row["in"] = {name: row.pop(name) for name in nested_names}
    elif form == "lists of numbers":
        y = row.pop(label, None)
        values = [value for value in row.values() if not isinstance(value, list)]
        row = {rng.choice(["x"] * 9 + ["v"]): values, label: y}
    if form != "lists of numbers" and rng.random() < 0.3:
        row = {name: value for name, value in row.items() if value is not None}
    return json.dumps(row)


def encode_libsvm_row(rng, row, label, damage_rate=0.0):
    y = [] if row[label] is None else [str(row[label])]
    numbers = ((i, value) for i, (name, value) in enumerate(row.items(), 1) if name != label)
    pairs = [f"{i}:{value}" for i, value in numbers if type(value) in (int, float)]
    if rng.random() < damage_rate / 3:
        return "# 1:2"
    if rng.random() < damage_rate:
        pairs.append(rng.choice(["1:2", "77:oops", f"{rng.randrange(99)}:3", "#comment", "5"]))
    return " ".join([*y, *pairs])


def build_text_column(rng, values, damage_rate):
    """Return texts as a column, some with invalid UTF-8."""
    data = [value if value is None else value.encode() for value in values]
    for i, value in enumerate(data):
        if value is not None and rng.random() < damage_rate / 4:
            data[i] = rng.choice([b"\xff", value + b"\xe9", b"\xc3"])
    column = pa.array(data, pa.binary()).view(pa.string())
    return column.dictionary_encode() if rng.random() < 0.2 else column


def build_vector_column(rng, rows, names, damage_rate):
    """Return numbers as a column of lists, a few of them null, too short or too long."""
    lists = [[None if row[name] is None else float(row[name]) for name in names] for row in rows]
    for i in range(1, len(lists)):
        if rng.random() < damage_rate:
            lists[i] = rng.choice([[], None, lists[i][1:], lists[i] * rng.choice([2, 3000])])
    return pa.array(lists, pa.list_(pa.float64()))


def build_arrow_table(rows, columns, table, damage_rate):
    """Return rows as an Arrow table with typed columns."""
    data = {}
    for name in columns:
        values = [row[name] for row in rows]
        kind = table.kinds.get(name)  # None for the label
        if kind == "date" and table.rng.random() < 0.5:
            times = [None if v is None else dt.datetime.fromisoformat(v[:10]) for v in values]
            zone = table.rng.choice([None, "UTC", "+05:30"])
            data[name] = pa.array(times, pa.timestamp(table.rng.choice(["s", "us", "ns"]), zone))
        elif kind is None and isinstance(table.labels[0], int):
            data[name] = pa.array(values, pa.int64())
        elif kind is None or kind in TEXT_KINDS:
            texts = [None if v is None else str(v) for v in values]
            data[name] = build_text_column(table.rng, texts, damage_rate)
        elif kind in LIST_KINDS:
            item = {"tags": pa.string(), "cart": pa.int64(), "embedding": pa.float64()}[kind]
            data[name] = pa.array(values, pa.list_(item))
        elif kind == "bytes":
            data[name] = pa.array(values, pa.uint8())
        else:
            data[name] = pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.table(data)


def write_table_file(path, form, rows, columns, table, null_text, damage_rate):
    """Write rows of a table to a file of a format."""
    rng = table.rng
    rows = [{name: row[name] for name in columns} for row in rows]
    if form in ("csv", "headerless"):
        data = encode_csv_rows(
            rng, rows, columns, null_text, form == "csv", damage_rate, table.delimiter
        )
        if form == "headerless" and rng.random() < 0.2:
            others = [name for name in columns if name != table.label]
            data = encode_csv_rows(rng, rows, others, null_text, False, delimiter=table.delimiter)
    elif form == "libsvm":
        lines = [encode_libsvm_row(rng, row, table.label, damage_rate) for row in rows]
        data = "".join(line + "\n" for line in lines).encode()
    elif form in ("parquet", "arrow", "vectors"):
        sink = io.BytesIO()
        if form == "vectors":
            numbers = [name for name in columns if table.is_number(name)]
            others = [name for name in columns if name not in numbers]
            arrow = build_arrow_table(rows, others, table, damage_rate)
            arrow = arrow.append_column("v", build_vector_column(rng, rows, numbers, damage_rate))
        else:
            arrow = build_arrow_table(rows, columns, table, damage_rate)
        if form == "parquet" or (form == "vectors" and rng.random() < 0.7):
            pq.write_table(arrow, sink, row_group_size=rng.choice([3, 100]))
        else:
            make = rng.choice([pa.ipc.new_stream, pa.ipc.new_file])
            with make(sink, arrow.schema) as writer:
                writer.write_table(arrow, rng.choice([3, 100]))
        data = sink.getvalue()
    else:
        lines = [
            encode_json_row(rng, row, table.label, null_text, form, damage_rate) for row in rows
        ]
        data = "".join(line + "\n" for line in lines).encode()
        if rng.random() < 0.2:
            data = data.rstrip(b"\n")
    if form in ("csv", "objects") and rng.random() < 0.1:
        data = b"\xef\xbb\xbf" + data
    if form not in ("parquet", "arrow", "vectors") and rng.random() < 0.15:
        data = gzip.compress(data)
    path.write_bytes(data)


def write_records(rng, form, n, folder):
    """Write n random records to a file.

    Returns the path, the records as text (none for Arrow data), the columns of CSV, and random
    options to read the file.
    """
    table, null_text = RandomTable(rng), rng.choice(NULL_VALUES)
    damage_rate = rng.choice([0.0, 0.1, 0.3])
    table.kinds |= {"id": "row", "p": "text", "o": "row"}
    columns = rng.sample([*table.kinds, table.label], len(table.kinds) + 1)
    rows = [table.row() | {"p": "p", "o": i} for i in range(n)]
    for row in rows:
        for name in ("t", "n"):
            if name in row and rng.random() < 0.1:
                row[name] = rng.choice(ODD_TEXTS)
        if rng.random() < 0.05:  # with --join, this is a label
            row.update((name, None) for name in table.kinds if name != "id")
    options = draw_read_options(rng, table, form, null_text)
    if form in ("parquet", "vectors"):
        path = folder / f"rows.{form}"
        write_table_file(path, form, rows, columns, table, null_text, damage_rate)
        return path, [], columns, options

    def encode(row):
        row = {name: row[name] for name in columns}
        if form == "csv":
            return encode_csv_rows(rng, [row], columns, null_text, False, damage_rate).decode()
        if form == "libsvm":
            return encode_libsvm_row(rng, row, table.label, damage_rate) + "\n"
        return encode_json_row(rng, row, table.label, null_text, form, damage_rate) + "\n"

    records = []
    for row in rows:
        record = encode(row)
        while not is_one_record(record, form, len(columns)):
            record = encode(row)
        records.append(record)
    suffix = {"csv": "csv", "libsvm": "libsvm"}.get(form, "jsonl")
    path = folder / f"rows.{suffix}"
    header = encode_csv_rows(rng, [], columns, null_text).strip() + b"\n" if form == "csv" else b""
    path.write_bytes(header + "".join(records).encode())
    return path, records, columns, options


def is_one_record(text, form, n_columns):
    """Whether a text is read as one record; in CSV, only a complete one has several lines."""
    if form != "csv":
        return (text.partition("#")[0] if form == "libsvm" else text).strip() != ""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error:
        return False
    return [*map(bool, rows)] == [True] and (len(rows[0]) == n_columns or text.count("\n") == 1)


def draw_read_options(rng, table, form, null_text):
    """Return random options to read a table in a format."""
    missing = rng.choice([(), (null_text,), ("NA", "-9", "7")])
    options = ReadOptions(missing=missing, scale=rng.choice([None, 0.5, 1e305]))
    if form == "libsvm":
        return options
    prefix = "features." if form == "nested" else ""
    names = [f"{prefix}{name.strip()}" if name != "id" else name for name in table.kinds]
    roles = {
        "ignore": rng.choice([(), ("id",), tuple(rng.sample(names, 2))]),
        "categorical": rng.choice([(), (rng.choice(names),), tuple(rng.sample(names, 3))]),
        "keep": rng.choice([(), ("id",), (rng.choice(names), table.label)]),
        "position": rng.choice([(), (), (f"{prefix}p", f"{prefix}o"), (f"{prefix}o",)]),
    }
    if rng.random() < 0.2:
        roles |= {"join": "id", "keep": (), "ignore": ()}
    if "w" in table.kinds and rng.random() < 0.7:
        roles["weight"] = f"{prefix}w"
    return replace(options, label=table.label, **roles)
