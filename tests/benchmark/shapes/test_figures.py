"""Figures of shapes: outlines are closed, and labels do not run into each other."""

import numpy as np
import pandas as pd
import torch

from graybench.benchmark.shapes import figures
from graybench.benchmark.shapes.specimens import Specimens
from graybench.tasks.landmarks.task import ellipse


def test_outlines_are_closed_lines_through_the_means() -> None:
    mean = ellipse(5, 2)
    specimens = Specimens(torch.stack([mean] * 4), tuple("abcd"), ("g",) * 4)
    closed = np.vstack([mean, mean[:1]])
    for outline in (True, False):
        (axis,) = figures.means(specimens, {"g": mean.numpy()}, outline).axes
        lines = [line.get_xydata() for line in axis.get_lines() if len(line.get_xydata()) == 6]
        assert [np.array_equal(line, closed) for line in lines] == [True] * outline
        assert len(axis.texts) == (0 if outline else 5)  # numbers of landmarks


def test_labels_have_room() -> None:
    names = ["Papilio polytes", "Papilio ambrax"]
    rows = [
        {
            "specimen": own,
            "own_group": own,
            "fit": "all",
            "group": group,
            "log_likelihood": 1.0 if own == group else -2.0 * (own == names[0]),
        }
        for own in names
        for group in names
    ]
    for groups, angle in ((names, 30), (["p", "q"], 0)):
        table = pd.DataFrame(rows).replace(dict(zip(names, groups, strict=True)))
        axis = figures.matrix(table, groups).axes[0]
        assert [label.get_rotation() for label in axis.get_xticklabels()] == [angle] * 2
        assert [label.get_text() for label in axis.get_yticklabels()] == groups  # the specimens
        assert [text.get_text() for text in axis.texts] == ["0", "−3.0", "−1.0", "0"]
    narrow = pd.DataFrame(
        {
            "group": "g",
            "parameter": ["a"] * 9 + ["length"] * 9,
            "value": [*np.linspace(0.0225, 0.0263, 9), *np.geomspace(0.1, 2, 9)],
            "log_likelihood": np.arange(18) / 10,
            "stderr": np.arange(18) / 100,
        }
    )
    for axis in figures.profiles(narrow).axes:
        low, high = axis.get_xlim()
        assert 2 <= sum(low <= tick <= high for tick in axis.get_xticks()) <= 7
    for axis, own in zip(figures.profiles(narrow).axes, (narrow[:9], narrow[9:]), strict=True):
        line, corners = axis.get_lines()[0], axis.collections[0].get_paths()[0].vertices
        np.testing.assert_array_equal(line.get_xydata(), own[["value", "log_likelihood"]])
        for x, y, error in own[["value", "log_likelihood", "stderr"]].to_numpy():
            ends = corners[corners[:, 0] == x, 1]
            assert (ends.min(), ends.max()) == (y - 2 * error, y + 2 * error)
