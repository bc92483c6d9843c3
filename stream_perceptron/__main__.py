"""Run as `python -m stream_perceptron`."""

from importlib import import_module

# The library does not know the command line, but who runs it wants that.
import_module("stream_perceptron_cli").run()
