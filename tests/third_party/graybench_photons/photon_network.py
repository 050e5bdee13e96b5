"""A method that cannot be imported, on purpose: its module raises."""

raise RuntimeError("no licence for photon_network was found")
