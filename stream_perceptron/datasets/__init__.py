"""Data sets to begin with."""
