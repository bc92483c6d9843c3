"""Random records of every format, and random options to read them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from stream_perceptron.data.schema import ReadOptions

COLUMNS = ("a", "b", "text", "when", "note", "w", "part", "off", "id", "label")


NUMBERS = ["0", "1", "255", "7.5", "-3", "1e400", "", "NA", "-9", "true", "x"]


def draw_number(rng):
    """Return a number as text, rarely something else."""
    return str(rng.choice([1, 2, 7, 200])) if rng.random() < 0.9 else rng.choice(NUMBERS)


def draw_csv_record(rng, i):
    text = rng.choice(["red", "blue", '"a ""b"", c"', "", "5"])
    weight = rng.choice(["1", "2", "1", "", "-1"]) if rng.random() < 0.1 else "1"
    offset = str(i) if rng.random() < 0.9 else rng.choice(["x", str(i - 2)])
    label = rng.choice(["up", "down"]) if rng.random() < 0.9 else rng.choice(["", "NA", "7"])
    when = rng.choice(DATES) if rng.random() < 0.95 else rng.choice(["today", "NA", "2024-02-30"])
    note = rng.choice([*NOTES, '"late, ""late"""', "5", "NA"])
    cells = [
        draw_number(rng),
        draw_number(rng),
        text,
        when,
        note,
        weight,
        "p",
        offset,
        f"k{i % 5}",
        label,
    ]
    return ",".join(cells if rng.random() < 0.98 else cells[1:])


DATES = ["2024-03-05", "2024-03-05 13:45:10.5", "20191231T235959Z", ""]


NOTES = [
    "Late, late refund",
    "Late, late refund again",
    "\u00c4RGER mit x1",
    "\u00c4RGER mit x1 und x2",
    " ",
    "...",
    "paid",
]


TAGS = [["vip", "new"], ["new"], [], ["vip", "vip", None], None]


def draw_json_record(rng, i, form, has_tags=False):
    def value():
        if rng.random() < 0.9:
            return rng.choice([1, 2, 7, 0.5])
        return rng.choice([None, True, "NA", "x", [1], {"u": 1}, 1e300, -9])

    if rng.random() < 0.05:  # with --join, this is a label
        return json.dumps({"a": None, "label": rng.choice(["up", "down"]), "id": f"k{i % 5}"})
    names = ["a", "b", "c"] if rng.random() < 0.7 else rng.sample("abcdefx", rng.randrange(4))
    record = {"features": {name: value() for name in names}, "text": rng.choice(["red", None])}
    if form == "flat":
        members = {"deep": value()} if rng.random() < 0.9 else {}
        record = record["features"] | {"text": record["text"], "n": members}
        if rng.random() < 0.05:
            record = {"n": members}
    elif form == "list":
        record = {"x": [value() for _ in range(3 if rng.random() < 0.95 else 2)]}
    elif rng.random() < 0.05:
        record |= rng.choice([{"features": None}, {"features": 5}, {"outer": 1}])
        record = dict(rng.sample(list(record.items()), rng.randrange(len(record))))
    if rng.random() < 0.9:
        record["label"] = rng.choice(["up", "down"]) if rng.random() < 0.9 else None
    if has_tags:
        odd_values = ["red", 5, ["NA", 7, True], [["x"]], [{"u": 1}], {"u": 1}]
        members = record.get("features", record) if rng.random() < 0.9 else record
        if isinstance(members, dict):
            members["tags"] = rng.choice(TAGS if rng.random() < 0.9 else odd_values)
    members = record.get("features", record) if rng.random() < 0.9 else record
    if isinstance(members, dict) and form != "list":
        if rng.random() < 0.9:
            odd_values = ["NA", None, 5, "2024-02-30", ["2024-03-05"], {"u": 1}]
            members["when"] = rng.choice(DATES) if rng.random() < 0.95 else rng.choice(odd_values)
        odd_values = [None, 5, True, "NA", ["a b", None, 7], [["x"]], {"u": 1}]
        members["note"] = rng.choice(NOTES) if rng.random() < 0.9 else rng.choice(odd_values)
    record |= {"w": 1, "part": "p", "off": i, "id": f"k{i % 5}"}
    if rng.random() < 0.05:
        record[rng.choice(["y", "w", "off"])] = rng.choice([None, "x", -1])
    items = list(record.items())
    if rng.random() < 0.1:
        rng.shuffle(items)
    return json.dumps(dict(items))


def draw_libsvm_record(rng, i):
    label = rng.choice(["1", "-1"]) if rng.random() < 0.9 else rng.choice(["", "NA", "1.5"])
    names = sorted(rng.sample([*"12345678", "w", "a:b"], rng.randrange(5)))
    return " ".join(
        [label, *(f"{name}:{rng.choice(['1', '2', '0.5', '1e400'])}" for name in names)]
    )


