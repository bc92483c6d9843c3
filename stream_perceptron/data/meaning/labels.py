"""Labels read from columns, text and JSON, all of one type within a run."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from stream_perceptron.data.reasons import LABEL_DOES_NOT_FIT
from stream_perceptron.data.values import spells_number
from stream_perceptron.encoders import is_missing
from stream_perceptron.errors import SampleError
from stream_perceptron.model.weights import compute_max_features, count_weights

# The Python type of each label type, and its name in messages.
LABEL_TYPES = {
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
    "str": (str, "a string"),
}

# A number with leading zeros is a code: 007 is not 7.
_WHOLE = re.compile(r"([+-]?(?:0|[1-9][0-9]*))(?:\.0*)?")
_BOOLS = {"true": True, "false": False}


class Labels:
    """The labels of rows, numbered in order of appearance.

    Parameters
    ----------
    known
        The labels that the model knows.
    label_type
        The type of all labels: int, bool or str; None to infer it from the first label.
    null_values
        Strings that mean a missing label.
    is_text
        Whether labels are spelled as text, so that 3 and 3.0 are the same label.
    max_weights
        The maximum size of a model that learns these labels; None if nothing is learned from them.

    """

    def __init__(
        self,
        known: Iterable[object],
        label_type: str | None,
        null_values: Collection[str],
        is_text: bool,
        max_weights: int | None,
    ) -> None:
        self.names = list(known)
        self._ids = {label: i for i, label in enumerate(self.names)}
        self._label_type, self._null_values, self._is_text = label_type, null_values, is_text
        self._max_weights = max_weights

    @property
    def label_type(self) -> str | None:
        """The type of the labels; None if there are none."""
        for label_type, (python_type, _) in LABEL_TYPES.items() if self.names else ():
            if type(self.names[0]) is python_type:
                return label_type
        return None

    def find_id(self, value: object, n_features: int) -> int:
        """Return the number of a label, adding the label if it is new; -1 if it is missing.

        `n_features` is the number of features that the model has before the row of the label.

        Raises
        ------
        SampleError
            If the value is not a label of the type of the others, or does not fit into the model.

        """
        if is_missing(value, self._null_values):
            return -1
        assert isinstance(value, str | float | bool | int)
        label_type = self._label_type or self.label_type or infer_label_type(value, self._is_text)
        try:
            label = convert_label(value, label_type, self._is_text)
        except ValueError as error:
            raise SampleError(f"label {error}", code="label") from None
        k = len(self.names)
        label_id = self._ids.get(label, k)
        if label_id == k:
            if (
                self._max_weights is not None
                and count_weights(k + 1, n_features) > self._max_weights
            ):
                raise SampleError(LABEL_DOES_NOT_FIT)
            self._ids[label] = k
            self.names.append(label)
        return label_id

    def truncate(self, n: int) -> None:
        """Remove all labels after the first n."""
        for label in self.names[n:]:
            del self._ids[label]
        del self.names[n:]

    def compute_max_features(self) -> int | None:
        """Return the number of features that fit into the model; None without a limit."""
        if self._max_weights is None:
            return None
        return compute_max_features(len(self.names), self._max_weights)


def infer_label_type(value: str | float | bool, is_text: bool) -> str:
    """Infer the type of all labels from the first one: int, bool or str.

    Examples
    --------
    >>> [infer_label_type(text, is_text=True) for text in ("3", "3.0", "007", "A", "True")]
    ['int', 'int', 'str', 'str', 'bool']
    >>> infer_label_type("3", is_text=False), infer_label_type(3.0, is_text=False)
    ('str', 'int')

    """
    if isinstance(value, str):
        if is_text and _WHOLE.fullmatch(value):
            return "int"
        return "bool" if is_text and value.lower() in _BOOLS else "str"
    return "bool" if isinstance(value, bool) else "int"


def convert_label(value: object, label_type: str, is_text: bool) -> object:
    """Convert a value to a label of the given type.

    Examples
    --------
    >>> convert_label("3", "int", is_text=True), convert_label("3", "str", is_text=True)
    (3, '3')
    >>> convert_label("A", "int", is_text=True)
    Traceback (most recent call last):
    ...
    ValueError: 'A' is not a whole number, but the labels are

    """
    python_type, type_name = LABEL_TYPES[label_type]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is python_type:
        return value
    if is_text and isinstance(value, str):
        if label_type == "int" and (match := _WHOLE.fullmatch(value)) and len(match[1]) <= 20:
            return int(match[1])
        if label_type == "bool" and value.lower() in _BOOLS:
            return _BOOLS[value.lower()]
    shown = repr(value) if isinstance(value, str) else str(value)
    is_fraction = spells_number(str(value)) and not float(str(value)).is_integer()
    hint = "; to learn a quantity, put it into bins" if label_type == "int" and is_fraction else ""
    raise ValueError(f"{shown[:50]} is not {type_name}, but the labels are{hint}")


def parse_classes(texts: Sequence[str], label_type: str | None) -> tuple[list[object], str]:
    """Return the labels that strings spell, and their type, which is inferred if it is None.

    Examples
    --------
    >>> parse_classes(["7", "8"], None), parse_classes(["7", "8"], "str")
    (([7, 8], 'int'), (['7', '8'], 'str'))

    """
    if label_type is None:
        types = {infer_label_type(text, is_text=True) for text in texts}
        label_type = types.pop() if len(types) == 1 else "str"
    try:
        return [convert_label(text, label_type, is_text=True) for text in texts], label_type
    except ValueError as error:
        raise ValueError(f"class {error}") from None
