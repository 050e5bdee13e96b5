"""What `graybench shapes` does, unit by unit, and the tables and figures that it writes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.console import Console

from ...tasks.landmarks.files import LandmarkSample
from ..figures.style import save
from ..running.progress import say
from . import figures, tables
from .fits import Settings, bridge_paths, fit, folds_of, held_out, matrix, profile
from .growth import fit_growth, growth_table, intervals_of
from .specimens import Specimens, aligned, specimens_of
from .work import Result, Units, write_table

BRIDGES_DRAWN = 4


def report_groups(
    sample: LandmarkSample,
    column: str | None,
    settings: Settings,
    folder: Path,
    console: Console,
    begun: list[Units],
) -> pd.DataFrame:
    """Analyse the groups of a sample; see the command.

    Args:
        sample: the landmarks.
        column: the label with the groups, or None for one group.
        settings: the options.
        folder: where tables and figures go.
        console: where to tell of progress.
        begun: gets the units, so that an interruption can say how far it came.

    Returns:
        A frame with `ess_fraction`: of each likelihood behind the tables, or the least of each fit.
    """
    raw = specimens_of(sample, column)
    shapes, _ = aligned(raw.shapes, settings.keep_size)
    specimens, names = Specimens(shapes, raw.names, raw.groups), raw.group_names
    several = len(names) > 1
    with Units(folder, console, 2 * len(names) + 1 + (settings.folds if several else 0)) as units:
        begun.append(units)
        fits = {name: _fit(units, specimens, name, settings) for name in names}
        scores = _matrix(units, specimens, fits, settings)
        likelihoods = [tables.likelihood_table(specimens, range(len(raw.names)), scores, "all")]
        written = {}
        if several:
            fold = folds_of(raw.groups, settings.folds, settings.seed)
            folds = [_held_out(units, raw, fold, k, settings) for k in range(settings.folds)]
            for k, found in enumerate(folds):
                rows = [row for row, own in enumerate(fold) if own == k]
                likelihoods.append(tables.likelihood_table(specimens, rows, found, "held_out"))
            written["classification"] = tables.classification_table(raw, fold, folds)
        profiles = {name: _profile(units, specimens, name, fits[name], settings) for name in names}
    written["groups"] = tables.group_table(specimens, fits)
    written["means"] = tables.mean_table(specimens, fits)
    written["likelihoods"] = pd.concat(likelihoods, ignore_index=True)
    written["profiles"] = tables.profile_table(profiles)
    if several:
        written["summary"] = tables.summary_table(written["classification"], written["likelihoods"])
    _write(written, folder, console)
    _draw(specimens, fits, written, settings, folder, console)
    return written["likelihoods"]


def _fit(units: Units, specimens: Specimens, name: str, settings: Settings) -> Result:
    shapes = specimens.of(name)
    inputs = {"unit": "fit", "shapes": shapes, "group": name, "settings": settings.key()}
    return units.get(f"fit {name}", inputs, partial(fit, shapes, settings, f"fit {name}"))


def _matrix(units: Units, specimens: Specimens, fits: dict[str, Result], settings: Settings) -> Result:
    known = [(found["theta"], found["x_0"]) for found in fits.values()]
    inputs = {"unit": "matrix", "shapes": specimens.shapes, "fits": known, "settings": settings.key()}
    compute = partial(matrix, specimens.shapes, list(fits.values()), settings, "matrix")
    return units.get("matrix", inputs, compute)


def _held_out(units: Units, raw: Specimens, fold: list[int], which: int, settings: Settings) -> Result:
    inputs = {"unit": "fold", "shapes": raw.shapes, "groups": raw.groups, "fold": fold, "which": which,
              "settings": settings.key()}  # fmt: skip
    return units.get(f"fold {which}", inputs, partial(held_out, raw, fold, which, settings))


def _profile(units: Units, specimens: Specimens, name: str, found: Result, settings: Settings) -> Result:
    shapes = specimens.of(name)
    inputs = {"unit": "profile to second order", "shapes": shapes, "group": name, "settings": settings.key(),
              "fit": [found[part] for part in ("theta", "theta_stderr", "x_0")]}  # fmt: skip
    compute = partial(profile, shapes, found, settings, f"fit {name}")
    return units.get(f"profile {name}", inputs, compute)


def report_growth(
    sample: LandmarkSample,
    age: str,
    identity: str,
    settings: Settings,
    folder: Path,
    console: Console,
    begun: list[Units],
) -> pd.DataFrame:
    """Analyse growth; the arguments and what is returned are as for `report_groups`."""
    intervals, fits = intervals_of(sample, age, identity), []
    with Units(folder, console, len(intervals)) as units:
        begun.append(units)
        for interval in intervals:
            inputs = {"unit": "growth", "before": interval.before, "after": interval.after,
                      "ages": [interval.younger, interval.older], "settings": settings.key()}  # fmt: skip
            name = f"growth {interval.name}"
            fits.append(units.get(name, inputs, partial(fit_growth, interval, settings)))
    table = growth_table(intervals, fits)
    _write({"growth": table}, folder, console)
    _tell(save(figures.growth(table, age), folder, "growth"), console)
    return pd.DataFrame({"ess_fraction": [found["ess_least"] for found in fits]})


def _draw(
    specimens: Specimens,
    fits: dict[str, Result],
    written: dict[str, pd.DataFrame],
    settings: Settings,
    folder: Path,
    console: Console,
) -> None:
    names, shape = list(fits), specimens.shapes.shape[1:]
    starts = {name: np.array(found["x_0"]).reshape(shape) for name, found in fits.items()}
    drawn = {
        "means": figures.means(specimens, starts),
        "bridges": _bridges(specimens, fits, settings),
        "profiles": figures.profiles(written["profiles"]),
    }
    if len(names) > 1:
        drawn["matrix"] = figures.matrix(written["likelihoods"], names)
    for name, figure in drawn.items():
        _tell(save(figure, folder, name), console)


def _bridges(specimens: Specimens, fits: dict[str, Result], settings: Settings) -> Figure:
    """Draw bridges from the first group's mean to the mean farthest from it, or to its farthest specimen."""
    first, *others = fits
    start = torch.tensor(fits[first]["x_0"], dtype=torch.float64)
    shape = specimens.shapes.shape[1:]
    if others:
        ends = torch.tensor([fits[name]["x_0"] for name in others], dtype=torch.float64)
        labels = [f"mean of {name}" for name in others]
    else:
        ends = specimens.of(first).flatten(-2)
        labels = [f"specimen {specimens.names[row]}" for row in specimens.rows(first)]
    far = int((ends - start).norm(dim=-1).argmax())
    paths = bridge_paths(fits[first], ends[far].unflatten(-1, shape), settings, BRIDGES_DRAWN)
    return figures.bridges(paths.numpy(), f"mean of {first}", labels[far])


def _write(written: dict[str, pd.DataFrame], folder: Path, console: Console) -> None:
    _tell([write_table(folder, name, table) for name, table in written.items()], console)


def _tell(paths: Sequence[Path], console: Console) -> None:
    for path in paths:
        say(console, str(path))
