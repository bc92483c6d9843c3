"""A model at work on a stream."""
