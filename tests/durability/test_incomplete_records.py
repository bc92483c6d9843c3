"""A record that is incomplete, because its file or pipe pauses within it, is learned later."""

from __future__ import annotations

import random
import subprocess

import pytest
from helpers import CASE_FACTOR, COMMAND, count_unread_bytes, get_seeds, load_outcome, wait_for

CELLS = ["one\nand two", "\nbegins so\n", 'says ""yes"", then\n""no""', '""', "a,b\n\n\n"]


def draw_table(rng):
    """Return the header and the records of a CSV table; the text of most records has newlines."""
    newline, quoted_name = rng.choice(["\n", "\r\n"]), rng.random() < 0.5
    header = '"the\ntext",a,label' if quoted_name else "text,a,label"
    records = [f"{header}{newline}"]
    for i in range(4):
        text = rng.choice(CELLS).replace("\n", newline)
        records.append(f'"{text}",{i},{"uv"[i % 2]}{newline}')
    return [record.encode() for record in records]


def find_cuts(records):
    """Return the places within the quoted cells of the records, as numbers of bytes."""
    cuts, begin = [], 0
    for record in records:
        end = record.rfind(b'"')
        cuts += range(begin + 1, begin + max(end, 0) + 1)
        begin += len(record)
    return cuts


@pytest.mark.parametrize("seed", get_seeds(2 * CASE_FACTOR))
def test_file_that_grows_within_a_quoted_cell_is_learned_once(seed, tmp_path, run):
    records = draw_table(random.Random(seed))
    whole, source, model = (tmp_path / name for name in ("whole.csv", "s.csv", "m.npz"))
    predictions, rejected = tmp_path / "p.jsonl", tmp_path / "rejected"
    options = ["--skip-bad", "--seed", "0"]
    whole.write_bytes(b"".join(records))
    run("learn", whole, "-m", tmp_path / "w.npz", "-p", tmp_path / "w.jsonl", *options, check=0)
    expected = load_outcome(tmp_path / "w.npz"), (tmp_path / "w.jsonl").read_bytes()
    for cut in find_cuts(records):
        source.write_bytes(whole.read_bytes()[:cut])
        files = ["-m", model, "-p", predictions, "--rejected", rejected]
        first = run("learn", source, *files, *options)
        has_header = cut > len(records[0])
        assert first.returncode == (0 if has_header else 1), (cut, first.stderr)
        assert ("its first row ends within a quoted cell" in first.stderr) != has_header
        assert ("are left for a later run" in first.stderr) == has_header
        with source.open("ab") as file:
            file.write(whole.read_bytes()[cut:])
        run("learn", source, *files, *options, check=0)

        assert (load_outcome(model), predictions.read_bytes()) == expected, cut
        assert rejected.read_bytes() == b""
        run("verify", model, source, check=0)
        for path in tmp_path.glob("[mpr]*"):
            path.unlink()


@pytest.mark.parametrize("seed", get_seeds(3 * CASE_FACTOR))
def test_pipe_that_pauses_within_a_quoted_cell_is_learned_once(seed, tmp_path):
    rng = random.Random(seed)
    records = draw_table(rng)
    data, outcomes = b"".join(records), []
    cuts = sorted(rng.sample(find_cuts(records), 3))
    for name, pauses in (("whole", []), ("pauses", cuts)):
        model = tmp_path / f"{name}.npz"
        command = [COMMAND, "learn", "-m", model, "-p", tmp_path / name, "-q", "--seed", "0"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            for begin, end in zip([0, *pauses], [*pauses, len(data)], strict=True):
                process.stdin.write(data[begin:end])
                process.stdin.flush()
                wait_for(lambda: count_unread_bytes(process.stdin.fileno()) == 0, process)
            process.stdin.close()
            errors = process.stderr.read()
        assert process.returncode == 0, errors
        outcomes.append((load_outcome(model), (tmp_path / name).read_bytes()))

    assert outcomes[0] == outcomes[1]
