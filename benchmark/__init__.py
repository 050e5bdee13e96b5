"""Sweeps, their cells, and what is made of the results: stores, metrics, tables and figures."""
