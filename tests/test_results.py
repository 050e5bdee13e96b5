"""The released tables hold numbers of today's tasks and methods, and pages say which do not."""

from pathlib import Path

import pandas as pd
import pytest

from graybench.methods import get_method
from graybench.tasks import get_task

ROOT = Path(__file__).parent.parent
TABLES = sorted(ROOT.glob("results/**/table.parquet"))
# tables with numbers of earlier versions of the suite's methods, until their sweeps have run again
EARLIER = {"gates", "graybox", "rivals_coverage", "rivals_diagnostics"}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: str(path.parent.relative_to(ROOT / "results")))
def test_every_number_is_of_todays_version_of_its_task_and_method(path: Path) -> None:
    rows = pd.read_parquet(path)
    methods = rows[["method", "method_version"]].drop_duplicates().to_numpy()
    tasks = rows[["task", "task_version"]].drop_duplicates().to_numpy()
    old = [name for name, version in methods if get_method(name).version != version]
    old += [label for label, version in tasks if get_task(label.partition("(")[0]).version != version]
    folder = str(path.parent.relative_to(ROOT / "results"))
    assert bool(old) == (folder in EARLIER), old
    page = next(p / "README.md" for p in path.parents if (p / "README.md").exists()).read_text("utf-8")
    assert ("of earlier versions" in page) == (folder in EARLIER)


# pages of `graybench shapes`, which end with their files; results/trees says how they were made
GENERATED = {"trees/carnivores", "trees/papilio"}


@pytest.mark.parametrize(
    "folder", [str(page.parent.relative_to(ROOT / "results")) for page in ROOT.glob("results/*/**/README.md")]
)
def test_every_page_ends_with_how_it_was_made(folder: str) -> None:
    text = (ROOT / "results" / folder / "README.md").read_text("utf-8")
    *_, last = [line for line in text.splitlines() if line.startswith("#")]
    assert (last == "## How it was made") == (folder not in GENERATED), last
