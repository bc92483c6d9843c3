"""The identities of sources."""

from __future__ import annotations

import hashlib
import random

import pytest

from stream_perceptron.data.identity import Identity, TextDigest, TextPart


@pytest.mark.parametrize("seed", range(50))
def test_a_digest_is_that_of_the_first_bytes(seed):
    """Prefetched and skipped bytes do not matter."""
    rng = random.Random(seed)
    digest, data, ends, asked = TextDigest("f"), b"", [], 0
    for _ in range(rng.randrange(1, 30)):
        more = rng.randbytes(rng.randrange(40))
        if rng.random() < 0.4:
            digest.pass_over(memoryview(more))
        else:
            digest.add(memoryview(more))
            n_rows = min(len(more), rng.randrange(4))
            ends += sorted(len(data) + i + 1 for i in rng.sample(range(len(more)), n_rows))
        data += more
        while ends and rng.random() < 0.5:
            n = rng.randrange(1, len(ends) + 1)
            part = TextPart(digest, ends)[:n]
            asked, ends = asked + n, ends[n:]

            size = part.ends[-1]
            expected = Identity("f", size, hashlib.sha256(data[:size]).hexdigest())
            assert expected == part.identity
            assert expected == part.identity


def test_a_file_of_which_nothing_was_read_is_no_stream():
    assert not Identity.of_text("f").is_stream
    assert Identity.of_text("f") == Identity("g", 0, hashlib.sha256().hexdigest())
    assert Identity.of_stream("f").is_stream
