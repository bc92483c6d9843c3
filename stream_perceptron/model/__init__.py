"""The delta rule and the state of a model, independent of files."""

from stream_perceptron.model.activations import ACTIVATIONS, Activation, get_activation
from stream_perceptron.model.network import Network
from stream_perceptron.model.rows import Rows

__all__ = ["ACTIVATIONS", "Activation", "Network", "Rows", "get_activation"]
