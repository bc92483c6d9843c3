"""Several passes over a text file: later passes read the same rows or end with an error."""

from __future__ import annotations

import os

import pytest
from helpers import make_point_lines, read_contents

from stream_perceptron import LiveModel, SourceError
from stream_perceptron.data import open_source

HEADER, LINES = make_point_lines("csv", 12_000)
DATA = HEADER + b"".join(LINES)

CHANGES = {
    "fewer rows": HEADER + b"".join(LINES[:9000]),
    "no rows": HEADER,
    "nothing": b"",
}
GROWTHS = {"more rows": DATA + b"".join(LINES[:100]), "blank lines": DATA + b"\n\r\n"}


def learn_while_replaced(source, data, passes, **options):
    """Learn a file that is replaced, unless `data` is None, during the first pass."""
    sources = [open_source(str(source))]
    live = LiveModel.start(sources, seed=0)
    results = live.run(sources, live.plan_run(sources), passes=passes, **options)
    next(results)
    if data is not None:
        replacement = source.with_name("other")
        replacement.write_bytes(data)
        os.replace(replacement, source)
    for _ in results:
        pass
    return live


@pytest.mark.parametrize("passes", [2, 3])
@pytest.mark.parametrize("change", CHANGES)
def test_file_shortened_between_passes_is_an_error(change, passes, tmp_path):
    source = tmp_path / "s.csv"
    source.write_bytes(DATA)

    with pytest.raises(SourceError, match=r"s.csv: the file has changed since the first pass"):
        learn_while_replaced(source, CHANGES[change], passes)


@pytest.mark.parametrize("growth", GROWTHS)
def test_rows_added_during_a_run_are_left_to_the_next(growth, tmp_path, run):
    outcomes = []
    for name, data in (("same", None), ("grown", GROWTHS[growth])):
        source, model = tmp_path / "s.csv", tmp_path / f"{name}.npz"
        source.write_bytes(DATA)
        live = learn_while_replaced(source, data, 2)
        live.save(model)
        outcomes.append(read_contents(model))
        run("verify", model, source, check=0)

    assert outcomes[0] == outcomes[1]
    assert live.progress.rows == 24_000


@pytest.mark.parametrize(("appended", "is_same"), [(b"\n", True), (b"\r\n", True), (b"5\n", False)])
def test_last_line_may_gain_a_newline_between_passes(appended, is_same, tmp_path):
    source = tmp_path / "s.csv"
    source.write_bytes(DATA.rstrip())
    if is_same:
        assert learn_while_replaced(source, DATA.rstrip() + appended, 2).progress.rows == 24_000
    else:
        with pytest.raises(SourceError, match="has changed since the first pass"):
            learn_while_replaced(source, DATA.rstrip() + appended, 2)


def test_resumed_pass_detects_a_shorter_file(tmp_path):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_bytes(DATA)
    learn_while_replaced(source, None, 3, limit=15_000).save(path)
    live, sources = LiveModel.load(path), [open_source(str(source))]
    plan = live.plan_run(sources)
    source.write_bytes(CHANGES["fewer rows"])

    with pytest.raises(SourceError, match="has changed since the first pass"):
        list(live.run(sources, plan, passes=3))
