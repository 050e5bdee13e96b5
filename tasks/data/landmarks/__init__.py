"""Measured landmark coordinates; see README.md beside this file and `tasks.landmarks.files`."""
