"""Parallel training and averaging of models; the module `ray` trains on clusters."""

from stream_perceptron.distributed.averaging import average, average_live

__all__ = ["average", "average_live"]
