"""Claims about species: butterflies with their ancestors, and a fox among foxes and other carnivorans."""

import math

import numpy as np
import pandas as pd

from ...analysis.statistics import Interval, exact
from ..findings import Finding
from .claims import Found, normal

# The inner nodes of the tree of papilio, and the species below each.
NODES = {
    "QS1868": {"deiphobus", "protenor", "polytes", "phestus", "ambrax"},
    "QS1870": {"protenor", "polytes", "phestus", "ambrax"},
    "QS1871": {"polytes", "phestus", "ambrax"},
    "QS1872": {"phestus", "ambrax"},
}
FOX, WOLF = "Vul_vul", "Can_lup"


def ancestors_agree_with_the_tree(shapes: pd.DataFrame, nodes: pd.DataFrame) -> Found:
    """Compute the rms distance of ancestors from the tree's, over the rms standard error of the former.

    The largest over pairs of species, and that of the ancestor of all. The tree's are those of the diffusion.
    """
    tree = nodes[nodes["method"] == "diffusion"].set_index(["node", "landmark", "axis"])["mean"]
    pairs: dict[str, float] = {}
    every: dict[str, float] = {}
    for groups, own in shapes.groupby("groups", sort=False):
        species = {name.split()[-1] for name in str(groups).split(" + ")}
        node = min((name for name in NODES if species <= NODES[name]), key=lambda name: len(NODES[name]))
        apart = own.set_index(["landmark", "axis"])["ancestor"] - tree.loc[node]
        share = _rms(apart) / _rms(own["stderr"])
        (pairs if len(species) == 2 else every)[" and ".join(sorted(species))] = share
    worst = max(pairs, key=lambda pair: pairs[pair])
    claim = (
        f"largest over {len(pairs)} pairs of the distance to the tree's ancestor / standard error ({worst})"
    )
    yield Finding(claim, "papilio", None, 1.0, exact(pairs[worst]))
    for share in every.values():
        claim = "distance of the ancestor of all to the tree's root / standard error"
        yield Finding(claim, "papilio", None, 1.0, exact(share))


def _rms(values: pd.Series) -> float:
    return float(np.sqrt(np.square(values.to_numpy(dtype=float)).mean()))


def species_differ_more_than_specimens(between: pd.DataFrame) -> Found:
    """Yield the amplitude between species over that within species."""
    known = between.set_index("quantity").loc["a_between_over_within", ["estimate", "low", "high"]]
    yield Finding("a between species / a within", "papilio", None, 1.0, Interval(*known.astype(float)), True)


def foxes_are_likelier(also: pd.DataFrame, likelihoods: pd.DataFrame) -> Found:
    """Compute how far a wolf, another fox and the likeliest other species are below held-out foxes, in nats.

    Both specimens of no group have the normal law's log-likelihood too, as that by bridges is too low where
    weights collapse; the higher of the two counts. The interval is over held-out foxes.
    """
    held = likelihoods.loc[likelihoods["fit"] == "held_out", "log_likelihood"].to_numpy(dtype=float)
    value = also.set_index("specimen")[["log_likelihood", "normal"]].max(axis=1)
    stderr = float(held.std(ddof=1)) / math.sqrt(len(held))
    lead = normal(held.mean() - value[WOLF], stderr)
    yield Finding("mean held-out fox less the wolf, nats", "foxes", None, 0.0, lead, at_least=True)
    others = value.drop(FOX)
    above = int((others >= held.min()).sum())
    claim = (
        f"number of {len(others)} other species as likely as the least likely of {len(held)} held-out foxes"
    )
    yield Finding(claim, "foxes", None, 0, exact(above))


def carnivorans_differ_more_than_foxes(foxes: pd.DataFrame, carnivores: pd.DataFrame) -> Found:
    """Compute the amplitude of a diffusion from one shape to 19 species, over that to the foxes."""
    logs, variance = [], 0.0
    for table in (carnivores, foxes):
        row = table[table["quantity"] == "a"].iloc[0]
        logs.append(math.log(float(row["estimate"])))
        variance += float(row["stderr"] / row["estimate"]) ** 2
    found = normal(logs[0] - logs[1], math.sqrt(variance))
    ratio = Interval(*map(math.exp, found))
    yield Finding("a of 19 carnivorans / a of 21 red foxes", "skulls", None, 1.0, ratio, at_least=True)
