"""Drift events, which the tests report."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from stream_perceptron.live.drift.blocks import MAX_CLASSES

_CAUSE = "the stream has changed, or lr is too high: look at the rows from there on"
_CAUSE_IF_WEIGHTED = (
    "class weights find more of the rare classes at the cost of others, the stream has changed, or "
    "lr is too high: look at the recall of each class"
)
_CAUSE_OF_CLASS = "look at the rows of that class from there on"


def explain_drop(is_overall: bool, has_class_weights: bool) -> str:
    """Return possible causes of a drop in accuracy or in a class's recall, and where to look."""
    if not is_overall:
        return _CAUSE_OF_CLASS
    return _CAUSE_IF_WEIGHTED if has_class_weights else _CAUSE


class EventKind(StrEnum):
    """The kind of a drift event."""

    DROP = "drop"
    RECOVERY = "recovery"


_VERBS = {EventKind.DROP: "dropped", EventKind.RECOVERY: "recovered"}


@dataclass(frozen=True)
class DriftEvent:
    """A drop or recovery in overall accuracy or a class's recall.

    `before` and `after` are values of accuracy or of the recall of a class.

    Examples
    --------
    >>> event = DriftEvent(EventKind.DROP, 501, 501, 650, 0.95, 0.0, label=1)
    >>> event.describe(["no", "yes"])
    'recall of yes dropped from 95.0% to 0.0% near row 501'

    """

    kind: EventKind
    row: int  # the row near which it began
    sample: int  # the number of this row's sample among the tested samples, counted from 1
    found: int  # the row at which it was found
    before: float
    after: float
    label: int | None = None  # the number of the class; None for the overall accuracy

    @property
    def is_drop(self) -> bool:
        """Whether accuracy or the recall of a class dropped."""
        return self.kind == EventKind.DROP

    @property
    def is_overall(self) -> bool:
        """Whether the event concerns the overall accuracy."""
        return self.label is None

    @property
    def figures(self) -> str:
        """The accuracies or recalls and the row, as text."""
        return f"from {self.before:.1%} to {self.after:.1%} near row {self.row:,}"

    def name_metric(self, classes: Sequence[Hashable]) -> str:
        """Return the name of the metric: accuracy, or the recall of a class."""
        if self.label is None:
            return "accuracy"
        return f"recall of {name_class(self.label, classes)}"

    def describe(self, classes: Sequence[Hashable]) -> str:
        """Return the event as text, given the names of the classes."""
        return f"{self.name_metric(classes)} {_VERBS[self.kind]} {self.figures}"

    def to_dict(self, classes: Sequence[Hashable]) -> dict[str, object]:
        """Return the event as a JSON object, with the name of the class."""
        name = None if self.label is None else name_class(self.label, classes)
        figures = {key: value for key, value in vars(self).items() if key != "label"}
        return {**figures, "class": name, "text": self.describe(classes)}


def find_lasting_drops(events: Sequence[DriftEvent]) -> list[DriftEvent]:
    """Return the last drop in accuracy and in each class's recall, unless a recovery followed."""
    last = {event.label: event for event in events}
    return [event for event in last.values() if event.is_drop]


def name_class(label: int, classes: Sequence[Hashable]) -> str:
    """Return the name of a class counted by the tests; the last class may stand for several."""
    if label == MAX_CLASSES - 1 and len(classes) > MAX_CLASSES:
        return f"the {len(classes) - label:,} classes after the first {label:,}"
    return str(classes[label])
