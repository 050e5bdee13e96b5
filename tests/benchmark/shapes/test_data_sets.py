"""`graybench shapes` on data sets by name: small files in their formats lie in the cache."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from graybench.benchmark.shapes import report
from graybench.tasks.landmarks import public
from graybench.tasks.landmarks.files import read_landmarks
from graybench.tasks.landmarks.outlines import thinned
from graybench.tasks.landmarks.task import ellipse
from graybench.tasks.seeding import generator

QUICK = ("--particles", 2, "--steps", 4, "--held-out", 2)
SPECIES = ("Papilio round", "Papilio long")


def noisy(shape: Tensor, count: int, seed: int) -> Tensor:
    noise = torch.randn((count, *shape.shape), generator=generator(seed), dtype=torch.float64)
    return shape + 0.02 * noise


def words(numbers: Iterable[float]) -> str:
    return "\t".join(map(repr, numbers))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Return a function that puts files into the cache and makes their SHA-256 the known one."""
    cache = tmp_path / "graybench/landmarks"
    monkeypatch.setattr(public, "user_cache_path", lambda name: tmp_path / name)
    cache.mkdir(parents=True)

    def place(contents: dict[str, str]) -> None:
        for name, text in contents.items():
            (cache / name).write_text(text)
            known = ("http://127.0.0.1:9", hashlib.sha256(text.encode()).hexdigest())
            monkeypatch.setitem(public.FILES, name, known)

    return place


@pytest.fixture
def papilio(place: Callable[[dict[str, str]], None]) -> None:
    """Put 4 round and 4 long outlines of 24 points into the cache."""
    outline = ellipse(24, 2)
    wings = torch.cat([noisy(outline * torch.tensor([1, 2]), 4, 1), noisy(outline, 4, 2)])
    rows = [
        f'"w{i}"\t"{axis}-coordinates"\t{words(wing[:, k].tolist())}'
        for i, wing in enumerate(wings)
        for k, axis in enumerate("xy")
    ]
    table = [f'"w{i}","{SPECIES[i // 4]}","tip{i // 4}"' for i in range(8)]
    place(
        {
            "Papilionidae_aligned.txt": "\n".join(rows),
            "Papilonidae_metadata.txt": "\n".join(['"match_landmarks","species","match_tree"', *table]),
        }
    )


def test_species_of_papilio_are_told_apart(
    papilio: None, tmp_path: Path, graybench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_draw", lambda *_: None)  # drawing takes most of the time
    options = ("--group", "species", "--points", 5, *QUICK, "--out", tmp_path / "out")
    status, said, error = graybench("shapes", "papilio", *options)
    assert (status, error) == (0, "")
    assert "Outlines are thinned to 5 points at equal arc length." in said
    classified = pd.read_csv(tmp_path / "out/classification.csv")
    assert (classified["by_likelihood"] == classified["group"]).all()
    assert tuple(classified["group"].unique()) == SPECIES
    assert len(pd.read_csv(tmp_path / "out/means.csv")) == 2 * 5 * 2


def test_papilio_is_thinned_to_20_points_unless_told_otherwise(
    papilio: None, tmp_path: Path, graybench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def note(sample: Any, *_: Any) -> pd.DataFrame:
        seen.append(sample.coordinates)
        return pd.DataFrame({"ess_fraction": [1.0]})

    monkeypatch.setattr(report, "report_groups", note)
    for points in ((), ("--points", 24)):
        assert graybench("shapes", "papilio", *points, "--out", tmp_path)[0] == 0
    outlines = read_landmarks("papilio").coordinates
    assert torch.equal(seen[0], thinned(outlines, 20))
    assert torch.equal(seen[1], thinned(outlines, 24))
    status, _, error = graybench("shapes", "papilio", "--points", 25, "--out", tmp_path)
    assert status == 2
    assert "points must be from 3 to 24, the number of landmarks, but is 25." in error


@pytest.mark.parametrize(
    ("name", "file", "header"),
    [
        ("carnivores", "carnivores19x29.tsv", "Taxon\tSpecimen #"),
        ("foxes", "vulpes21x29.tsv", ""),
    ],
)
def test_skulls_are_one_group_in_three_dimensions(
    name: str,
    file: str,
    header: str,
    place: Callable[[dict[str, str]], None],
    tmp_path: Path,
    graybench: Any,
) -> None:
    skulls = 50 * noisy(ellipse(4, 3), 5, 3)
    rows = ["\t".join([header, *(f"{i}\t\t" for i in range(1, 5))])]
    number = "\tAMNH 1" if header else ""
    rows += [f"s{i}{number}\t{words(skull.flatten().tolist())}" for i, skull in enumerate(skulls)]
    place({file: "\n".join(rows) + "\n"})
    status, _, error = graybench("shapes", name, *QUICK, "--out", tmp_path / "out")
    assert (status, error) == (0, "")
    groups = pd.read_csv(tmp_path / "out/groups.csv")
    assert groups["n"].unique().tolist() == [5]
    assert len(pd.read_csv(tmp_path / "out/means.csv")) == 4 * 3
    assert (tmp_path / "out/means.pdf").stat().st_size > 1000
