"""Classes of values that are made once and never changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def frozen(cls: type[T]) -> type[T]: ...
@overload
def frozen(*, eq: bool) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(eq_default=False, frozen_default=True, field_specifiers=(field,))
def frozen(cls: Any = None, *, eq: bool = False) -> Any:
    """Make a dataclass whose fields a type checker lets nobody assign.

    `dataclass(frozen=True)` sees to that at run time, and makes a large object in five times the
    time; a live pipe makes several for each row.

    Parameters
    ----------
    cls
        The class.
    eq
        Whether two objects with equal fields are equal, and `repr` shows the fields. If not, an
        object equals only itself.

    Examples
    --------
    >>> @frozen(eq=True)
    ... class Point:
    ...     x: float
    ...     y: float = 0.0
    >>> {Point(1.0): "a point"}[Point(1.0, 0.0)]
    'a point'

    """
    make = dataclass(eq=eq, unsafe_hash=eq, repr=eq)
    return make if cls is None else make(cls)
