"""Prefetch: a thread that makes items ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

from stream_perceptron.data.byte_stream import Idle, Interrupt

T = TypeVar("T")

_DEPTH = 2
_MAX_END_WAIT = 0.5  # seconds to wait for the thread's end
_CHECK_INTERVAL = 0.1  # seconds between two checks for an interrupt


def prefetch(
    items: Iterable[T], idle: Idle | None = None, interrupt: Interrupt | None = None
) -> Iterator[T]:
    """Yield items while a thread makes the next ones.

    An error in making an item is raised here in its place. After an interrupt, if one is given, the
    items end with the first one that is not ready.

    Examples
    --------
    >>> list(prefetch(x * x for x in range(4)))
    [0, 1, 4, 9]

    """
    # These queues wait in C; `queue.Queue` costs a live pipe a tenth of a millisecond a row.
    made: queue.SimpleQueue[tuple[bool, T | BaseException | None]] = queue.SimpleQueue()
    places: queue.SimpleQueue[bool] = queue.SimpleQueue()  # True for a free place, False to end
    for _ in range(_DEPTH):
        places.put(True)
    is_left = False

    def wait_at_most() -> float | None:
        seconds = None if idle is None else idle()
        if interrupt is None:
            return seconds
        return _CHECK_INTERVAL if seconds is None else min(seconds, _CHECK_INTERVAL)

    def work() -> None:
        try:
            for item in items:
                if not places.get() or is_left:
                    return
                made.put((True, item))
            made.put((False, None))
        except BaseException as error:
            made.put((False, error))

    # A daemon, because it may wait for a pipe for ever.
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while True:
            try:
                is_item, value = made.get(timeout=wait_at_most())
            except queue.Empty:
                if interrupt is not None and interrupt.is_set:
                    return
                continue
            if is_item:
                places.put(True)
                yield value  # type: ignore[misc]
            elif value is None:
                return
            else:
                raise value  # type: ignore[misc]
    finally:
        is_left = True
        places.put(False)
        # At exit the thread must not be within Arrow's code.
        worker.join(_MAX_END_WAIT)
