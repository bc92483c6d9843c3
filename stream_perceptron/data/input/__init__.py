"""Bytes of files, pipes and URIs, and positions in them."""
