"""The features of rows, and the columns whose strings have added them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Features:
    """The features of rows, numbered in order of appearance.

    Attributes
    ----------
    names
        The names of the features; the ID of a feature is its index.
    string_columns
        The columns that have had strings, each with the number of features that these have added.
    added_strings
        What the rows of the last block have changed in `string_columns`: the row, the column and
        its new number of features.

    """

    def __init__(self, names: Iterable[str], string_columns: Mapping[str, int]) -> None:
        self.names = list(names)
        self.string_columns = dict(string_columns)
        self.added_strings: list[tuple[int, str, int]] = []

    def add_block(self, names: Iterable[str], counts: Iterable[tuple[int, str, int]]) -> None:
        """Add the features of a block, and the numbers of those that each row's strings added."""
        self.names += names
        self.added_strings = []
        for row, column, n in counts:
            self.add_strings(row, column, n)

    def add_strings(self, row: int, column: str, n: int) -> None:
        """Note that the strings of a column have added n features in a row."""
        self.string_columns[column] = self.string_columns.get(column, 0) + n
        self.added_strings.append((row, column, self.string_columns[column]))
