"""What names and cells mean, for all formats."""
