"""Sources of rows, and the batches that they become."""
