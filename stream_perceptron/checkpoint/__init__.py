"""The file that a live model is saved in."""
