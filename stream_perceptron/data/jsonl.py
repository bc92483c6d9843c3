"""Lines of JSON and of LIBSVM as rows, each parsed by itself.

Python's JSON parser is as fast on a block of samples as Arrow's, much faster on a single line, and
lets each line have its own keys. River's LIBSVM parser is a split at colons behind an import of
seconds; a test compares the two.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stream_perceptron.data.batch import Place, Rows, place_of
from stream_perceptron.data.byte_stream import LONGEST_LINE, TOO_LONG
from stream_perceptron.data.columns import names_in, vector_names
from stream_perceptron.data.schema import LABEL_NAMES, Schema, described
from stream_perceptron.errors import SampleError
from stream_perceptron.model.features import NamedRows
from stream_perceptron.model.validation import as_values, as_weight
from stream_perceptron.model.vocabulary import natural_order

__all__ = ["NESTED", "JsonLayout", "decoded"]

NESTED = "features"
_BARE = "x"  # says no more than no name
_LONGEST_REASON = 300
_FLOAT64 = np.dtype(np.float64)


class JsonLayout:
    """How lines of JSON are read.

    The features are the object under "features", else the one list, which may be nested, else all
    numbers and bools; a line may also be just a list. The first row decides, also which keys hold
    texts. Features that have names of their own may be absent from a row, and new ones may come,
    unless the model was made from columns. A bare list, or one called x, has the names that the
    model knows.

    Parameters
    ----------
    schema
        What to take.
    where
        The source's name, for errors.

    """

    is_text: ClassVar[bool] = False
    may_be_empty: ClassVar[bool] = False

    def __init__(self, schema: Schema, where: str) -> None:
        self.schema = schema
        self.where = where
        self.label = schema.label
        self._scale = 1.0 if schema.scale is None else schema.scale
        self._key: str | None = None  # of the object or the list; "" if the row is the object
        self._is_vector = False
        self._names: tuple[str, ...] = ()
        self._last: tuple[str, ...] = ()  # so that equal names are mostly the same
        self._known = frozenset(schema.features or ())
        self._ignored: dict[str, str] = {}

    def describe(self) -> list[str]:
        """Say in a few lines what is used and what is not, once rows were read."""
        source = f" from {self._key!r}" if self._key else ""
        title = f"{len(self._names):,} feature{'s' * (len(self._names) != 1)}"
        if self.schema.texts is not None:
            title += " in the first row, others as they come"
        return described(
            self.schema, self._names, title, source, [self._scale], self.label, self._ignored
        )

    def rows(self, batch: pa.RecordBatch, until_bad: bool = False) -> Rows:
        """Return the rows that the lines of a batch hold; see `Layout.rows`."""
        n = batch.num_rows
        index: list[int] = []
        names: list[tuple[str, ...]] = []
        values: list[NDArray[np.float64]] = []
        labels: list[Any] = [None] * n
        weights: list[float] = []
        places: list[Place | None] = [None] * n
        bad: dict[int, str] = {}
        for i, line in enumerate(batch.column(0).to_pylist()):
            try:
                value = self._value(line)
                if self.schema.position:
                    of_position = [value.get(name) for name in self.schema.position]
                    places[i] = place_of(self.schema.position, of_position, i, bad)
                    if places[i] is None:
                        raise SampleError(bad[i])
                label = self._take_label(value)
                weight = self._take_weight(value)
                row_names, row = self._features(value)
            except SampleError as error:
                bad[i] = str(error)[:_LONGEST_REASON]
                if until_bad:
                    break
                continue
            index.append(i)
            names.append(row_names)
            values.append(row)
            labels[i] = label
            weights.append(weight)
        labels = self.schema.labels_of(labels, self.is_text, bad, until_bad)
        kept = [j for j, i in enumerate(index) if i not in bad]
        rows = NamedRows(names, values)[np.array(kept, np.intp)]
        return Rows(
            index=np.array(index, np.intp)[kept],
            X=np.stack(rows.values) if self._is_vector and kept else rows,
            features=self.schema.features if self._is_vector else None,
            labels=[labels[index[j]] for j in kept],
            weights=np.array(weights)[kept],
            bad=bad,
            places=places if self.schema.position else [],
        )

    def _value(self, line: bytes | None) -> dict[str, Any]:
        """Return the object in a line, a bare list as the value of a key."""
        try:
            text = decoded(line)
            value = json.loads(text)
            if "\\u" in text:
                # Half of a surrogate pair can be escaped, but not written anywhere.
                json.dumps(value, ensure_ascii=False).encode()
        except UnicodeError:
            raise SampleError("it is not UTF-8") from None
        except RecursionError:
            raise SampleError("it is nested too deeply") from None
        except ValueError as error:
            raise SampleError(f"it is not JSON: {error}") from None
        if isinstance(value, list):
            return {_BARE: value}
        if not isinstance(value, dict):
            raise SampleError(f"it is {text.strip()[:50]}, not an object or a list")
        return value

    def _take_label(self, value: dict[str, Any]) -> Any:
        name = self.schema.label
        if name is None:
            roles = self.schema.roles
            names = [name for name in LABEL_NAMES if name in value and name not in roles]
            if len(names) > 1:
                raise SampleError(
                    f"{names_in(names)} could each be the label: choose with --label, and "
                    "--ignore the others"
                )
            if not names:
                return None
            self.label = name = names[0]
        label = value.pop(name, None)
        if isinstance(label, list | dict):
            raise SampleError(f"label {name!r} is not a number, a text or a bool")
        return label

    def _take_weight(self, value: dict[str, Any]) -> float:
        weight = value.pop(self.schema.weight, None) if self.schema.weight else None
        return 1.0 if weight is None else as_weight(weight)

    def _features(self, value: dict[str, Any]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Return the names and the scaled values of a row's features."""
        for name in self.schema.roles:
            value.pop(name, None)
        if self._key is None:
            self._decide(value)
        features = value.get(self._key) if self._key else value
        if not isinstance(features, list if self._is_vector else dict):
            raise SampleError(f"it has no {'list' if self._is_vector else 'object'} {self._key!r}")
        row = self._of_list(features) if isinstance(features, list) else self._of_object(features)
        if self._scale != 1.0:
            row = row[0], row[1] * self._scale
            if not np.isfinite(row[1]).all():
                raise SampleError("a feature is not finite when it is scaled")
        return row

    def _decide(self, value: dict[str, Any]) -> None:
        """Let the first row say where the features are."""
        lists = [name for name, part in value.items() if isinstance(part, list)]
        if isinstance(value.get(NESTED), dict):
            self._key = NESTED
        elif len(lists) > 1:
            raise SampleError(
                f"lists {names_in(lists)} could each be the features: drop all but one with "
                "--ignore"
            )
        elif lists and self.schema.texts is None:
            self._key, self._is_vector = lists[0], True
        elif value:
            self._key = ""
        else:
            raise SampleError("it has no features")
        if self._key:
            others = [name for name in value if name != self._key]
            self._ignored |= {name: type(value[name]).__name__ for name in others}

    def _of_list(self, cells: list[Any]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        while cells and all(isinstance(cell, list) for cell in cells):
            cells = list(chain.from_iterable(cells))
        known = self.schema.features
        if known is not None and len(cells) != len(known):
            raise SampleError(f"list {self._key!r} has {len(cells):,} values, not {len(known):,}")
        if not cells:
            raise SampleError(f"list {self._key!r} is empty")
        names = self._names
        if not names:
            names = vector_names(self._key or "", len(cells))
            if known is not None and self._key == _BARE:
                names = known
        row = as_values(names, cells, _FLOAT64)[0]
        if not self._names:
            self.schema.fix_features(names, self.where)
            self._names = names
        return names, row

    def _of_object(self, x: dict[str, Any]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        known = self.schema.features
        texts = self.schema.texts
        if known is not None:
            others = [name for name in x if name not in self._known] if tuple(x) != known else []
            texts = tuple(name for name in others if isinstance(x[name], str))
            if len(texts) < len(others):
                added = [name for name in others if name not in texts]
                raise SampleError(f"it adds {names_in(added)} to the features of the model")
        elif texts is None:
            texts = tuple(name for name, cell in x.items() if isinstance(cell, str))
        for name in texts or ():
            x.pop(name, None)
        if None in x.values():
            x = {name: cell for name, cell in x.items() if cell is not None}
        if not x and not self.may_be_empty:
            raise SampleError("it has no features")
        names = tuple(x)
        if names == self._last:
            names = self._last
        self._last = names
        row = as_values(names, x.values(), _FLOAT64)[0]
        if known is None and self.schema.texts is None:
            self.schema.texts = texts
        if not self._names:
            self._names = tuple(map(str, natural_order(names)))
            self._ignored |= dict.fromkeys(texts or (), "str")
        return names, row


def decoded(line: bytes | None) -> str:
    """Return a line as text; raise SampleError if it is too long, UnicodeError if not UTF-8."""
    if line is None or len(line) > LONGEST_LINE:
        raise SampleError(TOO_LONG)
    return line.decode()
