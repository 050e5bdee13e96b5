"""Newick files: trees read exactly, names matched, and every mistake placed in one sentence."""

import math

import pytest

from graybench.tasks.errors import UserError
from graybench.tasks.landmarks.trees import Tree, read_tree

FOXES = "((wolf:3,'red fox':2.5)dogs:1e1,bear:20,(cat:1,lion:1)[&&x]cats:0.5)root:7;\n"


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "tree.nwk"
        path.write_text(text, encoding="utf-8")
        return read_tree(path, "million years")

    return read


def test_tree_is_read_with_names_lengths_and_a_polytomy(read):
    tree = read(FOXES)
    assert tree == Tree(
        (-1, 0, 1, 1, 0, 0, 5, 5),
        (0.0, 10.0, 3.0, 2.5, 20.0, 0.5, 1.0, 1.0),
        ("root", "dogs", "wolf", "red fox", "bear", "cats", "cat", "lion"),
        "million years",
    )
    assert tree.children == ((1, 4, 5), (2, 3), (), (), (), (6, 7), (), ())
    assert tree.tips == (2, 3, 4, 6, 7)
    assert tree.inner == (0, 1, 5)
    assert tree.ages == (0.0, 10.0, 13.0, 12.5, 20.0, 0.5, 1.5, 1.5)
    assert tree.height == 20.0
    assert list(tree.preorder) == [1, 2, 3, 4, 5, 6, 7]
    assert list(tree.postorder) == [7, 6, 5, 4, 3, 2, 1, 0]


def test_specimens_hang_below_their_species(read):
    tree = read("(a:1,b:2);")
    tips = tree.matched(["b", "a", "b"])
    assert tips == (2, 1, 2)
    full = tree.with_specimens(tips, ["x", "y", "z"])
    assert full == Tree(
        (-1, 0, 0, 2, 1, 2), (0, 1, 2, 1, 1, 1), ("", "a", "b", "x", "y", "z"), "million years"
    )
    assert full.tips == (3, 4, 5)


def test_a_space_in_a_species_is_an_underscore_in_the_tree(read):
    tree = read("(Can_lup:1,'Vul vul':1,'Can lup':1);")
    assert tree.matched(["Can lup", "Can_lup", "Vul_vul"]) == (3, 1, 2)


def test_tips_are_taken_away_and_their_places_are_known(read):
    tree = read(FOXES)
    wolf, red_fox, bear, cat, lion = tree.tips
    # The dogs stay with one child, and the cats go.
    assert tree.without((lion, red_fox, cat)) == (
        Tree((-1, 0, 1, 0), (0.0, 10.0, 3.0, 20.0), ("root", "dogs", "wolf", "bear"), "million years"),
        (0, 1, 0),
        (1.5, 2.5, 1.5),
    )
    assert tree.without((bear,)).nodes == (0,)
    with pytest.raises(UserError, match="a tree needs two tips, but 1 of 5 would be left"):
        tree.without((wolf, red_fox, bear, cat))


def test_distance_is_along_the_branches(read):
    tree = read(FOXES)
    wolf, red_fox, bear, cat, lion = tree.tips
    assert tree.distance(wolf, red_fox) == tree.distance(red_fox, wolf) == 5.5
    assert tree.distance(wolf, lion) == 13 + 1.5
    assert tree.distance(bear, 0) == 20
    assert tree.distance(cat, cat) == 0


def test_a_deep_tree_needs_no_recursion_of_ours():
    depth = 5000
    chain = Tree(
        (-1, *range(depth)), (0.0, *(1.0 for _ in range(depth))), ("",) * depth + ("tip",), "million years"
    )
    assert chain.height == depth
    assert chain.tips == (depth,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("((a:1,b:1):1,c:1", "not in Newick format.*braces"),
        ("#NEXUS\nbegin trees;", "not in Newick format"),
        ("(a:1,b:x);", "not in Newick format.*'x'"),
        ("(" * 3000 + "a:1" + ",b:1):1" * 3000 + ";", "not in Newick format.*recursion"),
        ("", "holds 0 trees; it must hold one"),
        ("(a:1,b:1);\n(a:1,b:1);", "holds 2 trees; it must hold one"),
        ("(a:1);", "has 1 tip; a tree has at least two"),
        ("(a:1,(:1,c:1):1);", "tip 2 of 3 has no name; add it"),
        ("(a:1,,b:1);", "tip 2 of 3 has no name; add it"),
        ("(a:1,(b:1,a:1):1);", "has two tips called 'a'; give each its own name"),
        ("(a:1,(b:1,c:1):0);", "above b, c needs a length above 0"),
        ("(a:1,(b:1,c:-2):1);", "above c needs a length above 0"),
        ("(a:1,(b:1,c:1));", "above b, c needs a length above 0"),
        ("(a:1,b:nan);", "above b needs a length above 0"),
        ("(a:1,b:inf);", "above b needs a length above 0"),
    ],
)
def test_bad_trees_get_one_sentence(read, text, words):
    with pytest.raises(UserError, match=rf"(?s)^tree file .*tree\.nwk.*{words}"):
        read(text)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"none\.nwk cannot be read: No such file"):
        read_tree(tmp_path / "none.nwk", "years")
    (tmp_path / "binary.nwk").write_bytes(b"(\xff:1,b:1);")
    with pytest.raises(UserError, match=r"binary\.nwk cannot be read: this is not UTF-8 text"):
        read_tree(tmp_path / "binary.nwk", "years")


def test_species_missing_from_tree_or_file(read):
    tree = read("(wolf:1,(fox:1,bear:1):1);")
    with pytest.raises(UserError, match=r"'wulf' of the landmark file is not a tip.*did you mean wolf"):
        tree.matched(["wulf", "fox", "bear"])
    with pytest.raises(
        UserError, match=r"tip 'bear' of the tree is no species of.*remove it from the tree\."
    ):
        tree.matched(["wolf", "fox", "fox"])


def test_ages_add_up(read):
    ages = read("((a:0.1,b:0.2):0.3,c:0.4);").ages
    assert ages == pytest.approx((0, 0.3, 0.4, 0.5, 0.4), abs=1e-15)
    assert math.isclose(max(ages), 0.5)
