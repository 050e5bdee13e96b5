"""Landmark files: facts known of the shipped ones, small files read exactly, and every mistake placed."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.files import SHIPPED, read_landmarks
from graybench.tasks.landmarks.sample import LandmarkSample

CSV = """specimen,group,landmark,x,y
a,f,tip,0,1.5
a,f,base,-2,1e1
a,f,side,3,4
b,m,side,9,8
b,m,tip,5,6
b,m,base,7,-0.25
"""
# The same two specimens, with what else a TPS file may hold: other case, blank lines, curves, radii.
TPS = """LM=3
0 1.5
-2\t1e1
3 4
IMAGE=a.jpg
ID=a
Group = f

lm = 3
50 60
70 -2.5
90 80
CURVES=1
POINTS=2
1 1
2 2
RADII=1
5.5
IMAGE=b=2.jpg
ID=b
GROUP=m
SCALE=0.1
"""
TPS = TPS.replace("Group = f", "Group = f\nscale=1")
EXPECTED = torch.tensor(
    [[[0.0, 1.5], [-2.0, 10.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, -0.25], [9.0, 8.0]]], dtype=torch.float64
)


@pytest.fixture
def write(tmp_path):
    def write(text, name="bones.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "shape", "label", "counts"),
    [
        ("apes", (167, 8, 2), "group", "gorf 30 gorm 29 panf 26 panm 28 pongof 24 pongom 30"),
        ("macaques", (18, 7, 3), "group", "f 9 m 9"),
        ("rats", (144, 8, 2), "age_days", "7 18 14 18 21 18 30 18 40 18 60 18 90 18 150 18"),
        ("mice_outlines", (76, 60, 2), "group", "c 30 l 23 s 23"),
    ],
)
def test_shipped_landmarks(name, shape, label, counts):
    sample = read_landmarks(name)
    assert sample.coordinates.shape == shape
    assert sample.coordinates.dtype == torch.float64
    assert len(sample) == len(set(sample.specimens)) == shape[0]
    words = counts.split()
    assert Counter(sample.labels[label]) == dict(zip(words[::2], map(int, words[1::2]), strict=True))


def test_the_18_rats_are_measured_at_every_age():
    labels = read_landmarks("rats").labels
    assert len(set(zip(labels["rat"], labels["age_days"], strict=True))) == 144
    assert set(Counter(labels["rat"]).values()) == {8}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_number_of_a_shipped_file_is_in_its_place(name):
    sample = read_landmarks(name)
    with SHIPPED[name].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sample.coordinates.shape[0] * sample.coordinates.shape[1]
    for row in rows:
        s, i = sample.specimens.index(row["specimen"]), int(row["landmark"]) - 1
        assert sample.coordinates[s, i].tolist() == [float(row[axis]) for axis in "xyz" if axis in row]
        assert all(sample.labels[label][s] == row[label] for label in sample.labels)


def test_shipped_landmarks_have_their_origin_beside_them():
    readme = next(iter(SHIPPED.values())).with_name("README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in readme for path in SHIPPED.values())
    assert "[GPL-2](GPL-2.0-only.txt)" in readme


def test_csv_is_read_by_names_whatever_the_order_of_rows(write):
    sample = read_landmarks(write(CSV))
    assert torch.equal(sample.coordinates, EXPECTED)
    assert sample.specimens == ("a", "b")
    assert sample.labels == {"group": ("f", "m")}


def test_csv_of_a_spreadsheet(write):
    text = CSV.replace(",", " , ").replace("b,m,side", '\n"b",m,side') + "\n,,,,\n"
    sample = read_landmarks(write(text, "BONES.CSV", "utf-8-sig"))
    assert torch.equal(sample.coordinates, EXPECTED)
    assert sample.specimens == ("a", "b")


def test_csv_labels_stay_text(write):
    text = CSV.replace("group", "site").replace(",f,", ",007,").replace(",m,", ",NA,")
    assert read_landmarks(str(write(text))).labels == {"site": ("007", "NA")}


def test_csv_in_three_dimensions(write):
    rows = ["z,specimen,landmark,y,x", "3,a,1,2,1", "6,a,2,5,4", "9,a,3,8,7"]
    sample = read_landmarks(write("\n".join(rows)))
    assert sample.coordinates.tolist() == [[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]
    assert sample.labels == {}


def test_tps_gives_what_csv_gives(write):
    sample = read_landmarks(write(TPS, "bones.TPS", "utf-8-sig"))
    torch.testing.assert_close(sample.coordinates, EXPECTED, rtol=1e-15, atol=0)
    assert sample.specimens == ("a", "b")
    assert sample.labels == {"image": ("a.jpg", "b=2.jpg"), "group": ("f", "m")}


def test_tps_in_three_dimensions_without_names(write):
    text = "LM3=2\n1 2 3\n4 5 6\nCOMMENT=young\nLM3=2\n0 0 0\n0 0 1\n"
    sample = read_landmarks(write(text, "bones.tps"))
    assert sample.coordinates.tolist() == [[[1, 2, 3], [4, 5, 6]], [[0, 0, 0], [0, 0, 1]]]
    assert sample.specimens == ("1", "2")
    assert sample.labels == {"comment": ("young", "")}


def test_tps_without_id_is_named_by_its_image(write):
    sample = read_landmarks(write(re.sub("ID=.\n", "", TPS), "bones.tps"))
    assert sample.specimens == ("a.jpg", "b=2.jpg")


@pytest.mark.parametrize("rows", [[2, 0], (-1, 0), torch.tensor([2, 0])])
def test_select_by_position(rows):
    selected = LandmarkSample(
        torch.arange(12.0).reshape(3, 2, 2), ("a", "b", "c"), {"group": ("f", "m", "x")}
    ).select(rows)
    assert selected.coordinates.flatten().tolist() == [8, 9, 10, 11, 0, 1, 2, 3]
    assert (selected.specimens, selected.labels) == (("c", "a"), {"group": ("x", "f")})


def test_select_by_truth_values():
    apes = read_landmarks("apes")
    males = apes.select([group == "pongom" for group in apes.labels["group"]])
    assert len(males) == 30
    assert set(males.labels["group"]) == {"pongom"}
    assert torch.equal(males.coordinates[0], apes.coordinates[apes.labels["group"].index("pongom")])


@pytest.mark.parametrize("rows", [[], [False] * 18, [18], [True], ["a"], [1, "a"], [None], [[0, 1]], 3])
def test_select_refuses_rows_that_are_not_there(rows):
    with pytest.raises(UserError, match="of the 18 specimens"):
        read_landmarks("macaques").select(rows)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (CSV, "", "bones.csv is empty"),
        (CSV, " \n \n", "bones.csv is empty"),
        (CSV, ",,,\n,,,\n", "has no column specimen, landmark, x, y"),
        (CSV, "specimen,landmark,x,y\n", "has a header and no rows"),
        (",y", ",why", "has no column y: its header must name specimen, landmark, x, y"),
        (",", ";", "has no column specimen, landmark, x, y: .* separated by commas, but is 'specimen;group"),
        (",group", ",x", "a name of its own, but they are 'specimen,x,landmark,x,y'"),
        ("a,f,tip,0,1.5", "a,f,tip,0,1,5", "not a table with commas: .* line 2"),
        ("a,f,base,-2,1e1", "a,f,base,-2,1e1m", "line 3: specimen 'a' has '1e1m' in landmark base"),
        ("a,f,base,-2,1e1", "a,f,base,-2,1_0", "line 3: specimen 'a' has '1_0' in landmark base"),
        ("b,m,side,9,8", "b,m,side,nan,8", "line 5: specimen 'b' has 'nan' in landmark side"),
        ("b,m,side,9,8", "\nb,m,side,-inf,8", "line 6: specimen 'b' has '-inf' in landmark side"),
        ("b,m,side,9,8", "b,m,side,9,", "line 5: specimen 'b' lacks landmark side"),
        ("b,m,side,9,8", "b,m,side,9", "line 5: specimen 'b' lacks landmark side"),
        ("b,m,side,9,8", "b,m,side,NA,NA", "line 5: specimen 'b' lacks landmark side"),
        ("b,m,side,9,8\n", "", "bones.csv: specimen 'b' lacks landmark side"),
        ("a,f,tip,0,1.5\na,f,base,-2,1e1\n", "", "bones.csv: specimen 'a' lacks landmark tip, base"),
        (
            "tip,5,6",
            "tip,5,6\nc,f,tip,1,2\nc,f,base,3,4\nc,f,side,5,6\nc,f,ear,7,8",
            "'c' has, .* landmark ear",
        ),
        ("b,m,side", ",m,side", "line 5: specimen '', landmark 'side': .* need a name"),
        ("b,m,side", "b,m,", "line 5: specimen 'b', landmark '': .* need a name"),
        ("b,m,tip", "b,m,side", "line 6: specimen 'b' has landmark side a second time"),
        ("b,m,tip", "b,f,tip", "line 6: specimen 'b' has group 'f', but 'm' in an earlier line"),
        (CSV, "specimen,landmark,x,y\nq,1,2,3\nq,2,2,3\n", "all landmarks of specimen 'q' coincide"),
    ],
)
def test_mistakes_in_csv_are_placed(write, old, new, message):
    assert old in CSV
    with pytest.raises(UserError, match=message) as error:
        read_landmarks(write(CSV.replace(old, new)))
    assert "bones.csv" in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TPS, "\n", "bones.tps is empty"),
        (TPS, "ID=a\n" + TPS, "line 1: a specimen begins with LM= or LM3=, not with 'ID=a'"),
        ("3 4\n", "", "line 1: specimen 'a' has 2 lines of coordinates, which must agree with 'LM=3'"),
        ("3 4\n", "3 4\n5 6\n", "line 1: specimen 'a' has 4 lines of coordinates"),
        ("LM=3", "LM=three", "line 1: specimen 'a' needs landmarks, as in LM=8, but has 'LM=three'"),
        ("LM=3", "LM=0", "line 1: specimen 'a' needs landmarks"),
        ("3 4\n", "3 4 5\n", "line 4: specimen 'a' has 3 numbers in landmark 3, not 2; .* LM3= for three"),
        ("90 80", "90 8O", "line 13: specimen 'b' has '8O' in landmark 3"),
        ("90 80", "90 nan", "line 13: specimen 'b' has 'nan' in landmark 3"),
        ("70 -2.5", "NA NA", "line 12: specimen 'b' lacks landmark 2"),
        ("ID=b", "ID=a", "line 10: a second specimen is called 'a'"),
        ("ID=b", "ID=b\nid=c", "line 22: ID= occurs twice"),
        ("ID=a", "ID=a\nhello", "line 7: specimen 'a' has 'hello'; begin a comment with COMMENT="),
        ("\nscale=1", "", "specimen 'a' has no SCALE=, but others have"),
        ("scale=1", "scale=-1", "SCALE of specimen 'a' must be above 0, but is '-1'"),
        ("scale=1", "scale=", "SCALE of specimen 'a' must be above 0, but is ''"),
        (
            "lm = 3\n50 60\n",
            "lm = 2\n",
            "specimen 'b' has 2 landmarks in 2-D, but the first, 'a', has 3 landmarks",
        ),
        (
            "LM=3\n0 1.5\n-2\t1e1\n3 4",
            "LM3=3\n0 0 0\n1 1 1\n2 3 4",
            "specimen 'b' has 3 landmarks in 2-D, but",
        ),
        (TPS, "LM=2\n1 1\n1 1\nIMAGE=q\n", "all landmarks of specimen 'q' coincide"),
    ],
)
def test_mistakes_in_tps_are_placed(write, old, new, message):
    assert old in TPS
    with pytest.raises(UserError, match=message) as error:
        read_landmarks(write(TPS.replace(old, new), "bones.tps"))
    assert "bones.tps" in str(error.value)


def test_unknown_names_and_files_are_answered(write, tmp_path):
    with pytest.raises(UserError, match=r"'macaque' are neither .* did you mean macaques\?"):
        read_landmarks("macaque")
    names = "apes, carnivores, foxes, macaques, mice_outlines, papilio, rats"
    with pytest.raises(UserError, match=rf"ending in \.csv or \.tps: there are {names}\."):
        read_landmarks(write(CSV, "q.xlsx"))
    with pytest.raises(UserError, match=r"gone\.tps cannot be read: No such file"):
        read_landmarks(Path(tmp_path / "gone.tps"))


def test_text_of_windows_programs_is_read(write):
    sample = read_landmarks(write(TPS.replace("ID=a", "ID=Höhe – 1"), "bones.tps", "cp1252"))
    assert sample.specimens == ("Höhe – 1", "b")
    text = CSV.replace("a,f", "ä,f").replace("\n", "\r\n")
    assert read_landmarks(write(text, encoding="cp1252")).specimens == ("ä", "b")


def test_byte_order_marks_are_dropped_where_files_were_joined(write):
    second = TPS.replace("ID=a", "ID=c").replace("ID=b", "ID=d")
    sample = read_landmarks(write(f"\ufeff{TPS}\ufeff{second}", "bones.tps"))
    assert sample.specimens == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (TPS.encode().replace(b"ID=b", b"ID=\x81"), 21),  # no character of Windows-1252
        (TPS.replace("\n", "\r\n").encode().replace(b"ID=b", b"ID=\x81"), 21),
        (TPS.encode("utf-16"), 1),
    ],
)
def test_other_text_is_refused_by_its_line(tmp_path, content, line):
    path = tmp_path / "bones.tps"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"bones\.tps, line {line}: this is neither UTF-8 nor Windows-1252"):
        read_landmarks(path)


@pytest.mark.parametrize(
    "skipped",
    [
        "OUTLINES=2\nCHAIN=3 4 5\n0 1 7 7\n2 3\nCHAIN=9\n1 1 2\n",
        "OUTLINES=1\nPOINTS=1\n7 7\nCHAIN=9\n1 2\nCHAIN=2\n3\n",
        "RADII=2\n5.5\n6\nRADII=1\n7\n",
        "RADII=5.5\nradii = 6\n",
        "CURVES=1\nPOINTS=2\n1 1\n2 2\nCURVES=1\nPOINTS=1\n3 3\n",
    ],
)
def test_curves_outlines_and_radii_of_tps_are_skipped_however_many(write, skipped):
    sample = read_landmarks(write(TPS.replace("ID=a\n", f"{skipped}ID=a\n"), "bones.tps"))
    torch.testing.assert_close(sample.coordinates, EXPECTED, rtol=1e-15, atol=0)
    assert sample.labels == {"image": ("a.jpg", "b=2.jpg"), "group": ("f", "m")}


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("LM=3\n1 2\n-1 -1\n3 4\nSCALE=2\nID=a\n", "a.tps", "landmark 2 of specimen 'a' is probably missing"),
        ("LM=3\n-1 -1.0\n-1 -1\n3 4\n", "a.tps", "landmark 1 of specimen '1', and 1 more, is probably"),
        ("LM3=3\n1 2 3\n-1 -1 -1\n3 4 1\n", "a.tps", "landmark 2 of specimen '1' is probably missing"),
        (
            "specimen,landmark,x,y\nq,tip,1,2\nq,top,5,2\nq,ear,-1,-1\n",
            "a.csv",
            "landmark ear of specimen 'q' is probably missing",
        ),
    ],
)
def test_a_landmark_at_minus_one_among_positive_ones_draws_a_warning(write, text, name, message):
    with pytest.warns(UserWarning, match=rf"{name}: {message}"):
        read_landmarks(write(text, name))


@pytest.mark.parametrize("point", ["-1 5", "-2 -2", "1 1", "-1 -1\n-2 5"])
def test_other_negative_coordinates_draw_none(write, recwarn, point):
    count = 2 + len(point.split("\n"))
    read_landmarks(write(f"LM={count}\n1 2\n{point}\n3 4\n", "a.tps"))
    assert not recwarn.list
