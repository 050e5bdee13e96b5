"""Stored references; see `tasks.frozen`."""
