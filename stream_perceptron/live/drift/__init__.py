"""Detection of drift: drops and recoveries in accuracy."""

from stream_perceptron.live.drift.detector import DriftDetector
from stream_perceptron.live.drift.events import (
    DriftEvent,
    EventKind,
    explain_drop,
    find_lasting_drops,
    name_class,
)

__all__ = [
    "DriftDetector",
    "DriftEvent",
    "EventKind",
    "explain_drop",
    "find_lasting_drops",
    "name_class",
]
