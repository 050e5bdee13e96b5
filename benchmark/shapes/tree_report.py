"""What `graybench shapes FILE --tree TREE` computes, piece by piece, and the files that it writes."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from rich.console import Console

from ...methods.bridge.trees.brownian import KERNELS
from ...methods.bridge.trees.posterior import require_arviz
from ...tasks.landmarks.sample import LandmarkSample
from ...tasks.landmarks.trees import Tree
from ..figures.style import save
from ..running.pieces import Pieces, Result
from ..running.progress import say
from ..running.writing import write_whole
from . import tree_figures, tree_tables
from .specimens import aligned
from .tree_page import NAMES, page_of
from .trees import (
    BROWNIAN,
    TreeSettings,
    fit_brownian,
    fit_diffusion,
    hold_out,
    species_folds,
    species_of,
    tree_sample,
)
from .writing import tell, write_tables

LEAST_ESS, MOST_RHAT = 100, 1.05


def report_tree(
    sample: LandmarkSample,
    tree: Tree,
    column: str | None,
    settings: TreeSettings,
    folds: int | None,
    outline: bool,
    folder: Path,
    console: Console,
) -> None:
    """Estimate parameters and ancestors on a tree, predict held-out species, and write what was found.

    Args:
        sample: the landmarks.
        tree: the tree of the species.
        column: the label that names the species, see `species_of`.
        settings: the options of the fits.
        folds: how many sets of species are held out in turn, see `species_folds`.
        outline: whether landmarks are points along a closed curve.
        folder: where tables, figures and the page go.
        console: where progress is shown.

    Raises:
        UserError: species and tree do not agree, an option has no meaning, or ArviZ is not installed.
    """
    require_arviz()
    species = species_of(sample, tree, column)
    dealt = species_folds(tree, folds)
    shapes, _ = aligned(species.coordinates, settings.keep_size)
    own = tree_sample(tree, species.tips, shapes)
    with Pieces(folder, console, 1 + len(KERNELS) + len(dealt)) as pieces:
        baselines = {
            name: pieces.get(name, partial(fit_brownian, own, kernel, settings))
            for name, kernel in zip(BROWNIAN, KERNELS, strict=True)
        }
        fits = {"diffusion": pieces.get("diffusion", partial(fit_diffusion, own, settings)), **baselines}
        held = [
            pieces.get(f"without {' '.join(tree.names[tip] for tip in tips)}",
                       partial(hold_out, species, tips, settings))
            for tips in dealt
        ]  # fmt: skip
    table = tree_tables.held_out_table(tree, dealt, held)
    summary = tree_tables.held_out_summary(table)
    written = {
        "parameters": tree_tables.parameter_table(fits),
        "nodes": tree_tables.node_table(own, fits),
        "held_out": table,
        "held_out_summary": summary,
    }
    write_tables(written, folder, console)
    drawn = {
        "tree": tree_figures.tree(own, fits["diffusion"], outline),
        "ancestors": tree_figures.ancestors(own, fits, outline),
        "root": tree_figures.root(fits, outline),
        "held_out": tree_figures.held_out(table),
    }
    for name, figure in drawn.items():
        tell(save(figure, folder, name), console)
    worries = worries_of(fits, table)
    page = page_of(own, fits, written, settings, worries)
    write_whole(folder / "README.md", page.encode())
    tell([folder / "README.md"], console)
    for worry in worries:
        say(console, f"warning: {worry}")


def worries_of(fits: Mapping[str, Result], held: pd.DataFrame) -> list[str]:
    """Return a sentence for each fit that cannot be trusted."""
    found = fits["diffusion"]
    worries = [
        f"the fit of {NAMES[name]} did not converge, so its rows in parameters.csv and nodes.csv cannot be "
        "trusted; use more specimens, or fewer landmarks."
        for name in BROWNIAN
        if not fits[name]["converged"]
    ]
    for what in ("root", "theta"):
        ess, rhat = found[f"{what}_ess"], found[f"{what}_rhat"]
        if not (ess >= LEAST_ESS and rhat <= MOST_RHAT):
            name = "the root's shape" if what == "root" else "the parameters"
            worries.append(
                f"the chains of {name} have not mixed: ESS {ess:.0f} (at least {LEAST_ESS} is needed), "
                f"R-hat {rhat:.3f} (at most {MOST_RHAT}); use more --draws."
            )
    own = held[held["method"] == "diffusion"]
    poor = own[~((own["root_ess"] >= LEAST_ESS) & (own["root_rhat"] <= MOST_RHAT))]
    if len(poor):
        worries.append(
            f"the chains behind {len(poor)} of {len(own)} held-out predictions have not mixed: the least ESS "
            f"is {own['root_ess'].min():.0f}, the largest R-hat {own['root_rhat'].max():.3f}."
        )
    return worries
