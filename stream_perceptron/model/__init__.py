"""The delta rule and its state; knows no files."""

from stream_perceptron.model.activations import ACTIVATIONS, Activation, get_activation
from stream_perceptron.model.features import Dense, Sparse, Uint8
from stream_perceptron.model.network import Network

__all__ = ["ACTIVATIONS", "Activation", "Dense", "Network", "Sparse", "Uint8", "get_activation"]
