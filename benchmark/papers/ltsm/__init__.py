"""Ko and Geffner, Latent Target Score Matching."""
