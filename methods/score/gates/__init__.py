"""The gates of mixtures of two regression targets."""
