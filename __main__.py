"""`python -m graybench` is the command `graybench`."""

import os
import sys
from contextlib import suppress

if __name__ == "__main__":
    # Python puts the current folder first, where a user's random.py would hide the one that torch imports
    with suppress(FileNotFoundError):  # the folder was deleted, which `main` says
        sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]

    from graybench.benchmark.cli.main import main

    main()
