"""Classes of values that are made once and never changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a dataclass whose fields a type checker lets nobody assign; equal is what is the same.

    `dataclass(frozen=True)` sees to that at run time, and makes a large object in five times the
    time; a live pipe makes several for each row.

    Examples
    --------
    >>> @frozen
    ... class Point:
    ...     x: float
    ...     y: float = 0.0
    >>> Point(1.0).y
    0.0

    """
    return dataclass(eq=False, repr=False)(cls)
