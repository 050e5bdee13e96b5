"""What `graybench shapes` computes, piece by piece, and the tables and figures that it writes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.console import Console
from torch import Tensor

from ...tasks.landmarks.sample import LandmarkSample
from ..figures.style import save
from ..running.pieces import Pieces, Result
from . import figures, tables
from .between import MEANS, ancestor_tables, between_table, fit_ancestors, fit_means, means_of
from .fits import Settings, bridge_paths, fit, folds_of, held_out, likelihood_of, matrix, others, profile
from .growth import MODELS, fit_growth, growth_table, intervals_of
from .specimens import Specimens, aligned, specimens_of
from .writing import tell, write_tables

BRIDGES_DRAWN = 4


def report_groups(
    sample: LandmarkSample,
    column: str | None,
    settings: Settings,
    folds: int,
    folder: Path,
    console: Console,
    also: LandmarkSample | None = None,
    outline: bool = False,
) -> pd.DataFrame:
    """Analyse the groups of a sample, and write tables and figures.

    Args:
        sample: the landmarks.
        column: the label that names the groups, or None for one group.
        settings: the options of the fits.
        folds: how many parts are held out in turn.
        folder: where tables and figures go.
        console: where progress is shown.
        also: specimens of no group, which are scored under the fit of each.
        outline: the landmarks are points along a closed curve.

    Returns:
        A frame with the column `ess_fraction`: the ESS/N of each likelihood behind the tables.

    Raises:
        UserError: there is no such label, a group is too small, or the others have other landmarks.
    """
    raw = specimens_of(sample, column)
    shapes, rest = aligned(raw.shapes, settings.keep_size, None if also is None else also.coordinates)
    specimens, names = Specimens(shapes, raw.names, raw.groups), raw.group_names
    several, means = len(names) > 1, means_of(specimens)
    held_out_too = several or also is not None
    total = 2 * len(names) + 1 + folds * held_out_too + 2 * (means is not None) + (also is not None)
    with Pieces(folder, console, total) as pieces:
        fits = {}
        for name in names:
            stream = f"fit {name}"
            fits[name] = pieces.get(stream, partial(fit, specimens.of(name), settings, stream))
        scores = pieces.get("matrix", partial(matrix, shapes, list(fits.values()), settings, "matrix"))
        likelihoods = [tables.likelihood_table(specimens, range(len(raw.names)), scores, "all")]
        written = {}
        if held_out_too:
            fold = folds_of(raw.groups, folds, settings.seed)
            held = [pieces.get(f"fold {k}", partial(held_out, raw, fold, k, settings)) for k in range(folds)]
            for k, found in enumerate(held):
                rows = [row for row, own in enumerate(fold) if own == k]
                likelihoods.append(tables.likelihood_table(specimens, rows, found, "held_out"))
            if several:
                written["classification"] = tables.classification_table(raw, fold, held)
        if also is not None:
            score = partial(others, raw, also.coordinates, list(fits.values()), settings)
            scored = pieces.get("also", score)
            normal = _normal(rest, list(fits.values()), settings)
            written["also"] = tables.other_table(also.specimens, names, {**scored, "normal": normal})
        profiles = {}
        for name in names:
            along = partial(profile, specimens.of(name), fits[name], settings, f"fit {name}")
            profiles[name] = pieces.get(f"profile {name}", along)
        if means is not None:
            over = pieces.get(f"fit {MEANS}", partial(fit_means, means, settings))
            ancestors = pieces.get("ancestors", partial(fit_ancestors, means, over, settings))
    written["groups"] = tables.group_table(specimens, fits)
    written["means"] = tables.mean_table(specimens, fits)
    written["likelihoods"] = pd.concat(likelihoods, ignore_index=True)
    written["profiles"] = tables.profile_table(profiles)
    if several:
        written["summary"] = tables.summary_table(written["classification"], written["likelihoods"])
    if means is not None:
        written["between"] = between_table(specimens, fits, means, over)
        written["ancestors"], written["ancestor_shapes"] = ancestor_tables(means, over, ancestors)
    write_tables(written, folder, console)
    _draw(specimens, fits, written, settings, folder, console, outline)
    return pd.concat([written[name] for name in ("likelihoods", "also") if name in written])


def report_growth(
    sample: LandmarkSample, age: str, identity: str, settings: Settings, folder: Path, console: Console
) -> pd.DataFrame:
    """Analyse growth, and write its table and figure.

    Args:
        sample: the landmarks.
        age: the label with the ages.
        identity: the label with the animals.
        settings: the options of the fits.
        folder: where table and figure go.
        console: where progress is shown.

    Returns:
        A frame with the column `ess_fraction`: the least ESS/N of each fit.
    """
    intervals = intervals_of(sample, age, identity)
    with Pieces(folder, console, len(MODELS) * len(intervals)) as pieces:
        fits = [
            {
                model: pieces.get(f"growth {one.name}, {model}", partial(fit_growth, one, settings, trend))
                for model, trend in MODELS.items()
            }
            for one in intervals
        ]
    table = growth_table(intervals, fits)
    write_tables({"growth": table}, folder, console)
    tell(save(figures.growth(table, age), folder, "growth"), console)
    return pd.DataFrame({"ess_fraction": [one["ess_least"] for models in fits for one in models.values()]})


def _normal(shapes: Tensor, fits: Sequence[Result], settings: Settings) -> list[list[float]]:
    """Return log-likelihoods of shapes (S, n, m) under each fit as if the end of a diffusion were normal."""
    likelihood, found = likelihood_of(shapes, settings, "also"), []
    for one in fits:
        theta, x_0 = (torch.tensor(one[part], dtype=torch.float64) for part in ("theta", "x_0"))
        found.append(likelihood.normal(theta, x_0))
    rows: list[list[float]] = torch.stack(found, 1).tolist()
    return rows


def _draw(
    specimens: Specimens,
    fits: dict[str, Result],
    written: dict[str, pd.DataFrame],
    settings: Settings,
    folder: Path,
    console: Console,
    outline: bool,
) -> None:
    names, shape = list(fits), specimens.shapes.shape[1:]
    starts = {name: np.array(found["x_0"]).reshape(shape) for name, found in fits.items()}
    drawn = {
        "means": figures.means(specimens, starts, outline, settings.start == "mean"),
        "bridges": _bridges(specimens, fits, settings),
        "profiles": figures.profiles(written["profiles"]),
    }
    if len(names) > 1:
        drawn["matrix"] = figures.matrix(written["likelihoods"], names)
    if "also" in written:
        drawn["also"] = figures.also(written["also"], written["likelihoods"])
    for name, figure in drawn.items():
        tell(save(figure, folder, name), console)


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
