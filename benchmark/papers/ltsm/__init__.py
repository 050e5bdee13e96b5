"""The reproduction of Ko and Geffner, Latent Target Score Matching."""
