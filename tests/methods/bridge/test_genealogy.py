"""The standard error of bridges that resample: against known variances, and against repeated runs."""

import numpy as np
import pytest
import torch
from torch import Tensor

from graybench.methods.bridge.bases import Base, ExactBase
from graybench.methods.bridge.genealogy import LAG, Genealogy
from graybench.methods.bridge.likelihood import average
from graybench.methods.bridge.proposals import Particles, Resampling, guided_bridges, reverse_bridges
from graybench.tasks.sde.sde import SDE, Coefficients, TimeGrid
from graybench.tests.methods.bridge.models import brownian, end_points, normals, reverting, uniforms


def particles(pairs: int, n: int, steps: int) -> Particles:
    zero = torch.zeros(pairs, n, dtype=torch.float64)
    labels = torch.arange(n, dtype=torch.float64).expand(pairs, n).unsqueeze(-1)
    none = torch.zeros(pairs)
    return Particles(labels, brownian().at(labels), zero, Genealogy(zero.shape, steps), none, none, None)


@pytest.mark.parametrize(("steps", "n"), [(1, 50), (5, 50), (40, 400)])
def test_the_variance_of_a_product_of_independent_averages(steps: int, n: int) -> None:
    """Where the weights of each step are new, p̂ is a product of K averages of N independent terms.

    With weights 1 ± c, its relative variance is (1 + c²/N)^K − 1.
    """
    runs, c = 20_000 // n, 0.6
    system = particles(runs, n, steps)
    signs = 2.0 * (uniforms(1, steps, runs, n) < 0.5) - 1
    shifts = uniforms(2, steps, runs)
    for k in range(steps):
        system.log_weights = system.log_weights + (1 + c * signs[k]).log()
        if k < steps - 1:
            ahead = torch.zeros(runs, n, dtype=torch.float64)
            system.resample(brownian(), ahead, Resampling(1.0, shifts), k, steps - 1 - k)
    nothing = torch.zeros(runs, 1, dtype=torch.float64)
    found = average(system.done(nothing, (nothing, nothing), reverse=True))
    squared = found.stderr.square()
    exact = (1 + c**2 / n) ** steps - 1
    error = float(squared.std()) / runs**0.5
    assert error < 0.05 * exact  # so that the check can find 25 %
    # the weights' own normalisation costs the share 1/N for each step; 5 errors: once in 1,700,000 times
    slack = 5 * error + steps * exact / n
    assert abs(float(squared.mean()) - exact) < slack
    if steps == 5:  # the power: the variance by origins, which is a quarter too large, is seen
        by_origins = 1 / (n * found.ess_fraction) - 1 / n
        assert float(by_origins.mean()) - exact > slack


def test_each_pair_has_the_variance_of_its_own_genealogy() -> None:
    """Three pairs resample at different steps; each is followed again from the particles it drew."""
    steps, pairs, n = 24, 3, 30
    system, shifts = particles(pairs, n, steps), uniforms(3, steps, pairs)
    scales = torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64).view(3, 1)
    shares, drawn = [], []
    for k in range(steps - 1):
        system.log_weights = system.log_weights + scales * normals(10 + k, pairs, n)
        ahead = normals(50 + k, pairs, n) * 0.1
        shares.append(torch.softmax(system.log_weights + ahead, -1).numpy())
        system.x = torch.arange(n, dtype=torch.float64).expand(pairs, n).unsqueeze(-1)
        system.resample(brownian(), ahead, Resampling(0.6, shifts), k, steps - 1 - k)
        drawn.append(system.x.squeeze(-1).long().numpy())
    counts = system.resamplings
    assert 0 < int(counts[0]) < int(counts[1]) < int(counts[2])
    end = torch.zeros(pairs, 1, dtype=torch.float64)
    found = average(system.done(end, (end, end), reverse=True))
    shares.append(torch.softmax(system.log_weights, -1).numpy())
    for pair in range(pairs):
        own = retraced([s[pair] for s in shares], [d[pair] for d in drawn])
        assert float(found.stderr[pair].square()) == pytest.approx(max(own, 0), abs=1e-12)


