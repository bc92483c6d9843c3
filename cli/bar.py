"""A bar that shows how much is done."""

from __future__ import annotations

_WIDTH = 20  # characters


def bar(share: float) -> str:
    """Return a bar for a share from 0 to 1, with the percentage."""
    return f"[{'#' * round(_WIDTH * share):<{_WIDTH}}] {share:>4.0%}"
