"""The timings of `graybench bench`, side by side with other programs."""
