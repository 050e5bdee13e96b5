"""README and CONTRIBUTING do what they say: their files are written out, and their commands are run.

A fenced block with a file name after its language is written to that file; a block that is `sh` alone is run,
line by line, in the same folder. Blocks marked `sh install` need a fresh machine and are left to CI; those
marked `sh cluster` need several, and what they do is tested in `tests/benchmark/test_faults.py`.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def follow(document, folder):
    """Write and run every block of a document in order; give the output of all commands."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    output = ""
    for language, title, body in BLOCK.findall((ROOT / document).read_text()):
        if language != "sh":
            (folder / title).write_text(body)
        elif not title:
            for line in body.splitlines():
                done = subprocess.run(
                    line,
                    shell=True,
                    cwd=folder,
                    env={**os.environ, "PATH": path},
                    capture_output=True,
                    text=True,
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                output += done.stdout
    return output


def test_readme(tmp_path):
    output = follow("README.md", tmp_path)
    small = pd.read_parquet(tmp_path / "runs/small/table.parquet")
    assert (small["status"] == "ok").all()
    assert small.groupby(["method", "method_settings", "budget"]).ngroups == 6
    assert "galton · score_error" in output
    assert "learned and exact mean: " in output
    checks = [line for line in output.splitlines() if "T2, prior predictive" in line]
    assert len(checks) == 1
    assert "passed" in checks[0]
    assert "| score_error of MIX / of DSM | default | 100 | 0.333 |" in output
    assert {"mmd-galton.pdf", "score_error-galton.png"} <= {
        p.name for p in (tmp_path / "runs/small/figures").iterdir()
    }
    mine = pd.read_parquet(tmp_path / "runs/mine/table.parquet")
    regression = mine[mine["method"] == "regression"]
    error = regression[regression["metric"] == "posterior_mean_error"]["value"]
    # the posterior is linear and Gaussian, so regression on 300 simulations is off by about 1/√300 = 0.06
    assert len(error) == 6
    assert error.mean() < 0.2
    assert regression[regression["metric"] == "score_error"]["reason"].tolist() == ["the method has no score"]
    assert (mine[mine["method"] == "mix"]["status"] == "ok").all()


def test_contributing(tmp_path):
    output = follow("CONTRIBUTING.md", tmp_path)
    assert output.count("passed") > 20
    assert "failed" not in output


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files(document):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / document).read_text()):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
