"""Parquet files: columns that are not used, and rows of very different lengths."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_parquet

from stream_perceptron import LiveModel, StreamPerceptronError
from stream_perceptron.data import open_source

N = 6000


@pytest.fixture(params=["page header", "values"])
def with_damaged_column(request, tmp_path):
    """A file whose column `note` cannot be decoded, from its first or from a later row on."""
    path = tmp_path / "damaged.parquet"
    notes = [f"note {i}" for i in range(N)]
    columns = {"a": np.arange(N) % 7.0, "note": notes, "label": ["x", "y"] * (N // 2)}
    write_parquet(path, columns, use_dictionary=False, compression="none")
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    start = chunk.data_page_offset
    if request.param == "values":
        start += chunk.total_compressed_size // 2
    data[start : start + 400] = b"\xff" * 400
    path.write_bytes(data)
    return path


def test_columns_that_are_not_used_are_not_decoded(with_damaged_column, tmp_path, run):
    run("learn", with_damaged_column, "-m", tmp_path / "m.npz", "--quiet", check=0)
    kept = run("learn", with_damaged_column, "-p", "-", "--keep", "note", "--quiet")

    assert LiveModel.load(tmp_path / "m.npz").progress.samples == N
    assert kept.returncode == 1
    assert "damaged after row" in kept.stderr


def test_rejected_rows_keep_the_columns_that_are_not_used(tmp_path, run):
    columns = {"a": [1.0, float("nan"), 2.0], "note": ["p", "q", "r"], "label": ["x", "y", "x"]}
    source = write_parquet(tmp_path / "s.parquet", columns)

    run("learn", source, "--rejected", tmp_path / "rejected.jsonl", "--quiet", check=0)

    (line,) = (tmp_path / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["values"] == {"a": "nan", "note": "q", "label": "y"}


def test_notes_name_texts_that_are_not_used_and_may_have_categories(tmp_path, run):
    columns = {
        "colour": ["red", "blue"] * 300,
        "label": ["x", "y"] * 300,
        "a.b": ["long " * 20_000] * 600,
        "a": [{"b": 1.0}] * 600,
        "n": [1.0, 2.0] * 300,
    }
    source = write_parquet(tmp_path / "s.parquet", columns)

    result = run("learn", source, check=0)

    assert "1 feature, standardized: n\n" in result.stderr
    assert "ignored (text): colour, a.b; to use them: --one-hot colour --words a.b" in result.stderr


@pytest.mark.parametrize("groups", [1, 7])
@pytest.mark.parametrize("seed", range(4))
def test_lists_of_any_lengths_are_read_as_at_once(seed, groups, tmp_path, run):
    """Every row has the length of the first one, or is rejected."""
    rng = np.random.default_rng(seed)
    kinds = [[0, 3, 4], [3, 3, 3, 50_000], [0, 0, 3, 2000]]
    lengths = np.concatenate([[3], *(rng.choice(kinds[i % 3], 300) for i in range(9))])
    lists = [rng.normal(size=length).round(2) for length in lengths]
    labels = rng.choice(["x", "y"], len(lengths)).tolist()
    source = write_parquet(
        tmp_path / "s.parquet", {"v": lists, "label": labels},
        row_group_size=len(lengths) // groups,
    )  # fmt: skip
    fitting = [i for i, length in enumerate(lengths) if length == 3]
    plain = {"v": [lists[i] for i in fitting], "label": [labels[i] for i in fitting]}
    expected = write_parquet(tmp_path / "plain.parquet", plain)
    for path in (source, expected):
        run("learn", path, "-m", path.with_suffix(".npz"), "--skip-bad", "--quiet", check=0)

    learned, model = (LiveModel.load(path.with_suffix(".npz")) for path in (source, expected))
    assert learned.model.weights.tobytes() == model.model.weights.tobytes()
    assert learned.progress.skipped == len(lengths) - len(fitting)


def test_decoded_lists_stay_within_a_batch(tmp_path):
    """The metadata shows that longer lists follow, before the first one is decoded."""
    from stream_perceptron.data.arrow.parquet import ParquetSource

    lengths = [2] * 10 + [0] * 3000 + [200_000] * 300 + [0] * 700
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    lists = pa.LargeListArray.from_arrays(offsets, np.zeros(offsets[-1]))
    labels = ["x", "y"] * (len(lengths) // 2)
    source = write_parquet(tmp_path / "s.parquet", {"v": lists, "label": labels})

    parquet = ParquetSource(str(source))
    batches = list(parquet._read([0], 0, 0, [0, 1]))

    assert sum(batch.num_rows for batch in batches) == len(lengths)
    assert max(batch.nbytes for batch in batches) < 2**26


@pytest.mark.parametrize("value", [0, 21, 255])
def test_a_file_with_a_damaged_byte_in_its_footer_is_read_or_refused(value, tmp_path):
    columns = {"a": np.arange(20.0), "note": list("abcd" * 5), "label": ["x", "y"] * 10}
    path = write_parquet(tmp_path / "s.parquet", columns)
    whole = path.read_bytes()
    length = int.from_bytes(whole[-8:-4], "little")

    errors = []
    for i in range(len(whole) - 8 - length, len(whole) - 8):
        path.write_bytes(whole[:i] + bytes([value]) + whole[i + 1 :])
        try:
            sources = [open_source(str(path))]
            live = LiveModel.start(sources, seed=0)
            list(live.run(sources, live.resume(sources), skip_rejected=True))
        except StreamPerceptronError as error:
            errors.append(str(error))

    assert 0 < len(errors) < length
    assert not any("\n" in error for error in errors)
