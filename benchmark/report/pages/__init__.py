"""The contexts of the pages of a report, a module for each template or part of one."""
