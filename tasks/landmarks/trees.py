"""Phylogenetic trees: read from Newick files, with every name matched to a specimen's species."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import newick

from ..errors import UserError
from ..plugin import nearest


@dataclass(frozen=True)
class Tree:
    """A rooted tree. Its nodes are numbered from 0, the root, so that each node follows its parent.

    A node may have any number of children.

    Args:
        parents: the parent of each node; −1 for the root.
        lengths: the time between each node and its parent; 0 for the root.
        names: the name of each node; tips have different names, an inner node may have the name "".
        unit: the unit of time, such as "million years".
    """

    parents: tuple[int, ...]
    lengths: tuple[float, ...]
    names: tuple[str, ...]
    unit: str

    def __len__(self) -> int:
        return len(self.parents)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The children of each node."""
        found: list[list[int]] = [[] for _ in self.parents]
        for node in self.preorder:
            found[self.parents[node]].append(node)
        return tuple(map(tuple, found))

    @property
    def preorder(self) -> range:
        """All nodes but the root, parents before their children."""
        return range(1, len(self))

    @property
    def postorder(self) -> range:
        """All nodes, children before their parents."""
        return range(len(self) - 1, -1, -1)

    @property
    def tips(self) -> tuple[int, ...]:
        """The nodes without children."""
        return tuple(node for node, below in enumerate(self.children) if not below)

    @property
    def inner(self) -> tuple[int, ...]:
        """The nodes with children, the root first."""
        return tuple(node for node, below in enumerate(self.children) if below)

    @cached_property
    def ages(self) -> tuple[float, ...]:
        """The time from the root to each node."""
        found = [0.0]
        for node in self.preorder:
            found.append(found[self.parents[node]] + self.lengths[node])
        return tuple(found)

    @property
    def height(self) -> float:
        """The time from the root to the farthest tip."""
        return max(self.ages)

    def with_specimens(self, tips: Sequence[int], specimens: Sequence[str]) -> "Tree":
        """Return the tree with another node for each specimen, in their order, at the end.

        Each hangs below the tip of its species, on a branch of length 1.
        """
        return Tree(
            (*self.parents, *tips),
            (*self.lengths, *(1.0 for _ in tips)),
            (*self.names, *specimens),
            self.unit,
        )

    def without(self, tips: Sequence[int]) -> "Remainder":
        """Return the tree without some tips, and without the ancestors that have no other tip.

        An ancestor that keeps one child stays, as the place where a tip hung.

        Raises:
            UserError: fewer than two tips are left.
        """
        left = set(self.tips) - set(tips)
        if len(left) < 2:
            raise UserError(f"a tree needs two tips, but {len(left)} of {len(self.tips)} would be left.")
        for node in self.postorder:
            if left.intersection(self.children[node]):
                left.add(node)
        kept = sorted(left)
        number = {node: k for k, node in enumerate(kept)}
        above = {tip: tip for tip in tips}
        for tip in tips:
            while above[tip] not in left:
                above[tip] = self.parents[above[tip]]
        return Remainder(
            Tree(
                (-1, *(number[self.parents[node]] for node in kept[1:])),
                tuple(self.lengths[node] for node in kept),
                tuple(self.names[node] for node in kept),
                self.unit,
            ),
            tuple(number[above[tip]] for tip in tips),
            tuple(self.ages[tip] - self.ages[above[tip]] for tip in tips),
        )

    def distance(self, first: int, second: int) -> float:
        """Return the time along the branches between two nodes."""
        a, b = first, second
        while a != b:  # a parent has the lower number
            a, b = (self.parents[a], b) if a > b else (a, self.parents[b])
        return self.ages[first] + self.ages[second] - 2 * self.ages[a]

    def matched(self, species: Sequence[str]) -> tuple[int, ...]:
        """Return the tip of each specimen, given the name of its species (S,).

        A space matches an underscore, which stands for it in Newick files.

        Raises:
            UserError: a species is not a tip of the tree, or a tip has no specimen.
        """
        tips = {self.names[tip]: tip for tip in self.tips}
        spaced = {_spaced(name): name for name in tips}
        species = [name if name in tips else spaced.get(_spaced(name), name) for name in species]
        for name in species:
            if name not in tips:
                raise UserError(
                    f"species {name!r} of the landmark file is not a tip of the tree: {nearest(name, tips)}"
                )
        if lacking := [name for name in tips if name not in set(species)]:
            raise UserError(
                f"tip {lacking[0]!r} of the tree is no species of the landmark file; remove it from the tree."
            )
        return tuple(tips[name] for name in species)


class Remainder(NamedTuple):
    """What is left of a tree without some tips.

    Attributes:
        tree: the tree that is left.
        nodes: for each tip, its nearest ancestor in that tree.
        times: the time from there to the tip.
    """

    tree: Tree
    nodes: tuple[int, ...]
    times: tuple[float, ...]


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def read_tree(path: str | Path, unit: str) -> Tree:
    """Read a Newick file with one tree whose branches have lengths and whose tips have names.

    A length above the root, names of inner nodes, comments and quotes may be there. Underscores stay.

    Args:
        path: the file.
        unit: the unit of its branch lengths, such as "million years".

    Raises:
        UserError: the file cannot be read, does not hold one tree in Newick format, or a branch has no length
            above 0, or a tip has no name of its own.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is not UTF-8 text"
        raise UserError(f"tree file {path} cannot be read: {reason}.") from error
    try:
        trees = newick.loads(text.strip(), strip_comments=True)
        nodes = [node for tree in trees for node in _walk(tree)]
        lengths = [node.length for node in nodes]
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"tree file {path} is not in Newick format, as in '((a:1,b:1):2,c:3);': {error}."
        ) from error
    if len(trees) != 1:
        raise UserError(f"tree file {path} holds {len(trees)} trees; it must hold one, ended by a semicolon.")
    _require_names(path, [node.unquoted_name or "" for node in nodes if not node.descendants])
    for node, length in zip(nodes[1:], lengths[1:], strict=True):
        if not 0 < length < math.inf:
            below = ", ".join(str(leaf.name) for leaf in node.get_leaves())
            raise UserError(
                f"tree file {path}: the branch above {below} needs a length above 0, as in a:1.5; "
                "join two nodes that no time separates."
            )
    numbers = {id(node): number for number, node in enumerate(nodes)}
    return Tree(
        (-1, *(numbers[id(node.ancestor)] for node in nodes[1:])),
        (0.0, *lengths[1:]),
        tuple(node.unquoted_name or "" for node in nodes),
        unit,
    )


def _walk(root: newick.Node) -> Iterator[newick.Node]:
    """Return all nodes, each before its descendants, without recursion."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.descendants))


def _require_names(path: str | Path, names: list[str]) -> None:
    """Raise unless there are two tips or more, each with a name of its own."""
    if len(names) < 2:
        raise UserError(f"tree file {path} has {len(names)} tip; a tree has at least two.")
    for position, name in enumerate(names):
        if not name:
            raise UserError(f"tree file {path}: tip {position + 1} of {len(names)} has no name; add it.")
        if name in names[:position]:
            raise UserError(f"tree file {path} has two tips called {name!r}; give each its own name.")
