"""Statistics, tables, comparisons and ranks: which turn result rows into numbers."""
