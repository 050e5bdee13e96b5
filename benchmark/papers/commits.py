"""The git commits that pages name: the commit of the suite's source, and the commits of results."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("benchmark", "methods", "tasks")


def last_commit(inside: Path, *paths: Path) -> str:
    """Return the last commit that touched the paths, and whether they changed since; empty outside of git.

    Committing a report does not change the commits that the report names, as HEAD is not used.
    """
    named = [str(path.resolve()) for path in paths]
    commit = _git(inside, "log", "-1", "--format=%h", "--abbrev=12", "--", *named)
    changed = commit and _git(inside, "status", "--porcelain", "--untracked-files=no", "--", *named)
    return f"{commit} and changes since" if changed else commit


def source_commit() -> str:
    """Return the last commit of the suite's packages; empty if the suite does not run from a checkout."""
    return last_commit(ROOT, *[ROOT / package for package in PACKAGES])


def _git(inside: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(inside), *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
