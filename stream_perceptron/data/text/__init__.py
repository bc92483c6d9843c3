"""Sources of text: CSV, JSON Lines and LIBSVM."""
