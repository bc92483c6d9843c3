"""Checkpoints: the files in which models are saved."""
