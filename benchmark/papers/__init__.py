"""The claims and figures of the two papers, held against result tables."""
