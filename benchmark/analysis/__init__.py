"""Statistics, tables, comparisons and ranks: from result rows to numbers."""
