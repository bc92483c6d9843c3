"""Columns and keys unknown to a model of a table, and missing columns."""

from __future__ import annotations

import pyarrow as pa
import pytest
from helpers import write_parquet

from stream_perceptron import LiveModel

WARNING = "warning: 'c' is not in the model and is ignored\n"

FORMS = {
    "csv": "a,b,c,label\n2,1,5,left\n1,2,5,right\n",
    "json": (
        '{"a": 2, "b": 1, "c": 5, "label": "left"}\n{"a": 1, "b": 2, "c": 6, "label": "right"}\n'
    ),
    "libsvm": "left a:2 b:1 c:5\nright a:1 b:2 c:6\n",
    "parquet": {
        "a": [2.0, 1.0],
        "b": [1.0, 2.0],
        "c": [5.0, 6.0],
        "label": ["left", "right"],
    },
}


@pytest.fixture
def model(tmp_path, run):
    path, source = tmp_path / "model.npz", tmp_path / "columns.csv"
    source.write_text("label,a,b\nleft,1,2\nright,2,1\n")
    run("learn", source, "-m", path, "--quiet", check=0)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_unknown_column_is_ignored_with_one_warning(form, model, tmp_path, run):
    """Weights and predictions equal those of the same rows without the column."""
    sources = []
    for name, without_c in (("more", False), ("same", True)):
        content, path = FORMS[form], tmp_path / name
        if form == "parquet":
            columns = {n: v for n, v in content.items() if not (without_c and n == "c")}
            write_parquet(path, columns)
        else:
            for part in (",c", ",5", ', "c": 5', ', "c": 6', " c:5", " c:6") if without_c else ():
                content = content.replace(part, "", 2)
            path.write_text(content)
        sources.append(path)
    predicted = [run("predict", path, "-m", model, check=0) for path in sources]
    weights = []
    for path in sources:
        model_copy = tmp_path / f"{path.name}.npz"
        model_copy.write_bytes(model.read_bytes())
        learned = run("learn", path, "-m", model_copy, "--quiet", check=0)
        weights.append(LiveModel.load(model_copy).model.weights.tobytes())
        assert learned.stderr == (WARNING if path == sources[0] else "")

    assert predicted[0].stdout == predicted[1].stdout
    assert [result.stderr for result in predicted] == [WARNING, ""]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("command", ["predict", "learn"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_table_without_a_one_hot_column_is_an_error(form, command, tmp_path, run):
    model, source, incomplete_source = tmp_path / "m.npz", tmp_path / "a.csv", tmp_path / "b"
    source.write_text("a,color,label\n1,red,x\n2,blue,y\n")
    run("learn", source, "-m", model, "--one-hot", "color", "--quiet", check=0)
    columns = {"a": [1.0], "label": ["x"]}
    if form == "parquet":
        write_parquet(incomplete_source, columns)
    else:
        incomplete_source.write_text("a,label\n1,x\n")
    before = model.read_bytes()
    result = run(command, incomplete_source, "-m", model, check=1)

    assert "'color'" in result.stderr
    assert result.stderr.count("\n") == 1
    assert model.read_bytes() == before


def test_declared_types_apply_before_the_first_value(tmp_path, run):
    """A Parquet column that begins with nulls is a feature from the first row."""
    model, source = tmp_path / "m.npz", tmp_path / "nulls.parquet"
    columns = {
        "a": pa.array([None, 1.0, 2.0]),
        "note": pa.array([None, None, "x"]),
        "label": ["x", "y", "x"],
    }
    write_parquet(source, columns)
    run("learn", source, "-m", model, "--limit", 1, "--quiet", check=0)
    schema = LiveModel.load(model).schema

    assert (schema.features, schema.texts, schema.untyped) == (("a",), ("note",), ())


def test_rows_without_a_feature_of_the_model_are_rejected(model, run):
    rows = '{"c": 5, "label": "left"}\n{"a": 1, "b": 1, "label": "left"}\n'
    result = run("learn", "-m", model, "--skip-bad", input=rows, check=0)

    assert "skipped: stdin: row 1: it has none of the model's features" in result.stderr
    assert LiveModel.load(model).progress.samples == 3
