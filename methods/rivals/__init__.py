"""Methods that the suite's own are compared with."""
