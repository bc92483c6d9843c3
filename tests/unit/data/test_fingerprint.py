"""Fingerprints of sources."""

from __future__ import annotations

import gzip
import hashlib
import os
import random
import threading
from dataclasses import replace

import pytest

from stream_perceptron.data.fingerprint import FileState, Fingerprint
from stream_perceptron.data.opening import open_source
from stream_perceptron.data.request import Request
from stream_perceptron.data.text.prefix import PrefixHasher
from stream_perceptron.errors import SourceError


@pytest.mark.parametrize("open_function", [open, gzip.open])
def test_prefix_fingerprint_is_right_while_the_file_grows(open_function, tmp_path):
    rng, path = random.Random(0), tmp_path / "rows"
    data = rng.randbytes(2000)
    with open_function(path, "wb") as file:
        file.write(data[:1000])
    hasher, size = PrefixHasher(str(path)), 0
    if open_function is open:
        with path.open("ab") as file:
            file.write(data[1000:])
    while size < (2000 if open_function is open else 1000):
        size = min(size + rng.randrange(300), 2000 if open_function is open else 1000)
        expected = Fingerprint("other name", size, hashlib.sha256(data[:size]).hexdigest())

        assert hasher.identify(size) == expected


def test_replaced_file_keeps_its_fingerprint(tmp_path):
    path, replacement = tmp_path / "rows", tmp_path / "other"
    path.write_bytes(b"1\n2\n")
    replacement.write_bytes(b"3\n4\n")
    hasher = PrefixHasher(str(path))
    replacement.replace(path)

    assert hasher.identify(4).digest == hashlib.sha256(b"1\n2\n").hexdigest()


@pytest.mark.parametrize("content", [b"1\n", b"3\n4\n"], ids=["shorter", "other bytes"])
def test_file_changed_in_place_has_no_digest(content, tmp_path):
    path = tmp_path / "rows"
    path.write_bytes(b"1\n2\n")
    hasher = PrefixHasher(str(path))
    path.write_bytes(content)
    os.utime(path, ns=(0, 1))
    fingerprint = hasher.identify(4)

    assert fingerprint.has_changed
    assert not fingerprint.is_stream


def test_unread_file_is_not_a_stream():
    assert not Fingerprint.of_unread("f").is_stream
    assert Fingerprint.of_unread("f") == Fingerprint("g", 0, hashlib.sha256().hexdigest())
    assert Fingerprint.of_stream("f").is_stream


def test_append_in_progress_is_not_a_change(tmp_path):
    """The modification time of a growing file may change before its size does."""
    path = tmp_path / "rows"
    path.write_bytes(b"1\n2\n")
    hasher = PrefixHasher(str(path))
    os.utime(path, ns=(0, 1))

    def append():
        with path.open("ab") as file:
            file.write(b"3\n")

    writer = threading.Timer(0.005, append)
    writer.start()
    fingerprint = hasher.identify(4)
    writer.join()

    assert fingerprint.digest == hashlib.sha256(b"1\n2\n").hexdigest()


def test_file_replaced_before_it_is_read_is_an_error(tmp_path):
    path, replacement = tmp_path / "rows.csv", tmp_path / "other"
    path.write_bytes(b"a,y\n1,u\n")
    replacement.write_bytes(b"a,y\n2,v\n")
    source = open_source(str(path))
    (known_fingerprint,) = source.find_matching(source.fingerprints())
    replacement.replace(path)

    with pytest.raises(SourceError, match="another file has replaced it"):
        next(
            source.batches(
                Request(known_fingerprint=known_fingerprint, start=1, offset=known_fingerprint.size)
            )
        )


def test_recent_modification_time_is_cleared(tmp_path):
    path = tmp_path / "rows"
    path.touch()
    recent_state = FileState.of(str(path))
    os.utime(path, ns=(0, recent_state.time - 10**10))
    old_state = FileState.of(str(path))

    assert recent_state.clear_recent_time() == replace(recent_state, time=0)
    assert old_state.clear_recent_time() == old_state
