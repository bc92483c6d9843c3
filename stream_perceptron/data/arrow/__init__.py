"""Sources of Arrow: Parquet, and IPC streams and files."""
