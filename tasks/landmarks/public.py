"""Landmark data of public repositories by name: downloaded once at a pinned commit, checked and cached.

* papilio: outlines of 40 swallowtails of five species, 1,000 points each, from photographs of GBIF, aligned.
  Labels: `species`, and `tip`, the specimen's tip in the tree.
  https://github.com/libbylbaker/infsdebridge, MIT licence.
* carnivores: skulls of 19 carnivorans, each of a species of its own, 29 landmarks in 3-D, in millimetres.
  Labels: `species`, `tip`, and `number`, the specimen's in its museum.
  https://github.com/dosreislab/mcmc3r, MIT licence.
* foxes: skulls of 21 red foxes with the same landmarks, from the same repository. Labels: `species`, `tip`.

The skulls are those of S. Álvarez-Carretero, A. Goswami, Z. Yang and M. dos Reis, Bayesian estimation of
species divergence times using correlated quantitative characters, Systematic Biology 68 (2018) 967-986.

The data do not come with the suite, but the tree of the carnivores does. Each file must have its known
SHA-256, so the readers here do not look for mistakes.
"""

import csv
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path

import torch
from platformdirs import user_cache_path

from ..errors import UserError
from ..plugin import nearest
from .sample import LandmarkSample

GITHUB = "https://raw.githubusercontent.com"
PAPILIO = (
    f"{GITHUB}/libbylbaker/infsdebridge/ae4584927a327e53a834e753ae2964c40cbac5a1/data/Papilonidae_dataset"
)
MCMC3R = f"{GITHUB}/dosreislab/mcmc3r/f6a8f78bc55a53b724118480b6fbfbc71d3b0897/inst/extdata"
FILES: dict[str, tuple[str, str]] = {  # the folder and the SHA-256 of each file
    "Papilionidae_aligned.txt": (PAPILIO, "aa86f9d22d18b3f32e0ce367aabd72175e91df1b1bea5f8c52845c10de4465df"),
    "Papilonidae_metadata.txt": (PAPILIO, "2dbbaa1366fa8bc8b03590f03a041d1dc58b6c1c5e4b1b023eff77d1142852d9"),
    "papilionidae_tree.txt": (PAPILIO, "86567bb98e5179a42fec99d7ef65515b8913a7a559f48a4bbbd4ee73fbf381cd"),
    "carnivores19x29.tsv": (MCMC3R, "87c9bbcb7178f475209a244099bf4bbb8fd2c4f4485764197575c6c6936cabad"),
    "vulpes21x29.tsv": (MCMC3R, "77eec68c50e846bc8666edaa90a317d52dcf451f79d3e86659cedd657cdf0516"),
}


def read_public(name: str) -> LandmarkSample:
    """Return the data set called `name` in `PUBLIC`, downloading its files first if need be.

    Raises:
        UserError: a file cannot be downloaded, or is not the known one.
    """
    read, needed = PUBLIC[name]
    return read(*map(fetch, needed))


def tree_file(name: str) -> Path:
    """Return the path of the Newick tree of a data set, downloading it first if need be.

    The lengths of branches are millions of years for the carnivores, whose fossil tips end before the
    present, and expected substitutions for papilio.

    Raises:
        UserError: there is no such tree, or it cannot be downloaded.
    """
    if name == "carnivores":
        return Path(str(files("graybench.tasks.data.landmarks") / "carnivores.nwk"))
    if name == "papilio":
        return fetch("papilionidae_tree.txt")
    raise UserError(f"there is no tree of {name!r}: {nearest(name, ['carnivores', 'papilio'])}")


def fetch(file: str) -> Path:
    """Return the path of a file of `FILES` in the user's cache folder, downloading it if it is not there.

    Raises:
        UserError: the file cannot be downloaded, or its SHA-256 is not the known one.
    """
    import pooch  # takes 0.3 s

    folder, sha256 = FILES[file]
    url, path = f"{folder}/{file}", user_cache_path("graybench") / "landmarks" / file
    advice = f"put the file with the SHA-256 {sha256} at {path}."
    try:
        pooch.retrieve(url, f"sha256:{sha256}", fname=file, path=path.parent)
    except OSError as error:  # that of requests too
        raise UserError(f"{url} cannot be downloaded ({type(error).__name__}); {advice}") from error
    except ValueError as error:
        raise UserError(f"{url} has changed: its SHA-256 is not the known one; {advice}") from error
    return path


def read_outlines(outlines: Path, metadata: Path) -> LandmarkSample:
    """Read two rows per specimen, name, axis, x_1 … x_n and name, axis, y_1 … y_n, and a table of specimens.

    The table has the columns `match_landmarks` (the name), `species` and `match_tree` (the tip of the tree).
    """
    rows = _rows(outlines, "\t")
    header, *table = _rows(metadata, ",")
    about = {row["match_landmarks"]: row for row in (dict(zip(header, row, strict=True)) for row in table)}
    names = tuple(row[0] for row in rows[::2])
    numbers = torch.tensor([[float(word) for word in row[2:]] for row in rows], dtype=torch.float64)
    return LandmarkSample(
        torch.stack([numbers[::2], numbers[1::2]], -1),
        names,
        {
            "species": tuple(about[name]["species"] for name in names),
            "tip": tuple(about[name]["match_tree"] for name in names),
        },
    )


def read_skulls(path: Path, species: str | None = None) -> LandmarkSample:
    """Read a row per specimen: its name, perhaps its museum's number, and x, y, z of landmarks 1 … n.

    The header has a landmark's number above its x, and nothing above y and z.

    Args:
        path: the file.
        species: the species of all specimens; without it, each specimen is named by its species.
    """
    header, *rows = _rows(path, "\t")
    first = header.index("1")
    numbers = torch.tensor([[float(word) for word in row[first:]] for row in rows], dtype=torch.float64)
    names = tuple(row[0] for row in rows)
    kinds = names if species is None else (species,) * len(names)
    labels = {"species": kinds, "tip": kinds}
    if "Specimen #" in header:
        labels["number"] = tuple(row[header.index("Specimen #")] for row in rows)
    return LandmarkSample(numbers.unflatten(1, (-1, 3)), names, labels)


def _rows(path: Path, delimiter: str) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=delimiter))


PUBLIC: dict[str, tuple[Callable[..., LandmarkSample], tuple[str, ...]]] = {
    "papilio": (read_outlines, ("Papilionidae_aligned.txt", "Papilonidae_metadata.txt")),
    "carnivores": (read_skulls, ("carnivores19x29.tsv",)),
    "foxes": (partial(read_skulls, species="Vul_vul"), ("vulpes21x29.tsv",)),
}
