"""The delta rule and its state; knows nothing of files."""
