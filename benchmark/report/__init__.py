"""The report of result folders as a static site, which opens from disk."""
