"""Detection of drift: drops and recoveries of accuracy, and changes of the label mix."""

from stream_perceptron.live.drift.detector import DriftDetector
from stream_perceptron.live.drift.events import (
    ACCURACY_DROPPED,
    RECALL_DROPPED,
    DriftEvent,
    EventKind,
    explain_drop,
    find_lasting_drops,
    name_class,
)

__all__ = [
    "ACCURACY_DROPPED",
    "RECALL_DROPPED",
    "DriftDetector",
    "DriftEvent",
    "EventKind",
    "explain_drop",
    "find_lasting_drops",
    "name_class",
]
