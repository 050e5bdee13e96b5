"""Mistakes in files of shapes and options are named."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graybench.benchmark.shapes import fits as shapes
from graybench.benchmark.shapes.growth import fit_growth, intervals_of
from graybench.benchmark.shapes.specimens import Specimens, specimens_of
from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.files import read_landmarks
from graybench.tasks.landmarks.sample import LandmarkSample
from graybench.tasks.landmarks.task import ellipse
from graybench.tests.benchmark.shapes.groups import write_groups
from graybench.tests.methods.bridge.test_shape_likelihood import diffuse


def _labelled(coordinates: Tensor, group: tuple[str, ...]) -> LandmarkSample:
    return LandmarkSample(coordinates, tuple("abcdefghij"[: len(group)]), {"group": group})


def test_mistakes_are_named(two_groups: Path, tmp_path: Path, graybench: Any) -> None:
    def mistake(*arguments: Any) -> str:
        status, _, error = graybench("shapes", *arguments)
        assert status == 2
        return str(error)

    out = ("--out", tmp_path / "out")
    wrong = mistake("apes", "--group", "grup", *out)
    assert "there is no column 'grup' in this sample: did you mean group?" in wrong
    few = write_groups(
        tmp_path / "few.csv", {"many": diffuse(ellipse(5, 2), 5, 1), "few": diffuse(ellipse(5, 2), 3, 1)}
    )
    assert "group 'few' has 3 specimens, and a fit needs 4 or more" in mistake(few, "--group", "sort", *out)
    (tmp_path / "file").write_text("")
    assert "this folder cannot be made" in mistake(two_groups, "--group", "sort", "--out", tmp_path / "file")
    assert "needs both --age and --id" in mistake("rats", "--age", "age_days", *out)
    assert "cannot be used with --age" in mistake(
        "rats", "--age", "age_days", "--id", "rat", "--group", "rat", *out
    )
    assert "group must be a finite number, but is 'gorf' for specimen '1'" in mistake(
        "apes", "--age", "group", "--id", "group", *out
    )
    assert "occurs twice at age_days 7" in mistake("rats", "--age", "age_days", "--id", "age_days", *out)
    assert "nugget must be a finite number above 0" in mistake("apes", "--nugget", 0, *out)
    assert "there is no base 'midpont': did you mean midpoint?" in mistake("apes", "--base", "midpont", *out)
    assert mistake("apes", "--start", "meen", *out) == (
        "graybench: shapes: there is no start 'meen': did you mean mean?\n"
    )
    growth = ("rats", "--age", "age_days", "--id", "rat", "--start", "mean")
    assert "--start cannot be used with --age: each animal starts in its own" in mistake(*growth, *out)
    assert "--start has no meaning with --tree" in mistake(
        "carnivores", "--tree", "carnivores", "--start", "mean", *out
    )
    with pytest.raises(UserError, match="has 1 specimens"):
        specimens_of(read_landmarks(two_groups).select([0, 9, 10, 11, 12]), "sort")


def test_specimens_without_a_group_are_named() -> None:
    shapes_of = diffuse(ellipse(5, 2), 5, 1)
    with pytest.raises(UserError, match="specimen 'b' has no group; write one, or leave the specimen out"):
        specimens_of(_labelled(shapes_of, ("f", "", "f", "f", "f")), "group")
    with pytest.raises(UserError, match="specimen 'b' and 1 more have no group"):
        specimens_of(_labelled(shapes_of, ("f", "", "f", "", "f")), "group")
    with pytest.raises(UserError, match="specimen 'a' and 4 more have no group"):
        intervals_of(_labelled(shapes_of, ("",) * 5), "group", "group")


def test_identical_specimens_are_named(tmp_path: Path, graybench: Any) -> None:
    # the copies are turned, moved and scaled, which is no difference of shape
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    copies = torch.stack([ellipse(5, 2), *(k * ellipse(5, 2) @ turn + k for k in (2.0, 3.0, 4.0, 5.0))])
    other = diffuse(ellipse(5, 2), 5, 1)
    path = write_groups(tmp_path / "copies.csv", {"same": copies, "other": other})
    status, _, error = graybench("shapes", path, "--group", "sort", "--out", tmp_path / "out")
    assert status == 2
    assert error == (
        "graybench: fit same: the shapes differ by no more than rounding, so no diffusion can be fitted; "
        "check whether specimens are copies of each other.\n"
    )
    # one differs: without it a fold has only copies
    raw = Specimens(torch.cat([copies[:4], other]), tuple("abcdefghi"), ("p",) * 5 + ("q",) * 4)
    with pytest.raises(UserError, match="fold 0 p: the shapes differ by no more than rounding"):
        shapes.held_out(raw, [1, 1, 1, 1, 0, 1, 1, 1, 1], 0, shapes.Settings(particles=2, steps=4))
    labels = {"id": tuple("abcd") * 2, "age": ("3",) * 4 + ("7",) * 4}
    still = LandmarkSample(torch.cat([other[:4], other[:4]]), tuple("abcdefgh"), labels)
    (interval,) = intervals_of(still, "age", "id")
    with pytest.raises(UserError, match="growth 3-7: the shapes differ by no more than rounding"):
        fit_growth(interval, shapes.Settings(particles=2, steps=4), trend=False)


def test_a_missing_landmark_is_warned_of(tmp_path: Path, graybench: Any) -> None:
    found = diffuse(ellipse(5, 2), 4, 5) + 7
    found[1, 2] = -1
    path = write_groups(tmp_path / "minus.csv", {"x": found})
    status, said, error = graybench("shapes", path, "--particles", 2, "--steps", 4, "--out", tmp_path / "out")
    assert (status, error) == (0, "")
    assert said.startswith(f"warning: {path}: landmark 3 of specimen 'x1' is probably missing")
