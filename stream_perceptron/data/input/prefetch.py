"""Prefetch items in a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_MAX_SILENCE = 0.1  # seconds without an item after which None is yielded
_MAX_END_WAIT = 0.5  # seconds to wait for the thread to end


def prefetch(items: Iterable[T]) -> Iterator[T | None]:
    """Yield items while a thread produces the next items, and None while no item is ready.

    An error in the thread is raised in place of the next item.

    Examples
    --------
    >>> list(prefetch(x * x for x in range(4)))
    [0, 1, 4, 9]

    """
    # These queues wait in C; `queue.Queue` costs a live pipe a tenth of a millisecond per row.
    results: queue.SimpleQueue[tuple[bool, T | BaseException | None]] = queue.SimpleQueue()
    slots: queue.SimpleQueue[bool] = queue.SimpleQueue()  # True for a free slot, False to end
    slots.put(True)  # read one item ahead
    is_closed = False

    def produce_items() -> None:
        try:
            for item in items:
                if not slots.get() or is_closed:
                    return
                results.put((True, item))
            results.put((False, None))
        except BaseException as error:
            results.put((False, error))

    # A daemon, because it may wait for a pipe forever.
    worker = threading.Thread(target=produce_items, daemon=True)
    worker.start()
    try:
        while True:
            try:
                is_item, value = results.get(timeout=_MAX_SILENCE)
            except queue.Empty:
                yield None
                continue
            if is_item:
                slots.put(True)
                yield value  # type: ignore[misc]
            elif value is None:
                return
            else:
                raise value  # type: ignore[misc]
    finally:
        is_closed = True
        slots.put(False)
        # At exit, the thread must not be running Arrow code.
        worker.join(_MAX_END_WAIT)
