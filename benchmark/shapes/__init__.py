"""`graybench shapes`: landmark diffusions fitted to measured shapes."""
