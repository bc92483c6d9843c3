"""Sources of text: CSV, lines of JSON, and LIBSVM."""
