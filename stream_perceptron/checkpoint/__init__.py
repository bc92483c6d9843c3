"""Checkpoints: the files in which models are saved."""

from stream_perceptron.checkpoint.state import LoadedModel, load, save

__all__ = ["LoadedModel", "load", "save"]
