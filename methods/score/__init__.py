"""Score matching on samples, marginal scores and joint scores."""
