"""Conformance checks of tasks and methods."""
