"""The claims and figures of two papers, and claims of the suite, held against result tables."""
