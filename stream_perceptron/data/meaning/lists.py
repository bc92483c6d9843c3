"""The lists of numbers that hold the features of rows."""

from __future__ import annotations

from dataclasses import replace

from stream_perceptron.data.layout import Layout
from stream_perceptron.data.request import ReadRequest
from stream_perceptron.encoders import name_vector_elements
from stream_perceptron.errors import SourceError


class Lists:
    """Whether rows are lists of numbers, and the names of their elements.

    Attributes
    ----------
    layout
        The layout of the source, with the names of the elements once they are known.
    next_layout
        The layout of the next rows if the next one shows that rows are lists; else None.
    is_undecided
        Whether the first row to be learned decides if rows are lists.

    """

    def __init__(
        self, layout: Layout, request: ReadRequest, source_name: str, is_raw: bool
    ) -> None:
        self.layout = layout
        self.next_layout: Layout | None = None
        may_have_list_rows = layout.may_have_list_rows and request.schema.is_list is not False
        self.is_undecided = may_have_list_rows and request.to_learn and not is_raw
        self._known_names, self._max_elements = (
            request.schema.element_names,
            request.max_list_elements,
        )
        self._source_name = source_name

    def decide_rows_are_lists(self, key: str, n: int) -> None:
        """Note that rows are lists of n numbers under a key."""
        names = self._name_elements(key, n)
        self.next_layout = replace(self.layout, key=key, element_names=names)

    def name_elements(self, n: int) -> tuple[str, ...]:
        """Return the names of the n elements of the list; none if they had names before."""
        if self.layout.element_names or self.layout.key is None:
            return ()
        names = self._name_elements(self.layout.key, n)
        self.layout = replace(self.layout, element_names=names)
        return names

    def _name_elements(self, key: str, n: int) -> tuple[str, ...]:
        subject = f"{self._source_name}: list {key!r}"
        if n > self._max_elements:
            raise SourceError(f"{subject} has {n:,} values, more than a model may have")
        names = name_vector_elements(key, n)
        if self._known_names and set(self._known_names) != set(names):
            raise SourceError(f"{subject} does not hold the model's features")
        return self._known_names or names
