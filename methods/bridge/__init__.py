"""Likelihoods of diffusions by bridges and importance sampling."""
