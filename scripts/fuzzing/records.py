"""Random records, some of them damaged: the rows do not depend on the sizes of batches."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from random_tables import write_records

from stream_perceptron import SourceError
from stream_perceptron.data import ReadRequest, open_source
from stream_perceptron.model.rows import REJECTED

_FORMS = (
    "csv", "objects", "nested", "paths", "lists of numbers", "libsvm", "parquet", "vectors"
)  # fmt: skip
_BYTES = [b'"', b",", b"\n", b"\r", b"\\", b"{", b"}", b"[", b"]", b":", b"\xc3", b"\xff", b"e9"]


def run_case(rng: np.random.Generator, folder: Path) -> str:
    """Read a file of records in two ways."""
    draws = random.Random(int(rng.integers(2**32)))
    form = draws.choice(_FORMS)
    path, records, _, options = write_records(draws, form, 150, folder)
    if records:
        data = bytearray(path.read_bytes())
        for _ in range(draws.choice([0, 1, 20])):
            at = draws.randrange(len(data))
            data[at : at + draws.randrange(3)] = draws.choice(_BYTES)
        path.write_bytes(data)
    request = ReadRequest(options, to_learn=draws.random() < 0.7, keeps_zeros=draws.random() < 0.5)
    if not request.to_learn:
        request = replace(request, names=("a", "b", "1", "2"))
    try:
        open_source(str(path)).find_layout(request)
        whole = _read_rows(path, request, lambda: 10**6)
    except SourceError:
        return f"{form}, rejected"
    assert _read_rows(path, request, lambda: draws.randrange(1, 9)) == whole
    return form


def _read_rows(path: Path, request: ReadRequest, draw_size: Callable[[], int]) -> list[object]:
    rows: list[object] = []
    rejected: list[object] = []
    batches = open_source(str(path)).batches(request)
    for batch in batches:
        labels = batch.list_labels()
        usable = np.flatnonzero(batch.status < REJECTED).tolist()
        kept = [batch.passthrough[i] if batch.passthrough else () for i in usable]
        rows += zip(labels, map(repr, batch.dicts()), kept, strict=True)
        rejected += [batch.row_number(i) for i in sorted(batch.rejected)]
        batches.max_rows = draw_size()
    return [*rows, *rejected]