def draw_arrow_batch(rng, form, n):
    """Return random rows with the columns of CSV, or with a list of features."""

    def column(choices, odd_values, kind):
        values = [rng.choice(choices if rng.random() < 0.95 else odd_values) for _ in range(n)]
        return pa.array(values, kind)

    small, wide = [1, 2, 7, 200], [None, 300, -9]
    kind = rng.choice([pa.uint8(), pa.int64(), pa.float64(), pa.bool_()])
    odd_values = [None, float("nan"), 1e300] if pa.types.is_floating(kind) else [None]
    if pa.types.is_boolean(kind):
        small = [True, False]
    columns = {
        "a": column(small, odd_values, kind),
        "b": column([1, 2, 7, 200], wide if rng.random() < 0.5 else [None], pa.int16()),
    }
    if form == "arrow list":
        kind = rng.choice([pa.uint8(), pa.float64()])
        rows = [[1, 2, 7], [200, 0, 5]], [[1, 2], [], None, [None, 1, 2]]
        if pa.types.is_floating(kind):
            rows[1].append([float("nan"), 1, 2])
        columns = {"x": column(*rows, pa.list_(kind))}
    elif rng.random() < 0.3:
        columns["b"] = columns["b"].fill_null(0).cast(pa.uint8(), safe=False)
    columns |= {
        "text": column(["red", "blue"], [None, "", "NA"], pa.string()),
        "when": column(*draw_date_choices(rng)),
        "note": column(NOTES, [None, "NA", ""], pa.string()),
        "tags": column(TAGS, [["NA"], [""]], pa.list_(pa.string())),
        "w": column([1.0, 2.0], [None, -1.0], pa.float64()),
        "part": column(["p"], [None], pa.string()),
        "off": pa.array(range(n)),
        "id": pa.array([f"k{i % 5}" for i in range(n)]),
        "label": column(["up", "down"], [None, "NA"], pa.string()),
    }
    if rng.random() < 0.5:
        columns["label"] = column([0, 1, 300], [None], pa.int32())
    return pa.record_batch(columns)


def draw_date_choices(rng):
    """Return usual dates, odd dates, and their Arrow type."""
    if rng.random() < 0.3:
        return DATES, [None, "NA", "today"], pa.string()
    times = [dt.datetime(2024, 3, 5, 13, 45), dt.datetime(1969, 12, 31, 23, 59, 59, 999_999)]
    odd_values = [None, dt.datetime(9999, 12, 31)]
    if rng.random() < 0.3:
        return (
            [time.date() for time in times],
            odd_values[:1],
            rng.choice([pa.date32(), pa.date64()]),
        )
    zone = rng.choice([None, "UTC", "+05:30"])
    return times, odd_values[:1], pa.timestamp(rng.choice(["s", "ms", "us", "ns"]), zone)


# A column that may be kept, apart from the ID; in JSON, a list or an object.
KEPT = {"csv": "text", "arrow": "tags", "arrow list": "tags", "list": "x", "features": "tags"}


def draw_read_options(rng, form):
    """Return random read options."""
    options = {
        "label": "label" if form == "csv" or form.startswith("arrow") else None,
        "missing": rng.choice([(), ("NA",), ("NA", "-9", "7")]),
        "scale": rng.choice([None, 0.5, 1e305]),
    }
    if form != "libsvm":
        options |= {
            "weight": rng.choice([None, "w"]),
            "ignore": rng.choice([(), ("id",), ("off", "id")]),
            "categorical": rng.choice(
                [(), ("text",), ("a",), ("a", "tags"), ("features.a", "note")]
            ),
            "keep": rng.choice([(), ("id",), (KEPT.get(form, "n"),), ("part", "label", "off")]),
            "join": "id" if rng.random() < 0.15 else None,
            "position": rng.choice([("part", "off"), ("off",)]) if rng.random() < 0.2 else (),
        }
        if options["join"]:
            options |= {"keep": (), "ignore": ()}
    return ReadOptions(**options)


def write_records(rng, form, n, folder):
    """Write n random records to a file; return it and random options to read it."""
    options = draw_read_options(rng, form)
    if form.startswith("arrow"):
        path, table = folder / "rows.parquet", draw_arrow_batch(rng, form, n)
        pq.write_table(pa.Table.from_batches([table]), path)
        return path, options
    names = (
        COLUMNS
        if form == "csv"
        else (*COLUMNS, "tags", *(("features.a",) if form == "features" else ()))
    )
    options = replace(options, categorical=tuple(n for n in options.categorical if n in names))
    path = folder / {"csv": "rows.csv", "libsvm": "rows.libsvm"}.get(form, "rows.jsonl")
    draw_record = {"csv": draw_csv_record, "libsvm": draw_libsvm_record}.get(form)
    has_tags = rng.random() < 0.5
    records = [
        draw_record(rng, i) if draw_record else draw_json_record(rng, i, form, has_tags)
        for i in range(n)
    ]
    header = [",".join(COLUMNS)] if form == "csv" else []
    path.write_text("".join(f"{line}\n" for line in [*header, *records]))
    return path, options
