"""Fresh environments with a graybench of their own, and commands in them, each a process.

graybench is built from a copy and installed; only what it depends on is borrowed from the environment that
runs the tests, so that nothing is downloaded.
"""

import os
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("benchmark", "methods", "tasks")
FILES = ("pyproject.toml", "README.md", "LICENSE", "__init__.py", "__main__.py")
SCRATCH = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")


class Environment:
    """A virtual environment in `folder`, with graybench installed from `folder/source`.

    Args:
        folder: an empty folder.
        editable: whether the installation refers to the copy of the source or holds a wheel built from it.
    """

    def __init__(self, folder: Path, editable: bool) -> None:
        self.folder, self.source = folder, folder / "source"
        for package in PACKAGES:
            shutil.copytree(ROOT / package, self.source / package, ignore=SCRATCH)
        for file in FILES:
            shutil.copy(ROOT / file, self.source)
        venv.create(folder / "env", symlinks=True)
        own = sysconfig.get_paths("venv", vars={"base": str(folder / "env")})
        self.programs, self.packages = Path(own["scripts"]), Path(own["purelib"])
        borrowed = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
        (self.packages / "borrowed.pth").write_text("\n".join(borrowed))
        # this process's paths to graybench are not the environment's
        self.variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self.variables["XDG_CACHE_HOME"] = str(folder / "cache")
        self.install(*(["--editable"] if editable else []), self.source)

    def install(self, *what: object) -> None:
        """Install what is in a folder, with no help from outside."""
        options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed")
        done = self.run(self.folder, "python", "-m", "pip", "install", *options, *what)
        assert done.returncode == 0, done.stderr

    def run(self, where: Path, program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        """Run a program of the environment in the folder `where`."""
        return subprocess.run(
            [str(word) for word in (self.programs / program, *arguments)],
            cwd=where,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
