"""Diffusions: models, tasks, and landmark shapes."""
