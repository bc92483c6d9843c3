"""Text sources: CSV, JSON Lines and LIBSVM."""
