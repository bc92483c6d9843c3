"""Items made in a thread before they are asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# Is called while something is waited for; returns the seconds until it must be called again.
Idle = Callable[[], float | None]

_DEPTH = 2
_PATIENCE = 0.1  # seconds between two looks whether anybody still wants the work


def prefetch(items: Iterable[T], idle: Idle | None = None) -> Iterator[T]:
    """Yield the items, while the next ones are made in a thread.

    What is raised in making them is raised here, after the items before.

    Examples
    --------
    >>> list(prefetch(x * x for x in range(4)))
    [0, 1, 4, 9]

    """
    made: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(_DEPTH)
    left = threading.Event()

    def hand_over(is_item: bool, value: T | BaseException | None) -> None:
        while not left.is_set():
            try:
                made.put((is_item, value), timeout=_PATIENCE)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                hand_over(True, item)
                if left.is_set():
                    return
            hand_over(False, None)
        except BaseException as error:
            hand_over(False, error)

    # A daemon, as it may be waiting for a pipe that is silent for ever.
    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while True:
            try:
                is_item, value = made.get(timeout=idle() if idle is not None else None)
            except queue.Empty:
                continue
            if is_item:
                yield value  # type: ignore[misc]
            elif value is None:
                return
            else:
                raise value  # type: ignore[misc]
    finally:
        left.set()
        # At exit a thread must not be in the midst of Arrow's code.
        worker.join(5 * _PATIENCE)
