"""Records mean the same in any blocks, and what the standard library reads in them."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from helpers import CASE_FACTOR, get_seeds
from random_records import COLUMNS, write_records
from record_oracle import RecordOracle

from stream_perceptron.data import Request, open_source
from stream_perceptron.data.batch import Redeliveries
from stream_perceptron.data.schema import Schema
from stream_perceptron.errors import SourceError

FORMS = ["csv", "flat", "features", "list", "libsvm", "arrow", "arrow list"]
FORMATS = {".libsvm": "libsvm"}  # a line may have only a label
CASES = 60
N_ROWS = 80


# Of a model that was trained on a table, and does not know all names.
SCHEMAS = {
    "flat": Schema(("a", "b"), texts=("text",), columns=("a", "b", "text", "label"), label="label"),
    "libsvm": Schema(("1", "2", "7"), texts=()),
}


def build_request(options, form, seed):
    request = Request(options)
    if form in SCHEMAS and seed % 4 == 0:
        schema = SCHEMAS[form]
        request = replace(request, schema=schema, names=schema.features)
    if options.position:
        request = replace(request, redeliveries=Redeliveries({("p",): 3}))
    return request


def read_rows(path, request, max_rows=10**9, resume_rate=0.0, rng=random):
    """Return every row with its schema, and all names; batches have random sizes up to `max_rows`.

    After some batches, reading continues with the schema and the names alone, as in another run.
    """
    batches, rows = open_source(str(path), FORMATS.get(path.suffix)).batches(request), []
    batches.max_rows = rng.randint(1, max_rows) if max_rows < N_ROWS else max_rows
    for batch in batches:
        n = len(batch.labels)
        missing = [0] * n if batch.missing is None else batch.missing.tolist()
        passthrough = batch.passthrough or [()] * n
        features, weights = batch.features.dicts(), batch.weights.tolist()
        n_added = np.bincount(batch.features.added_rows, minlength=n).tolist()
        usable = zip(batch.labels, features, weights, passthrough, missing, n_added, strict=True)
        for i in range(len(batch)):
            if i in batch.rejected:
                row = batch.rejected[i]
            elif batch.redelivered is not None and batch.redelivered[i]:
                row = "redelivered"
            else:
                row = next(usable)
            rows.append((batch.row_number(i), batch.offsets[i : i + 1], row, batch.schema))
        batches.max_rows = rng.randint(1, max_rows) if max_rows < N_ROWS else max_rows
        if rng.random() < resume_rate:
            columns = batches.columns
            state = replace(request, schema=columns.schema, names=columns.names)
            if request.redeliveries is not None:
                seen = Redeliveries(dict(request.redeliveries.offsets))
                for _, offsets, *_ in rows:
                    seen.update(*offsets)
                state = replace(state, redeliveries=seen)
            batches.reopen(state)
    return rows, batches.columns.names


@pytest.mark.parametrize("form", FORMS)
def test_records_mean_the_same_in_any_split(form, tmp_path):
    n_cases = 0
    for seed in get_seeds(CASES * CASE_FACTOR):
        rng = random.Random(f"{form}{seed}")
        path, options = write_records(rng, form, N_ROWS, tmp_path)
        request = build_request(options, form, seed)
        try:
            open_source(str(path), FORMATS.get(path.suffix)).open(request)
        except SourceError:
            continue
        whole = read_rows(path, request)
        for max_rows, resume_rate in ((1, 0.0), (30, 0.0), (10, 0.3)):
            request = build_request(options, form, seed)  # reading updates the offsets
            split = read_rows(path, request, max_rows, resume_rate, rng)
            assert split == whole, (seed, max_rows)
        n_cases += any(not isinstance(row, str) and row[1] for _, _, row, _ in whole[0])
    assert n_cases > CASES / 2


@pytest.mark.parametrize("form", ["csv", "flat", "features", "list", "libsvm"])
def test_records_mean_what_the_standard_library_reads(form, tmp_path):
    n_usable = 0
    for seed in get_seeds(CASES * CASE_FACTOR):
        rng = random.Random(f"{form}{seed}")
        path, options = write_records(rng, form, N_ROWS, tmp_path)
        options = replace(options, position=())
        lines = path.read_text().splitlines()[form == "csv" :]
        try:
            layout = open_source(str(path), FORMATS.get(path.suffix)).find_layout(Request(options))
        except SourceError:
            continue
        if layout.label is None and form != "libsvm":
            continue  # the first label decides
        oracle = RecordOracle(
            form if form in ("csv", "libsvm") else "json", options, COLUMNS, layout.key,
            layout.is_list, len(layout.members),
        )  # fmt: skip
        rows, _ = read_rows(path, Request(options, keeps_zeros=True))
        for line, (number, _, row, _) in zip([x for x in lines if x], rows, strict=True):
            expected = oracle.read(line)
            context = seed, number, line, options
            if expected is None:
                assert isinstance(row, str), (context, row)
                continue
            assert not isinstance(row, str), (context, row, expected)
            label, features, weight, *_ = row
            assert (label, weight) == (expected.label, expected.weight), context
            assert features == expected.features, context
            n_usable += 1
    assert n_usable > CASES * N_ROWS / 4
