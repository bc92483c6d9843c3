"""Models that learn from streams, with their metrics and history."""

from stream_perceptron.live.history import History
from stream_perceptron.live.loop import learn, predict
from stream_perceptron.live.metrics import Confusion, Progress
from stream_perceptron.live.model import LiveModel
from stream_perceptron.live.step_result import StepResult

__all__ = ["Confusion", "History", "LiveModel", "Progress", "StepResult", "learn", "predict"]
