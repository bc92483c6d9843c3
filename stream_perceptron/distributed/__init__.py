"""Models that are trained side by side and averaged."""
