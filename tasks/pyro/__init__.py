"""Tasks written as Pyro models."""