def retraced(shares: list[np.ndarray], drawn: list[np.ndarray]) -> float:
    """Sum over generations, each from the recorded shares and draws alone."""
    n, last = len(shares[0]), len(shares) - 1
    resampled = [k for k in range(last) if not np.array_equal(drawn[k], np.arange(n))]

    def settled(born: int, at: int) -> float:
        """S_g less its noise at step `at`, for the generation drawn after step `born`."""
        ancestors, noise = np.arange(n), 0.0
        for k in range(born + 1, at):
            if k in resampled:
                fraction = n * np.bincount(ancestors, shares[k], n) % 1
                noise += (fraction * (1 - fraction)).sum() / n**2
                ancestors = ancestors[drawn[k]]
        return float((np.bincount(ancestors, shares[at], n) ** 2).sum() - noise)

    total, born = settled(resampled[-1] if resampled else -1, last) - 1 / n, -1
    for k in resampled:
        left = last - k
        after = next((j for j in range(k + 1, last) if last - j <= LAG * left), last)
        total += settled(born, after) - settled(k, after)
        born = k
    return total


class Weak(ExactBase):
    """The exact density, with seven tenths of its pull: weights must be corrected along the bridge."""

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        return here.divergence + 0.7 * (super().pull(k, x, here) - here.divergence)


class Aside(ExactBase):
    """The exact density, with a pull to one side."""

    def pull(self, k: int, x: Tensor, here: Coefficients) -> Tensor:
        return super().pull(k, x, here) + here.times(torch.ones_like(x))


@torch.no_grad()
def repeated(
    sde: SDE, base: type[Base] | None, grid: TimeGrid, n: int, runs: int, threshold: float
) -> Tensor:
    """Return estimates of log p of one end point and their standard errors, (2, runs)."""
    x_0, steps = torch.ones(2, dtype=torch.float64), grid.steps
    y, noise = end_points(sde, x_0, grid, 1, 1).expand(runs, 2), normals(3, steps - 1, runs, n, 2)
    resampling = Resampling(threshold, uniforms(4, steps - 1, runs))
    if base is None:
        drawn = guided_bridges(sde, x_0, y, grid, noise, resampling=resampling)
    else:
        drawn = reverse_bridges(base(sde, x_0, grid), y, noise, kernel="forward", resampling=resampling)
    assert drawn.resamplings.float().mean() > 3
    return torch.stack(average(drawn)[:2])


@pytest.mark.parametrize(("model", "base"), [(brownian, Weak), (brownian, Aside), (reverting, None)])
@pytest.mark.parametrize("power", [1.0, 1.6], ids=["equal", "uneven"])
def test_the_standard_error_of_bad_proposals_is_the_spread_of_runs(model, base, power) -> None:  # type: ignore[no-untyped-def]
    """Counted by origins alone, the error of the reverse bridges would be 1.2 to 1.4 times the spread."""
    grid = TimeGrid.at([3.0 * (k / 20) ** power for k in range(21)])
    values, errors = repeated(model(), base, grid, 100, 600, 0.9)
    # the spread of 600 runs is known to 3 %: a false alarm once in 10,000 times
    assert float(errors.square().mean().sqrt() / values.std()) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("base", [Weak, None], ids=["reverse", "guided"])
def test_a_lag_is_a_share_of_the_time_that_is_left(base, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """And not of the steps, of which most are near one end here."""
    left: list[float] = []
    settle = Genealogy.settle

    def spied(kin: Genealogy, share: Tensor, now: float, lag: float) -> None:
        left.append(now)
        settle(kin, share, now, lag)

    monkeypatch.setattr(Genealogy, "settle", spied)
    grid = TimeGrid.at([0.0, 0.1, 0.2, 0.4, 1.0, 3.0])
    x_0, y, noise = normals(1, 2), normals(2, 1, 2), normals(3, 4, 1, 8, 2)
    resampling = Resampling(0.9, uniforms(4, 4, 1))
    if base is None:
        guided_bridges(brownian(), x_0, y, grid, noise, resampling=resampling)
        expected = [2.9, 2.8, 2.6, 2.0]
    else:
        made = base(brownian(), x_0, grid)
        reverse_bridges(made, y, noise, kernel="forward", resampling=resampling)
        expected = [1.0, 0.4, 0.2, 0.1]
    unit = 3.0 / 5
    assert [now * unit for now in left] == pytest.approx(expected)


def test_the_standard_error_holds_where_all_bridges_have_one_origin() -> None:
    values, errors = repeated(brownian(), Aside, TimeGrid(3.0, 150), 20, 400, 1.0)
    ratio = float(errors.square().mean().sqrt() / values.std())
    assert ratio == pytest.approx(1, abs=0.16)  # the spread of 400 runs is known to 3.5 %
