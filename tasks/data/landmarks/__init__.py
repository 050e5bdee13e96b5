"""Measured landmark coordinates; see README.md beside this file and `tasks.sde.landmark_files`."""
