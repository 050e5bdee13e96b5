"""A task and a method for graybench, in a package of their own."""
