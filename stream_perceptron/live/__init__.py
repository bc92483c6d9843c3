"""Models that learn from streams, with their metrics, cursor and lineage."""

from stream_perceptron.live.cursor import Cursor
from stream_perceptron.live.driver import StepOptions, drive
from stream_perceptron.live.metrics import Confusion, Progress
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.step_result import StepResult

__all__ = ["Confusion", "Cursor", "LiveModel", "Progress", "StepOptions", "StepResult", "drive"]
