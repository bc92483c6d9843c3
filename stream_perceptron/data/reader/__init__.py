"""The compiled reader of records."""
