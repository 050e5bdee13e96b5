"""Diffusions and the tasks that observe them."""
