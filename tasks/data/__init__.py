"""Stored references; `StoredTask` describes the files."""
