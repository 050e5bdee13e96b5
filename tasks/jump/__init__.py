"""Markov jump processes."""
