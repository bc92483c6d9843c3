"""Several passes over a text file: later passes read the same rows or end with an error."""

from __future__ import annotations

import os

import pytest
from helpers import capture_state, make_point_lines

from stream_perceptron import LiveModel, SourceError
from stream_perceptron.data import open_source
from stream_perceptron.live.files import identify_files
from stream_perceptron.live.loop import learn

HEADER, LINES = make_point_lines(12_000)
DATA = HEADER + b"".join(LINES)


# What replaces the file, and whether the run goes on.
CHANGES = {
    "fewer rows": (HEADER + b"".join(LINES[:9000]), False),
    "no rows": (HEADER, False),
    "nothing": (b"", False),
    "other labels": (DATA.rstrip().replace(b"left", b"Left"), False),
    "longer last row": (DATA.rstrip() + b"5\n", False),
    "blank lines": (DATA + b"\n\r\n", True),
    "other end of the last line": (DATA.rstrip() + b"\r\n", True),
}


def learn_while_replaced(source, data, passes, **options):
    """Learn a file that is replaced, unless `data` is None, during the first pass."""
    sources = [open_source(str(source))]
    live = LiveModel.start(sources, seed=0)
    results = learn(live, sources, passes=passes, **options)
    next(results)
    if data is not None:
        replacement = source.with_name("other")
        replacement.write_bytes(data)
        os.replace(replacement, source)
    for _ in results:
        pass
    return live


@pytest.mark.parametrize("change", CHANGES)
def test_file_changed_between_passes_is_an_error_unless_it_has_grown(change, tmp_path, run):
    source, outcomes = tmp_path / "s.csv", []
    data, is_same = CHANGES[change]
    for replacement in (None, data):
        source.write_bytes(DATA.rstrip())
        if replacement is not None and not is_same:
            with pytest.raises(SourceError, match=r"s.csv: the file has changed since the first"):
                learn_while_replaced(source, replacement, 2)
            return
        live = learn_while_replaced(source, replacement, 2)
        live.save(tmp_path / "m.npz")
        outcomes.append(capture_state(live.model))
        run("verify", tmp_path / "m.npz", source, check=0)

    assert outcomes[0] == outcomes[1]


def test_resumed_pass_detects_a_shorter_file(tmp_path):
    source, path = tmp_path / "s.csv", tmp_path / "m.npz"
    source.write_bytes(DATA)
    learn_while_replaced(source, None, 3, limit=15_000).save(path)
    live, sources = LiveModel.load(path), [open_source(str(source))]
    files = identify_files(live.history.files, sources, 3)
    source.write_bytes(CHANGES["fewer rows"][0])

    with pytest.raises(SourceError, match="has changed since the first pass"):
        list(learn(live, sources, files, passes=3))
