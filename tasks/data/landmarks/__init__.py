"""Measured landmark coordinates; README.md in this folder describes the files."""
