"""The metrics of a posterior: what each measures, and its record."""
