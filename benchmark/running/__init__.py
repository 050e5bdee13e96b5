"""Running of sweeps: from a sweep file to result rows."""
