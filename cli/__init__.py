"""The command line of stream_perceptron: one file a command."""

import gc

# Imports make many objects and no garbage, which Python by itself would look for all the time.
gc.set_threshold(100_000)
