"""`graybench bench`: what things cost, side by side with other programs."""
