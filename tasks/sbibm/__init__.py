"""The tasks of the benchmark sbibm, with their scores."""
