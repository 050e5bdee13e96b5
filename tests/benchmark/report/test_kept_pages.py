"""Corner plots and calibration curves show the numbers that cells kept."""

import base64
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from graybench.benchmark.metrics.diagnostics import DRAWS, LEVEL
from graybench.benchmark.report.corner import LEVELS as STEPS
from graybench.benchmark.report.corner import Drawn, beyond, packed
from graybench.benchmark.report.kept_numbers import kept_of
from graybench.benchmark.report.numbers import number
from graybench.benchmark.report.pages.calibration import LEVELS, SHOWN, band, curves_of, of_exact
from graybench.benchmark.report.site import write_site
from graybench.benchmark.running.writing import StoreError
from graybench.tests.benchmark.conftest import made_up, made_up_kept
from graybench.tests.benchmark.report.test_report import table


def ranks(values: list[float], replicates: int = 1) -> pd.DataFrame:
    """Ranks of one parameter, the same in each replicate."""
    tables = [
        pd.DataFrame({"replicate": r, "index": range(len(values)), "value": values})
        for r in range(replicates)
    ]
    return pd.concat(tables).assign(label="dsm", budget=100).astype({"value": "float32"})


def test_a_calibration_curve_is_the_share_of_ranks_in_the_central_interval() -> None:
    every = curves_of(ranks([k / DRAWS for k in range(DRAWS + 1)], replicates=2))
    assert every["pairs"].tolist() == [2 * (DRAWS + 1)] * len(LEVELS)
    # of 0, …, 100 the whole numbers within 50 a of 50
    exact = [(2 * int(50 * level + 1e-9) + 1) / (DRAWS + 1) for level in LEVELS]
    assert every["coverage"].tolist() == pytest.approx(exact, abs=1e-15)
    assert [of_exact(level) for level in LEVELS] == pytest.approx(exact, abs=1e-15)
    half = curves_of(ranks([0.5, 0.5, 0.0, 1.0]))
    assert half["coverage"].tolist() == [0.5] * len(LEVELS)


def test_the_curve_at_the_level_of_the_metric_is_the_metric() -> None:
    shares = np.random.default_rng(1).integers(0, DRAWS + 1, 2000) / DRAWS
    metric = (np.abs(shares - 0.5) <= LEVEL / 2).mean()
    curve = curves_of(ranks(shares.tolist())).set_index("level")
    assert curve.loc[LEVEL, "coverage"] == metric


@pytest.mark.parametrize("pairs", [20, 400])
@pytest.mark.parametrize("level", LEVELS)
def test_the_band_is_the_smallest_with_tails_of_a_fortieth(pairs: int, level: float) -> None:
    low, high = (round(end * pairs) for end in band(level, pairs))
    law = binom(pairs, of_exact(level))
    assert law.cdf(low - 1) < 0.025 <= law.cdf(low)
    assert law.sf(high) <= 0.025 < law.sf(high - 1)


def test_a_page_has_the_calibration_of_its_methods(site: Path) -> None:
    rows = table(site / "tasks/linear_gaussian.html", ["method", "50 %", "80 %", "90 %", "95 %"])
    assert rows["dsm"] == [number(of_exact(level)) for level in SHOWN]
    assert rows["ltsm"] == ["1"] * 4
    ends = [band(level, 101) for level in SHOWN]  # two parameters of a pair count as one
    assert rows["exact posterior"] == [f"{number(low)} to {number(high)}" for low, high in ends]


def test_draws_are_packed_to_half_a_step_and_those_of_a_diverged_method_are_none() -> None:
    random = np.random.default_rng(2)
    reference = random.normal(1000, [0.1, 3.0], (200, 2))
    good = random.normal(1000, [0.2, 3.0], (200, 2))
    wild = np.full((200, 2), 1e30)
    wild[0], wild[1] = np.nan, reference[0]
    cells = {("mix", 100): good, ("ltsm", 100): wild}
    window = Drawn(reference, cells, truth=np.array([1000.0, 1000.0])).window
    width = np.ptp(reference, 0)
    assert (window.low >= reference.min(0) - 1.07 * width).all()
    farthest = reference.max(0) + width  # since the draws that diverged go farther; then a margin
    assert ((window.high > farthest) & (window.high < farthest + 0.07 * width)).all()
    codes = np.frombuffer(base64.b64decode(packed(good, window)), np.uint8).reshape(200, 2)
    step = (window.high - window.low) / STEPS
    inside = (good >= window.low) & (good <= window.high)
    assert inside.mean() > 0.9
    assert (np.abs(window.low + codes * step - good) <= step * 0.5001)[inside].all()
    codes = np.frombuffer(base64.b64decode(packed(wild, window)), np.uint8).reshape(200, 2)
    assert (np.delete(codes, 1, 0) == 255).all()
    assert (codes[1] < 255).all()
    assert (beyond(wild, window), beyond(reference, window)) == (199, 0)


def test_a_window_without_any_number_still_has_a_width() -> None:
    window = Drawn(None, {("ltsm", 100): np.full((5, 2), np.nan)}, None).window
    assert (window.high > window.low).all()
    assert np.isfinite([*window.low, *window.high]).all()


def test_a_page_says_what_is_beyond_the_picture(site: Path) -> None:
    lines = table(site / "tasks/galton.html", ["posterior", "θ1", "beyond"])
    assert lines["ltsm"] == ["– ± –", "30 of 30"]
    kept = made_up_kept().query("task == 'galton' and kind == 'draw' and budget == 1000 and method == 'dsm'")
    mean, std = kept["value"].astype(float).mean(), kept["value"].astype(float).std(ddof=0)
    assert lines["dsm"][0] == f"{number(mean)} ± {number(std)}"


def test_a_cell_that_two_folders_keep_counts_once(made_up_folder: Path, tmp_path: Path) -> None:
    made_up_kept().assign(value=7.0).to_parquet(tmp_path / "kept.parquet")
    kept = kept_of([made_up_folder, tmp_path], made_up())
    assert len(kept) == len(made_up_kept())
    assert not (kept["value"] == 7).any()
    some = made_up().query("method == 'ltsm'")
    assert set(kept_of([made_up_folder], some).query("kind != 'reference'")["label"]) == {"ltsm"}


def test_a_damaged_file_of_kept_numbers_is_named(tmp_path: Path) -> None:
    made_up().to_parquet(tmp_path / "table.parquet")
    (tmp_path / "kept.parquet").write_bytes(b"PAR1 is not all")
    with pytest.raises(
        StoreError, match=r"kept.parquet: the file is damaged; `graybench run` makes it again."
    ):
        write_site([tmp_path], tmp_path / "site")
    assert not (tmp_path / "site/index.html").exists()
