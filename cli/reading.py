"""Sources of commands that learn nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from .signals import Signals

if TYPE_CHECKING:
    from stream_perceptron import LiveModel
    from stream_perceptron.data.batch import Batch


def batches_of(
    source: str, file_format: str | None, live: LiveModel, signals: Signals, most: int | None = None
) -> Iterator[Batch]:
    """Yield the rows of a source that is to be predicted; a signal ends every wait for them."""
    from stream_perceptron.data.opening import open_source

    opened = signals.call(partial(open_source, source, file_format, signals.wait), [source])
    # What came through a pipe is nowhere else; the waiting ends there.
    idle = None if opened.is_stream else signals.check
    # Closed before Python ends, as a thread reads ahead for it.
    with closing(live.batches(opened, most, idle)) as batches:
        yield from batches
