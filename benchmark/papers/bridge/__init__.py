"""Boserup et al., Parameter Inference via Differentiable Diffusion Bridge Importance Sampling."""
