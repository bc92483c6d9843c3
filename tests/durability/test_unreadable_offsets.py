"""Rows without a readable offset are read once, wherever a topic is redelivered from."""

from __future__ import annotations

import json
import random
import subprocess

import pyarrow as pa
import pytest
from helpers import COMMAND, TIMES, contents_of, ipc, wait_for

from stream_perceptron import LiveModel
from stream_perceptron.data.batch import Offset, Redeliveries

UNREADABLE = [
    '{"p": 1, "o": NaN, "x": [1, 2], "y": 0}', '{"p": 1, "o": 5, "x": [1', '{"x": [1, 2], "y": 1}',
    '{"p": 1, "o": "5", "x": [1, 2]}', "7", '{"p": 1, "o": 1.5, "x": [1, 2]}',
]  # fmt: skip


def topic(rng, n, share=0.2):
    """Return rows of two partitions as lines, and whether the offset of each is readable."""
    lines, is_readable, offsets = [], [], [0, 100]
    for i in range(n):
        is_readable.append(i == 0 or rng.random() >= share)
        if is_readable[-1]:
            partition = rng.randrange(2)
            offsets[partition] += rng.choice([1, 1, 7])
            x = [rng.gauss(0, 1), rng.gauss(0, 1)]
            row = {"p": partition, "o": offsets[partition], "x": x, "y": int(sum(x) > 0)}
            if rng.random() < 0.05:
                row["x"] = ["bad", 1]
            lines.append(json.dumps(row).encode() + b"\n")
        else:
            lines.append(rng.choice(UNREADABLE).encode() + b"\n")
    return lines, is_readable


def consume(folder):
    return [
        COMMAND, "learn", "-m", folder / "m.npz", "-p", folder / "p.jsonl", "--seed", "0",
        "--rejected", folder / "r.jsonl", "--position", "p,o", "--save-every", "17", "--quiet",
    ]  # fmt: skip


def outcome(folder):
    return [contents_of(folder / name) for name in ("m.npz", "p.jsonl", "r.jsonl")]


@pytest.fixture
def reference(tmp_path):
    """A function that consumes a topic in one go and returns the outcome."""

    def learn(lines):
        folder = tmp_path / "reference"
        folder.mkdir()
        subprocess.run(consume(folder), input=b"".join(lines), check=True)
        return outcome(folder)

    return learn


def test_a_topic_redelivered_from_its_start_is_read_once(reference, tmp_path, run):
    """Predictions keep their row numbers, rejected rows theirs, and the model verifies."""
    lines, _ = topic(random.Random(0), 3000, share=6 / 3000)
    expected = reference(lines)
    for some in (lines[:1500], lines):
        subprocess.run(consume(tmp_path), input=b"".join(some), check=True)
    (tmp_path / "topic.jsonl").write_bytes(b"".join(lines))

    assert outcome(tmp_path) == expected
    rejected = [json.loads(line) for line in expected[2].splitlines()]
    assert [lines[row["row"] - 1].decode().rstrip() for row in rejected] == [
        row["line"] for row in rejected
    ]
    run("verify", tmp_path / "m.npz", tmp_path / "topic.jsonl", check=0)


@pytest.mark.slow
def test_a_consumer_that_is_killed_reads_each_row_once(reference, tmp_path, tell):
    """A redelivery begins with any row that has a readable offset."""
    rng = random.Random(1)
    lines, is_readable = topic(rng, 1500)
    expected, kills, runs = reference(lines), 0, 0
    while kills < 20 * TIMES:
        folder = tmp_path / str(runs)
        folder.mkdir()
        runs += 1
        code = None
        while code != 0:
            model = folder / "m.npz"
            known = LiveModel.load(model).cursor.read if model.exists() else 0
            start = rng.choice([*(i for i in range(known) if is_readable[i]), known])
            end = len(lines) if rng.random() < 0.2 else rng.randint(start, len(lines))
            process = subprocess.Popen(consume(folder), stdin=subprocess.PIPE)
            process.stdin.write(b"".join(lines[start:end]))
            process.stdin.flush()
            if end < len(lines) or rng.random() < 0.3:
                if end > known:
                    wait_for(model.exists, process)
                process.kill()
                kills += 1
                process.stdin.close()
            else:
                process.stdin.close()
            code = process.wait()
        assert outcome(folder) == expected

    tell(f"unreadable offsets: {kills} kills over {runs} runs, all ended alike")


@pytest.mark.parametrize("form", ["csv", "arrow", "file"])
def test_other_formats_read_each_row_once(form, tmp_path, run):
    """Row 3 has no offset; in a file, rows 4 and 5 are those of 2 and 3 again."""
    rows = [("p", 1, 0.5), ("p", 2, 1.5), ("p", None, 9.0), ("p", 2, 1.5), ("p", None, 9.0)]
    rows.append(("p", 3, 2.5))
    table = pa.table(
        {
            "p": [row[0] for row in rows],
            "o": pa.array([row[1] for row in rows], pa.int64()),
            "a": [row[2] for row in rows],
            "y": ["u", "v", "u", "v", "u", "v"],
        }
    )
    source, options = tmp_path / "source", ["--position", "p,o", "--json", "--quiet"]
    if form == "csv":
        lines = ["p,o,a,y", *(f"{p},{'' if o is None else o},{a},u" for p, o, a in rows)]
        source.write_text("\n".join(lines) + "\n")
    else:
        kind = pa.ipc.new_stream if form == "arrow" else pa.ipc.new_file
        source.write_bytes(ipc(table, 2, kind))

    result = run("learn", source, *options, "--rejected", tmp_path / "r.jsonl", check=0)

    figures = json.loads(result.stdout)
    assert (figures["samples"], figures["skipped"], figures["redelivered"]) == (3, 1, 2)
    (rejected,) = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert rejected["row"] == 3


def test_status_of_rows_is_that_of_an_uninterrupted_stream():
    """Any stream, cut anywhere, redelivered from any row with a readable offset."""
    rng = random.Random(2)
    for _ in range(3000):
        offsets, highest = [], [0, 0]
        for i in range(rng.randrange(1, 15)):
            partition = rng.randrange(2)
            highest[partition] += 1
            is_readable = i == 0 or rng.random() < 0.5
            offsets.append(Offset((partition,), highest[partition]) if is_readable else None)
        cut = rng.randrange(len(offsets) + 1)
        starts = [i for i in range(cut) if offsets[i] is not None] + [cut]
        start = rng.choice(starts)
        whole, split = Redeliveries(), Redeliveries()
        assert not any(map(whole.update, offsets))
        assert not any(map(split.update, offsets[:cut]))
        split.begin_source()

        statuses = list(map(split.update, offsets[start:]))

        assert statuses == [True] * (cut - start) + [False] * (len(offsets) - cut)
        for redeliveries in (whole, split):
            redeliveries.begin_source()
        assert split == whole
