"""Arrow files written by Polars and PyArrow, on the command line."""

from __future__ import annotations

import pyarrow as pa
import pytest

from stream_perceptron.live.model import LiveModel


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
@pytest.mark.parametrize("is_pipe", [False, True])
@pytest.mark.parametrize("compression", ["uncompressed", "zstd"])
def test_arrow_files_of_polars_and_pyarrow_are_learned(
    library, is_pipe, compression, tmp_path, run
):
    path, model = tmp_path / "f.arrow", tmp_path / "m.npz"
    columns = {"a": [float(i) for i in range(300)], "label": ["x", "y", "x"] * 100}
    if library == "polars":
        import polars

        polars.DataFrame(columns).write_ipc(path, compression=compression)
    else:
        table = pa.table(columns)
        codec = None if compression == "uncompressed" else compression
        options = pa.ipc.IpcWriteOptions(compression=codec)
        with pa.ipc.new_file(str(path), table.schema, options=options) as writer:
            writer.write_table(table, 100)
    for limit in (120, 300):
        if is_pipe:
            with path.open("rb") as file:
                options = ["--overwrite", "--limit", limit]
                run("learn", "-m", model, "--quiet", *options, stdin=file, check=0)
        else:
            run("learn", path, "-m", model, "--quiet", "--limit", limit, check=0)

    assert LiveModel.load(model).progress.samples == 300
