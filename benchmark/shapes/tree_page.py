"""The README.md that `graybench shapes FILE --tree TREE` writes beside its tables and figures."""

from collections.abc import Mapping, Sequence

import pandas as pd

from ...methods.bridge.trees.brownian import TreeSample
from ..running.pieces import Result
from .tree_tables import root_distance
from .trees import TreeSettings

NAMES = {
    "diffusion": "landmark diffusion",
    "brownian_gaussian": "Brownian motion, kernel at the mean shape",
    "brownian_independent": "Brownian motion, independent landmarks",
    "nearest_relative": "nearest relative",
}
SYMBOLS = {"a": "a", "length": "ℓ", "within": "w"}


def page_of(
    sample: TreeSample,
    fits: Mapping[str, Result],
    written: Mapping[str, pd.DataFrame],
    settings: TreeSettings,
    worries: Sequence[str],
) -> str:
    """Return the page as Markdown.

    Args:
        sample: the specimens, aligned.
        fits: the fit of each model.
        written: the tables.
        settings: the options of the fits.
        worries: sentences about fits that cannot be trusted.
    """
    parts = [
        "# Shapes on a tree",
        _data(sample, settings),
        "## Parameters\n\n" + _parameters(written["parameters"], sample.tree.unit),
        _chains(fits, settings),
        "".join(f"**Warning:** {worry}\n" for worry in worries).strip(),
        "## The root\n\n" + _root(fits),
        "## Held-out species\n\n" + _held_out(written["held_out_summary"]),
        FILES,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _data(sample: TreeSample, settings: TreeSettings) -> str:
    tree, (n, m) = sample.tree, sample.coordinates.shape[1:]
    scatter = "The specimens of a species scatter about it; they are not averaged. " if sample.within else ""
    size = "by one factor for all, to a mean of 1" if settings.keep_size else "each to 1"
    freed = "position and orientation" if settings.keep_size else "position, orientation and size"
    return (
        f"{len(sample.tips)} specimens of {len(tree.tips)} species, {n} landmarks in {m}-D. "
        f"The tree is {tree.height:.4g} high; time is in {tree.unit}. {scatter}"
        f"Coordinates are in rms radii: specimens are superimposed (Procrustes), and their rms radii are "
        f"scaled {size}.\n\n"
        f"**Integrated out:** the shapes of all ancestors, and for the diffusion a, ℓ and w. "
        f"**Not integrated out:** {freed} of the specimens. The superimposed coordinates are taken as they "
        f"are, although superimposition has removed movement as a whole, so a and ℓ come out too small. The "
        f"bands of Brownian motion hold its parameters at their estimates."
    )


def _parameters(table: pd.DataFrame, unit: str) -> str:
    lines = ["| model | parameter | estimate | 95 % interval |", "| --- | --- | --- | --- |"]
    for row in table.to_dict("records"):
        lines.append(
            f"| {NAMES[row['method']]} | {SYMBOLS[row['quantity']]} | {row['estimate']:.4g} "
            f"| {row['low']:.4g} to {row['high']:.4g} |"
        )
    return "\n".join(lines) + (
        f"\n\na is in rms radii per square root of a unit of time ({unit}). ℓ, and the scatter w of "
        "specimens about their species, are in rms radii. Estimates of the diffusion are posterior medians "
        "and quantiles, those of Brownian motion restricted maximum likelihood."
    )


def _chains(fits: Mapping[str, Result], settings: TreeSettings) -> str:
    found = fits["diffusion"]
    return (
        f"{settings.chains} chains of {settings.draws} draws. The root's shape has an effective sample size "
        f"of at least {found['root_ess']:.0f} and an R-hat of at most {found['root_rhat']:.3f} in every "
        f"coordinate; the parameters {found['theta_ess']:.0f} and {found['theta_rhat']:.3f}. "
        f"{100 * found['acceptance']:.0f} % of proposals were accepted."
    )


def _root(fits: Mapping[str, Result]) -> str:
    apart, sd = root_distance(fits)
    return (
        f"The root of the diffusion is {apart:.2g} rms radii from that of Brownian motion (rms over "
        f"coordinates), whose own standard deviation is {sd:.2g}. See `root.png`."
    )


def _held_out(summary: pd.DataFrame) -> str:
    lines = ["| predicted by | rms error | more than the diffusion | coverage | interval score |",
             "| --- | --- | --- | --- | --- |"]  # fmt: skip
    for row in summary.to_dict("records"):
        more = "" if row["method"] == "diffusion" else (
            f"{row['lower_by']:.2g} [{row['low']:.2g}, {row['high']:.2g}]"
        )  # fmt: skip
        bands = ("", "") if row["method"] == "nearest_relative" else (
            f"{row['coverage']:.3f}", f"{row['interval_score']:.3g}"
        )  # fmt: skip
        lines.append(
            f"| {NAMES[row['method']]} | {row['rms_error']:.4g} | {more} | {bands[0]} | {bands[1]} |"
        )
    return "\n".join(lines) + (
        f"\n\nMeans over {summary['species'].iloc[0]} species, each predicted from species that exclude it. "
        "Intervals are over species (Student's t). The coverage is that of 95 % bands of coordinates. The "
        "interval score is a band's width, plus 40 times the distance by which it misses; lower is better."
    )


FILES = """## Files

* `parameters.csv`: the table above, with the quality of each fit.
* `nodes.csv`: the shape of each node, with 95 % bands, under each model; `time` is from the root.
* `held_out.csv`, `held_out_summary.csv`: the predictions' errors by species, and their means.
* `tree`: the tree with shapes. Ancestors without room on it are in `ancestors`.
* `ancestors`, `root`: the diffusion beside its baseline. In 3-D, `tree` and `ancestors` show x and y alone.
* `tree` and `ancestors` enlarge departures from the mean specimen where their legends say so."""
