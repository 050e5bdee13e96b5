"""`python -m graybench` is the command `graybench`."""

from graybench.benchmark.cli.main import main

if __name__ == "__main__":
    main()
