"""Arrow sources: Parquet files, and IPC streams and files."""
