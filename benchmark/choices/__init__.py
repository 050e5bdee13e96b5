"""Measurements on fresh simulations by which defaults were chosen."""
