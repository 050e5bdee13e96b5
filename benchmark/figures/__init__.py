"""The figures of result tables."""
