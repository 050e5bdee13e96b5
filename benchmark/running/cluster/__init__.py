"""The processes of a run: the cluster, its workers, and how both are stopped."""
