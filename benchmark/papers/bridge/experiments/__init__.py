"""Experiments with bridges, of which `graybench bridges` makes tables."""
