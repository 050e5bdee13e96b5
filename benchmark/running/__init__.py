"""From a sweep file to result rows."""
