"""Interpret cells. Only this package deals with labels, weights, nulls, types and rejections."""

from stream_perceptron.data.interpreter.blocks import Interpretation, interpret
from stream_perceptron.data.interpreter.context import ColumnType, Context
from stream_perceptron.data.interpreter.name_roles import NameRoles

__all__ = ["ColumnType", "Context", "Interpretation", "NameRoles", "interpret"]
