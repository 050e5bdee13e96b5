"""Landmark shapes that move by a diffusion."""
