"""Rows without a readable offset are read once, wherever the redelivery of a topic begins."""

from __future__ import annotations

import json
import random
import subprocess

import pyarrow as pa
import pytest
from helpers import CASE_FACTOR, COMMAND, encode_ipc, read_contents, wait_for

from stream_perceptron import LiveModel
from stream_perceptron.data.batch import Offset, Redeliveries

UNREADABLE = [
    '{"p": 1, "o": NaN, "x": [1, 2], "y": 0}', '{"p": 1, "o": 5, "x": [1', '{"x": [1, 2], "y": 1}',
    '{"p": 1, "o": "5", "x": [1, 2]}', "7", '{"p": 1, "o": 1.5, "x": [1, 2]}',
]  # fmt: skip


def generate_topic(rng, n, unreadable_share=0.2):
    """Return rows of two partitions as lines, and whether the offset of each is readable."""
    lines, is_readable, offsets = [], [], [0, 100]
    for i in range(n):
        is_readable.append(i == 0 or rng.random() >= unreadable_share)
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


def consume_command(folder):
    return [
        COMMAND, "learn", "-m", folder / "m.npz", "-p", folder / "p.jsonl", "--seed", "0",
        "--rejected", folder / "r.jsonl", "--position", "p,o", "--save-every", "17", "--quiet",
    ]  # fmt: skip


def read_outcome(folder):
    return [read_contents(folder / name) for name in ("m.npz", "p.jsonl", "r.jsonl")]


@pytest.fixture
def consume_reference(tmp_path):
    """A function that consumes a topic in one go and returns the outcome."""

    def consume_at_once(lines):
        folder = tmp_path / "reference"
        folder.mkdir()
        subprocess.run(consume_command(folder), input=b"".join(lines), check=True)
        return read_outcome(folder)

    return consume_at_once


def test_topic_redelivered_from_its_start_is_read_once(consume_reference, tmp_path, run):
    """Predictions and rejected rows keep their row numbers, and the model verifies."""
    lines, _ = generate_topic(random.Random(0), 3000, unreadable_share=6 / 3000)
    expected = consume_reference(lines)
    for messages in (lines[:1500], lines):
        subprocess.run(consume_command(tmp_path), input=b"".join(messages), check=True)
    (tmp_path / "topic.jsonl").write_bytes(b"".join(lines))

    assert read_outcome(tmp_path) == expected
    rejected = [json.loads(line) for line in expected[2].splitlines()]
    assert [lines[row["row"] - 1].decode().rstrip() for row in rejected] == [
        row["line"] for row in rejected
    ]
    run("verify", tmp_path / "m.npz", tmp_path / "topic.jsonl", check=0)


@pytest.mark.slow
def test_killed_consumer_reads_each_row_once(consume_reference, tmp_path, report_figure):
    """Each redelivery begins at a random row with a readable offset."""
    rng = random.Random(1)
    lines, is_readable = generate_topic(rng, 1500)
    expected, kills, runs = consume_reference(lines), 0, 0
    while kills < 12 * CASE_FACTOR:
        folder = tmp_path / str(runs)
        folder.mkdir()
        runs += 1
        code = None
        while code != 0:
            model = folder / "m.npz"
            n_read = LiveModel.load(model).cursor.read if model.exists() else 0
            start = rng.choice([*(i for i in range(n_read) if is_readable[i]), n_read])
            end = len(lines) if rng.random() < 0.2 else rng.randint(start, len(lines))
            process = subprocess.Popen(consume_command(folder), stdin=subprocess.PIPE)
            process.stdin.write(b"".join(lines[start:end]))
            process.stdin.flush()
            if end < len(lines) or rng.random() < 0.3:
                if end > n_read:
                    wait_for(model.exists, process)
                process.kill()
                kills += 1
                process.stdin.close()
            else:
                process.stdin.close()
            code = process.wait()
        assert read_outcome(folder) == expected

    report_figure(f"unreadable offsets: {kills} kills over {runs} runs, all identical")


@pytest.mark.parametrize("form", ["csv", "arrow", "file"])
def test_redelivered_rows_of_other_formats_are_read_once(form, tmp_path, run):
    """Row 3 has no offset, and rows 4 and 5 repeat rows 2 and 3."""
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
        new_writer = pa.ipc.new_stream if form == "arrow" else pa.ipc.new_file
        source.write_bytes(encode_ipc(table, 2, new_writer))

    result = run("learn", source, *options, "--rejected", tmp_path / "r.jsonl", check=0)

    figures = json.loads(result.stdout)
    assert (figures["samples"], figures["skipped"], figures["redelivered"]) == (3, 1, 2)
    (rejected,) = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert rejected["row"] == 3


def test_redelivered_rows_are_recognized_wherever_a_stream_is_split():
    """Random streams are split anywhere and redelivered from any row with a readable offset."""
    rng = random.Random(2)
    for _ in range(3000):
        offsets, highest = [], [0, 0]
        for i in range(rng.randrange(1, 15)):
            partition = rng.randrange(2)
            highest[partition] += 1
            is_readable = i == 0 or rng.random() < 0.5
            offsets.append(Offset((partition,), highest[partition]) if is_readable else None)
        split_at = rng.randrange(len(offsets) + 1)
        starts = [i for i in range(split_at) if offsets[i] is not None] + [split_at]
        start = rng.choice(starts)
        whole, split = Redeliveries(), Redeliveries()
        assert not any(map(whole.update, offsets))
        assert not any(map(split.update, offsets[:split_at]))
        split.begin_source()

        statuses = list(map(split.update, offsets[start:]))

        assert statuses == [True] * (split_at - start) + [False] * (len(offsets) - split_at)
        for redeliveries in (whole, split):
            redeliveries.begin_source()
        assert split == whole
