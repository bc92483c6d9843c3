"""The only place that knows what cells mean: labels, weights, nulls, types, rejections."""

from stream_perceptron.data.interpreter.blocks import Interpretation, interpret
from stream_perceptron.data.interpreter.context import ColumnType, Context
from stream_perceptron.data.interpreter.steady import NameRoles

__all__ = ["ColumnType", "Context", "Interpretation", "NameRoles", "interpret"]
