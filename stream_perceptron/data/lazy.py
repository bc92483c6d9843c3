"""Properties that are computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class lazy_property(Generic[T]):  # noqa: N801, used as a decorator
    """A property that is computed when it is first read.

    It is `functools.cached_property` without the lock that Python 3.12 removed: one lock for all
    objects of a class makes threads wait for each other. If two threads first read the property
    at the same time, both compute it.

    Examples
    --------
    >>> class Square:
    ...     def __init__(self, side):
    ...         self.side = side
    ...     @lazy_property
    ...     def area(self):
    ...         return self.side**2
    >>> square = Square(3)
    >>> square.area, vars(square)
    (9, {'side': 3, 'area': 9})

    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> lazy_property[T]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object, owner: type) -> object:
        if instance is None:
            return self
        # From now on, the attribute of the object takes precedence over this descriptor.
        value = vars(instance)[self._name] = self._compute(instance)
        return value
