"""Run as `python -m stream_perceptron_cli`."""

from . import run

run()
