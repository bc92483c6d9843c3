"""Run as `python -m stream_perceptron`."""

from importlib import import_module

# The library does not import the command line, except when it is run as a program.
import_module("stream_perceptron_cli").run()
