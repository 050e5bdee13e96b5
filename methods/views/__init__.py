"""Posteriors in the form that other packages take."""
