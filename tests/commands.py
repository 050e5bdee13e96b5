"""Commands of the documents, run in forks of a process that has imported the suite once.

Imports would take most of the time of a fresh process.
"""

import multiprocessing
import os
import runpy
import shlex
import sys
from pathlib import Path

from graybench.benchmark.cli.main import main

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "graybench.tests.commands",
        "graybench.benchmark.checks.conformance",
        "graybench.benchmark.figures.draw",
        "graybench.benchmark.running.cluster.runner",
    ]
)


def run(line: str, folder: Path) -> str:
    """Run `graybench ...` or `python FILE` in `folder`; return its output. The exit status must be 0."""
    process = FORKS.Process(target=_run_here, args=(line, folder))
    process.start()
    process.join()
    output, errors = ((folder / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
    assert process.exitcode == 0, f"{line}\n{output}\n{errors}"
    return output


def _run_here(line: str, folder: Path) -> None:
    os.chdir(folder)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    program, *arguments = shlex.split(line)
    if program == "graybench":
        sys.argv = [program, *arguments]
        main()
    else:
        assert program == "python"
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
