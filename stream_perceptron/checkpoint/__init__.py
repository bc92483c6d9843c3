"""Checkpoints: the files that models are saved in."""

from stream_perceptron.checkpoint.state import Loaded, load, save

__all__ = ["Loaded", "load", "save"]
