"""The report of result folders: a static site that opens from disk."""
