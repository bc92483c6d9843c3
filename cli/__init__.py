"""The command line of stream_perceptron: one file a command."""
