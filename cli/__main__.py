"""Run as `python -m stream_perceptron_cli`."""

from .main import run

run()
