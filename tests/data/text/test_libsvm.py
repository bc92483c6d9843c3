"""Records of LIBSVM: their samples and rejections."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("text", "features", "labels"),
    [
        ("+1 1:0.5 3:2 # a comment\n-1\n1:7\n", [{"1": 0.5, "3": 2}, {}, {"1": 7}], [1, -1, None]),
        ("1 0:5\n", [{"0": 5}], [1]),
    ],
)  # fmt: skip
def test_what_lines_say(text, features, labels, require_said):
    require_said(text, features, labels)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 1:2\n1 2\n", "it is not LIBSVM: '2' is not an index:value pair"),
    ],
)
def test_what_is_wrong_with_lines(text, reason, require_wrong):
    require_wrong(text, reason)
