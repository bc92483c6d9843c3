"""Checkpoints: the files that models are saved in."""

from stream_perceptron.checkpoint.state import LoadedModel, load, save

__all__ = ["LoadedModel", "load", "save"]
