"""Records mean what the standard library reads in them."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from datetime import UTC

import pyarrow.parquet as pq
import pytest
from helpers import CASE_FACTOR, get_seeds
from random_tables import write_records
from record_oracle import RecordOracle

from stream_perceptron.data import ReadRequest, open_source
from stream_perceptron.errors import SourceError

FORMATS = {".libsvm": "libsvm"}  # a line may have only a label
CASES = 60
N_ROWS = 80


def list_records(path, categorical):
    """Return the rows of a Parquet file as JSON records; [] if a text is invalid UTF-8."""
    try:
        rows = pq.read_table(path).to_pylist()
    except UnicodeDecodeError:
        return []
    for row in rows:
        for name in set(categorical) & set(row):
            if getattr(row[name], "tzinfo", None):
                row[name] = row[name].astimezone(UTC)  # a category is named in UTC
    return [json.dumps(row, default=write_value) for row in rows]


def write_value(value):
    """Return the text of a date, a time or a decimal, in ISO 8601 without needless zeros."""
    if not hasattr(value, "isoformat"):
        return str(value)
    return re.sub(r"(\.\d*[1-9])0+", r"\1", value.isoformat().replace("+00:00", "Z"))


def read_rows(path, request):
    """Return each row: a reason, or the label, features and weight."""
    rows = []
    for batch in open_source(str(path), FORMATS.get(path.suffix)).batches(request):
        usable = zip(
            batch.list_labels(),
            batch.dicts(),
            batch.weights[batch.usable_rows].tolist(),
            strict=True,
        )
        rows += [
            batch.rejected[i] if i in batch.rejected else next(usable) for i in range(len(batch))
        ]
    return rows


@pytest.mark.parametrize(
    "form", ["csv", "objects", "nested", "paths", "lists of numbers", "libsvm", "parquet"]
)
def test_records_mean_what_the_standard_library_reads(form, tmp_path, monkeypatch):
    n_usable = 0
    for seed in get_seeds(CASES * CASE_FACTOR):
        rng = random.Random(f"{form}{seed}")
        max_features = rng.choice([3, 2**15])
        monkeypatch.setattr(
            "stream_perceptron.data.meaning.reader.MAX_STRING_FEATURES", max_features
        )
        path, records, columns, options = write_records(rng, form, N_ROWS, tmp_path)
        options = replace(options, position=())
        if form == "parquet":
            options = replace(options, scale=options.scale or 1.0)  # bytes would be scaled
            records = list_records(path, options.categorical)
            if not records:
                continue
        try:
            layout = open_source(str(path), FORMATS.get(path.suffix)).find_layout(
                ReadRequest(options)
            )
        except SourceError:
            continue
        oracle = RecordOracle(
            form if form in ("csv", "libsvm") else "json", options, columns, layout.key,
            layout.may_have_list_rows, max_features,
        )  # fmt: skip
        rows = read_rows(path, ReadRequest(options, keeps_zeros=True))
        for record, row in zip(records, rows, strict=True):
            expected = oracle.read(record)
            context = seed, record, options
            if expected is None:
                assert isinstance(row, str), (context, row)
                continue
            assert not isinstance(row, str), (context, row, expected)
            label, features, weight = row
            assert (label, weight) == (expected.label, expected.weight), context
            assert features == expected.features, context
            n_usable += 1
    assert n_usable > CASES * N_ROWS / 4
